"""The official `openai` package as the judge: what it sends for the same conversation is what we send."""

from __future__ import annotations

import json
from typing import Any

import httpx
from openai import OpenAI

from trunkline_server.chat.message import MediaPart, Message, Role, TextPart, ToolCallPart, ToolResultPart
from trunkline_server.chat.request import (
    ChatRequest,
    FunctionTool,
    JsonSchemaOutput,
    ReasoningEffort,
    Sampling,
    ToolChoice,
    ToolMode,
)
from trunkline_server.providers.base import NO_TERMS
from trunkline_server.providers.credentials.base import StaticHeaders
from trunkline_server.providers.credentials.openai import credential
from trunkline_server.providers.openai import OpenAIAdapter

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
ANSWER: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
}

REQUEST = ChatRequest(
    model="default",
    request_id="r-1",
    messages=(
        Message(Role.DEVELOPER, (TextPart("Answer in one line."),)),
        Message(Role.USER, (TextPart("Where is this?"), MediaPart("image/png", data=b"\x89PNG\r\n")), name="ann"),
        Message(Role.ASSISTANT, (ToolCallPart("call_1", "look", '{"city": "Oslo"}'),)),
        Message(Role.TOOL, (ToolResultPart("call_1", (TextPart("a harbour"),)),)),
        Message(
            Role.ASSISTANT,
            (
                TextPart("One more look."),
                ToolCallPart("call_2", "look", '{"city": "Bergen"}'),
                ToolCallPart("call_3", "look", '{"city": "Tromsø"}'),
            ),
        ),
        Message(
            Role.TOOL,
            (ToolResultPart("call_2", (TextPart("rain"),)), ToolResultPart("call_3", (TextPart("snow"),))),
        ),
        Message(Role.USER, (TextPart("So?"),)),
    ),
    sampling=Sampling(
        temperature=0.25,
        top_p=0.5,
        max_output_tokens=100,
        stop=("END",),
        seed=7,
        frequency_penalty=0.5,
        presence_penalty=-0.5,
        top_logprobs=2,
        reasoning_effort=ReasoningEffort.LOW,
    ),
    tools=(FunctionTool("look", "Looks at a city.", SCHEMA, strict=True),),
    tool_choice=ToolChoice(mode=ToolMode.AUTO, parallel=True),
    output=JsonSchemaOutput("place", SCHEMA, strict=True),
    provider_options={"openai": {"user": "u-1"}},
)


def look(call_id: str, city: str) -> Any:
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": "look", "arguments": json.dumps({"city": city}, ensure_ascii=False)},
    }


OFFICIAL: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [
        {"role": "developer", "content": "Answer in one line."},
        {
            "role": "user",
            "name": "ann",
            "content": [
                {"type": "text", "text": "Where is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0K"}},
            ],
        },
        {"role": "assistant", "content": None, "tool_calls": [look("call_1", "Oslo")]},
        {"role": "tool", "tool_call_id": "call_1", "content": "a harbour"},
        {
            "role": "assistant",
            "content": "One more look.",
            "tool_calls": [look("call_2", "Bergen"), look("call_3", "Tromsø")],
        },
        {"role": "tool", "tool_call_id": "call_2", "content": "rain"},
        {"role": "tool", "tool_call_id": "call_3", "content": "snow"},
        {"role": "user", "content": "So?"},
    ],
    "temperature": 0.25,
    "top_p": 0.5,
    "max_completion_tokens": 100,
    "stop": ["END"],
    "seed": 7,
    "frequency_penalty": 0.5,
    "presence_penalty": -0.5,
    "logprobs": True,
    "top_logprobs": 2,
    "reasoning_effort": "low",
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "look",
                "description": "Looks at a city.",
                "parameters": SCHEMA,
                "strict": True,
            },
        }
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "response_format": {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}},
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
        client.chat.completions.create(**OFFICIAL, **changes)
    return sent[0]


def test_a_call_is_what_the_official_package_sends() -> None:
    """Path, credential and every field of a conversation with a picture, two tool rounds and a schema."""
    adapter = OpenAIAdapter()
    official = official_request()
    ours = adapter.encode(REQUEST, "openai", "gpt-4o", stream=False)
    assert ours.warnings == ()
    assert json.loads(ours.body) == json.loads(official.content)
    assert official.url.path == f"/v1{ours.path}"
    made = credential("sk-test", NO_TERMS)
    assert isinstance(made, StaticHeaders)
    assert official.headers["authorization"] == made.headers["authorization"]
    for name, value in ours.headers.items():
        assert official.headers[name] == value


def test_a_stream_is_what_the_official_package_asks_for() -> None:
    """With usage in the stream."""
    official = official_request(stream=True, stream_options={"include_usage": True})
    ours = OpenAIAdapter().encode(REQUEST, "openai", "gpt-4o", stream=True)
    assert json.loads(ours.body) == json.loads(official.content)
