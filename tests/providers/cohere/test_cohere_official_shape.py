"""The official `cohere` package as the judge of what we send, and of the form of the golden streams."""

from __future__ import annotations

import json
from typing import Any

import cohere
import httpx
from tests.providers.cohere.cohere_golden import PROVIDER, THINKING_STREAM, TOOL_CALL_STREAM, adapter, sse

from trunkline_server.chat.embedding import EmbedInputType, EmbedRequest
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
    Sampling,
    ToolChoice,
    ToolMode,
)
from trunkline_server.providers.base import AdapterTerms
from trunkline_server.providers.cohere.messages import PLAN_SEAL
from trunkline_server.providers.credentials.base import StaticHeaders
from trunkline_server.providers.credentials.cohere import credential

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ANSWER = {
    "id": "c14c80c3",
    "finish_reason": "COMPLETE",
    "message": {"role": "assistant", "content": [{"type": "text", "text": "ok"}]},
}

REQUEST = ChatRequest(
    model="default",
    request_id="r-1",
    messages=(
        Message(Role.SYSTEM, (TextPart("Answer in one line."),)),
        Message(Role.USER, (TextPart("Where is this?"), MediaPart("image/png", data=b"\x89PNG\r\n"))),
        Message(
            Role.ASSISTANT,
            (
                ThinkingPart("I will look.", PLAN_SEAL, provider=PROVIDER),
                ToolCallPart("look_1", "look", '{"city": "Oslo"}'),
                ToolCallPart("look_2", "look", '{"city": "Bergen"}'),
            ),
        ),
        Message(
            Role.TOOL,
            (ToolResultPart("look_1", (TextPart("a harbour"),)), ToolResultPart("look_2", (TextPart("rain"),))),
        ),
        Message(Role.ASSISTANT, (ThinkingPart("Oslo has one.", provider=PROVIDER), TextPart("Oslo."))),
        Message(Role.USER, (TextPart("So?"),)),
    ),
    sampling=Sampling(
        temperature=0.25,
        top_p=0.5,
        top_k=40,
        max_output_tokens=100,
        stop=("END",),
        seed=7,
        frequency_penalty=0.5,
        presence_penalty=0.25,
        top_logprobs=0,
        reasoning_max_tokens=50,
    ),
    tools=(FunctionTool("look", "Looks at a city.", SCHEMA, strict=True),),
    tool_choice=ToolChoice(mode=ToolMode.REQUIRED),
    provider_options={PROVIDER: {"safety_mode": "STRICT", "priority": 3}},
)


def look(call_id: str, city: str) -> Any:
    return {"id": call_id, "type": "function", "function": {"name": "look", "arguments": json.dumps({"city": city})}}


OFFICIAL: dict[str, Any] = {
    "model": "command-a",
    "messages": [
        {"role": "system", "content": "Answer in one line."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Where is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0K"}},
            ],
        },
        {
            "role": "assistant",
            "tool_plan": "I will look.",
            "tool_calls": [look("look_1", "Oslo"), look("look_2", "Bergen")],
        },
        {"role": "tool", "tool_call_id": "look_1", "content": "a harbour"},
        {"role": "tool", "tool_call_id": "look_2", "content": "rain"},
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "Oslo has one."}, {"type": "text", "text": "Oslo."}],
        },
        {"role": "user", "content": "So?"},
    ],
    "temperature": 0.25,
    "p": 0.5,
    "k": 40,
    "max_tokens": 100,
    "stop_sequences": ["END"],
    "seed": 7,
    "frequency_penalty": 0.5,
    "presence_penalty": 0.25,
    "logprobs": True,
    "thinking": cohere.Thinking(type="enabled", token_budget=50),
    "tools": [
        {"type": "function", "function": {"name": "look", "description": "Looks at a city.", "parameters": SCHEMA}}
    ],
    "strict_tools": True,
    "tool_choice": "REQUIRED",
    "safety_mode": "STRICT",
    "priority": 3,
}


def official(answer: httpx.Response, sent: list[httpx.Request]) -> cohere.ClientV2:
    def handle(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return answer

    http = httpx.Client(transport=httpx.MockTransport(handle), trust_env=False)
    return cohere.ClientV2(api_key="co-test", base_url="http://api.example", httpx_client=http)


def official_call(**changes: Any) -> httpx.Request:
    sent: list[httpx.Request] = []
    official(httpx.Response(200, json=ANSWER), sent).chat(**{**OFFICIAL, **changes})
    return sent[0]


def test_a_call_is_what_the_official_package_sends() -> None:
    """Path, credential and every field of a conversation with a picture, parallel calls, a plan and thinking."""
    sent = official_call()
    ours = adapter().encode(REQUEST, PROVIDER, "command-a", stream=False)
    assert ours.warnings == ()
    assert json.loads(ours.body) == json.loads(sent.content)
    assert sent.url.path == ours.path
    key = credential("co-test", AdapterTerms())
    assert isinstance(key, StaticHeaders)
    assert sent.headers["authorization"] == key.headers["authorization"]
    assert sent.headers["content-type"] == ours.headers["content-type"]


def test_a_schema_is_what_the_official_package_sends() -> None:
    """It stands where no tools are."""
    request = ChatRequest("d", (Message(Role.USER, (TextPart("hi"),)),), "r", output=JsonSchemaOutput("p", SCHEMA))
    ours = adapter().encode(request, PROVIDER, "command-a", stream=False)
    sent: list[httpx.Request] = []
    official(httpx.Response(200, json=ANSWER), sent).chat(
        model="command-a",
        messages=[cohere.UserChatMessageV2(content="hi")],
        response_format=cohere.JsonObjectResponseFormatV2(json_schema=SCHEMA),
    )
    assert json.loads(ours.body) == json.loads(sent[0].content)


def test_a_stream_is_what_the_official_package_asks_for_and_reads() -> None:
    """The golden events have the vendor's form: its own package understands each of them."""
    for events in (TOOL_CALL_STREAM, THINKING_STREAM):
        sent: list[httpx.Request] = []
        answer = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=sse(*events, done=True))
        read = list(official(answer, sent).chat_stream(**OFFICIAL))
        assert [each.type for each in read] == [each["type"] for each in events]
        ours = adapter().encode(REQUEST, PROVIDER, "command-a", stream=True)
        assert json.loads(ours.body) == json.loads(sent[0].content)


def test_embeddings_are_what_the_official_package_asks_for() -> None:
    """Path and every field."""
    request = EmbedRequest("d", ("a", "b"), "r", dimensions=256, input_type=EmbedInputType.QUERY)
    embeddings = adapter().embeddings
    assert embeddings is not None
    ours = embeddings.encode_embed(request, PROVIDER, "embed-v4.0")
    sent: list[httpx.Request] = []
    answer = {"id": "1", "embeddings": {"base64": ["AACAPw==", "AACAPw=="]}, "texts": ["a", "b"]}
    official(httpx.Response(200, json=answer), sent).embed(
        model="embed-v4.0",
        texts=["a", "b"],
        input_type="search_query",
        output_dimension=256,
        embedding_types=["base64"],
        truncate="NONE",
    )
    assert json.loads(ours.body) == json.loads(sent[0].content)
    assert sent[0].url.path == ours.path
