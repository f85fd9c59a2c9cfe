"""The official `openai` package as the judge: what it sends for the same conversation is what we send."""

from __future__ import annotations

import json
from typing import Any

import httpx
from openai import OpenAI

from trunkline_server.chat.message import (
    MediaPart,
    Message,
    Role,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from trunkline_server.chat.request import (
    ChatRequest,
    FunctionTool,
    JsonSchemaOutput,
    ReasoningEffort,
    Sampling,
    ToolChoice,
    ToolMode,
)
from trunkline_server.providers.openai_responses import ResponsesAdapter

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
ANSWER: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "o3-pro",
    "status": "completed",
    "output": [],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
}

REQUEST = ChatRequest(
    model="default",
    request_id="r-1",
    messages=(
        Message(Role.DEVELOPER, (TextPart("Answer in one line."),)),
        Message(Role.USER, (TextPart("Where is this?"), MediaPart("image/png", data=b"\x89PNG\r\n"))),
        Message(
            Role.ASSISTANT,
            (
                ThinkingPart("A harbour?", "rs_1:gAAA=", provider="openai"),
                ToolCallPart("call_1", "look", '{"city": "Oslo"}'),
            ),
        ),
        Message(Role.TOOL, (ToolResultPart("call_1", (TextPart("a harbour"),)),)),
        Message(Role.ASSISTANT, (TextPart("One more look."), ToolCallPart("call_2", "look", '{"city": "Tromsø"}'))),
        Message(Role.TOOL, (ToolResultPart("call_2", (TextPart("snow"), MediaPart("image/png", data=b"\x89PNG"))),)),
        Message(Role.USER, (TextPart("So?"),)),
    ),
    sampling=Sampling(
        temperature=0.25,
        top_p=0.5,
        max_output_tokens=100,
        top_logprobs=2,
        reasoning_effort=ReasoningEffort.LOW,
    ),
    tools=(FunctionTool("look", "Looks at a city.", SCHEMA, strict=True),),
    tool_choice=ToolChoice(mode=ToolMode.AUTO, parallel=True),
    output=JsonSchemaOutput("place", SCHEMA, strict=True),
    provider_options={"openai": {"user": "u-1"}},
)


def look(call_id: str, city: str) -> Any:
    arguments = json.dumps({"city": city}, ensure_ascii=False)
    return {"type": "function_call", "call_id": call_id, "name": "look", "arguments": arguments}


OFFICIAL: dict[str, Any] = {
    "model": "o3-pro",
    "input": [
        {"role": "developer", "content": "Answer in one line."},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Where is this?"},
                {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,iVBORw0K"},
            ],
        },
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "A harbour?"}],
            "encrypted_content": "gAAA=",
        },
        look("call_1", "Oslo"),
        {"type": "function_call_output", "call_id": "call_1", "output": "a harbour"},
        {"role": "assistant", "content": "One more look."},
        look("call_2", "Tromsø"),
        {
            "type": "function_call_output",
            "call_id": "call_2",
            "output": [
                {"type": "input_text", "text": "snow"},
                {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,iVBORw=="},
            ],
        },
        {"role": "user", "content": "So?"},
    ],
    "store": False,
    "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
    "temperature": 0.25,
    "top_p": 0.5,
    "max_output_tokens": 100,
    "top_logprobs": 2,
    "reasoning": {"effort": "low", "summary": "auto"},
    "tools": [
        {
            "type": "function",
            "name": "look",
            "description": "Looks at a city.",
            "parameters": SCHEMA,
            "strict": True,
        }
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "text": {"format": {"type": "json_schema", "name": "place", "schema": SCHEMA, "strict": True}},
    "user": "u-1",
}


def official_request(**changes: Any) -> httpx.Request:
    """Return what the official package puts on the wire for `OFFICIAL`."""
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        if json.loads(request.content).get("stream"):
            return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=b"data: [DONE]\n\n")
        return httpx.Response(200, json=ANSWER)

    with (
        httpx.Client(transport=httpx.MockTransport(answer), trust_env=False) as http,
        OpenAI(api_key="sk-test", base_url="http://api.example/v1", http_client=http, max_retries=0) as client,
    ):
        client.responses.create(**OFFICIAL, **changes)
    return sent[0]


def test_a_call_is_what_the_official_package_sends() -> None:
    """Path and every field of a conversation with pictures, two tool rounds, sealed reasoning and a schema."""
    official = official_request()
    ours = ResponsesAdapter().encode(REQUEST, "openai", "o3-pro", stream=False)
    assert ours.warnings == ()
    assert json.loads(ours.body) == json.loads(official.content)
    assert official.url.path == f"/v1{ours.path}"
    for name, value in ours.headers.items():
        assert official.headers[name] == value


def test_a_stream_is_what_the_official_package_asks_for() -> None:
    """With nothing but the word for it."""
    official = official_request(stream=True)
    ours = ResponsesAdapter().encode(REQUEST, "openai", "o3-pro", stream=True)
    assert json.loads(ours.body) == json.loads(official.content)
