"""The official `anthropic` package as the judge: what it sends for the same conversation is what we send."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import anthropic
import httpx2
import pytest

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
from trunkline_server.providers.anthropic import AnthropicAdapter
from trunkline_server.providers.base import AdapterTerms
from trunkline_server.providers.credentials.anthropic import credential
from trunkline_server.providers.credentials.base import StaticHeaders

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
MODEL = "claude-opus-4-8"
PNG = b"\x89PNG\r\n"

REQUEST = ChatRequest(
    model="default",
    request_id="r-1",
    messages=(
        Message(Role.SYSTEM, (TextPart("Answer in one line."),), cache_breakpoint=True),
        Message(Role.USER, (TextPart("Where is this?"), MediaPart("image/png", data=PNG))),
        Message(
            Role.ASSISTANT,
            (ThinkingPart("hm", "sig", provider="anthropic"), ToolCallPart("toolu_1", "look", '{"city": "Oslo"}')),
        ),
        Message(Role.TOOL, (ToolResultPart("toolu_1", (TextPart("a harbour"),)),)),
        Message(Role.ASSISTANT, (TextPart("One more look."), ToolCallPart("toolu_2", "look", '{"city": "Tromsø"}'))),
        Message(Role.TOOL, (ToolResultPart("toolu_2", (TextPart("no"),), is_error=True),)),
        Message(Role.USER, (TextPart("So?"),)),
        Message(Role.DEVELOPER, (TextPart("No jokes."),)),
    ),
    sampling=Sampling(max_output_tokens=2000, stop=("END",), reasoning_effort=ReasoningEffort.HIGH),
    tools=(FunctionTool("look", "Looks at a city.", SCHEMA, strict=True),),
    tool_choice=ToolChoice(mode=ToolMode.AUTO, parallel=False),
    output=JsonSchemaOutput("place", SCHEMA, strict=True),
    provider_options={"anthropic": {"metadata": {"user_id": "u-1"}}},
)


def used(call_id: str, city: str) -> Any:
    return {"type": "tool_use", "id": call_id, "name": "look", "input": {"city": city}}


OFFICIAL: dict[str, Any] = {
    "model": MODEL,
    "max_tokens": 2000,
    "system": [{"type": "text", "text": "Answer in one line.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Where is this?"},
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": b64encode(PNG).decode()},
                },
            ],
        },
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "hm", "signature": "sig"}, used("toolu_1", "Oslo")],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "a harbour"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "One more look."}, used("toolu_2", "Tromsø")]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_2", "content": "no", "is_error": True},
                {"type": "text", "text": "So?"},
            ],
        },
        {"role": "system", "content": "No jokes."},
    ],
    "stop_sequences": ["END"],
    "thinking": {"type": "adaptive", "display": "summarized"},
    "tools": [{"name": "look", "description": "Looks at a city.", "input_schema": SCHEMA, "strict": True}],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": SCHEMA}},
    "metadata": {"user_id": "u-1"},
}
ANSWER: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": MODEL,
    "content": [],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 1, "output_tokens": 1},
}


def official_request(**changes: Any) -> httpx2.Request:
    """Return what the official package puts on the wire for `OFFICIAL`."""
    sent: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        if json.loads(request.content).get("stream"):
            return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=b"")
        return httpx2.Response(200, json=ANSWER)

    with (
        httpx2.Client(transport=httpx2.MockTransport(answer), trust_env=False) as http,
        anthropic.Anthropic(
            api_key="sk-ant-test", base_url="http://api.example", http_client=http, max_retries=0
        ) as client,
    ):
        client.messages.create(**OFFICIAL, **changes)
    return sent[0]


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_is_what_the_official_package_sends(*, stream: bool) -> None:
    """Path, version and every field of a conversation with a picture, thinking, two tool rounds and a schema."""
    official = official_request(stream=True) if stream else official_request()
    adapter = AnthropicAdapter(
        AdapterTerms("anthropic", "http://api.example", api_version=official.headers["anthropic-version"])
    )
    ours = adapter.encode(REQUEST, "anthropic", MODEL, stream=stream)
    assert ours.warnings == ()
    assert json.loads(ours.body) == json.loads(official.content)
    assert official.url.path == ours.path
    for name in ("content-type", "anthropic-version"):
        assert official.headers[name] == ours.headers[name]


def test_a_key_is_sent_in_the_vendor_s_own_header() -> None:
    """The header that every version of the API takes; the latest takes a bearer token too."""
    made = credential("sk-ant-test", AdapterTerms())
    assert isinstance(made, StaticHeaders)
    assert made.headers == {"x-api-key": "sk-ant-test"}
    assert official_request().headers["authorization"] == "Bearer sk-ant-test"
    assert "sk-ant-test" not in repr(made)
