"""Golden pairs: a neutral request and the JSON that chat completions gets for it."""

from __future__ import annotations

import json
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from trunkline_server.chat.message import (
    MediaPart,
    Message,
    Part,
    RefusalPart,
    Role,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from trunkline_server.chat.request import (
    ChatRequest,
    FunctionTool,
    JsonObjectOutput,
    JsonSchemaOutput,
    ProviderTool,
    ReasoningEffort,
    Sampling,
    ToolChoice,
    ToolMode,
)
from trunkline_server.providers.openai import OpenAIAdapter

HI = Message(Role.USER, (TextPart("hi"),))
SHORTEST = ChatRequest(model="default", messages=(HI,), request_id="r-1")
PNG = MediaPart("image/png", data=b"\x89PNG")


def encoded(request: ChatRequest, *, stream: bool = False) -> dict[str, Any]:
    body = json.loads(OpenAIAdapter().encode(request, "openai", "gpt-4o", stream=stream).body)
    assert isinstance(body, dict)
    return body


def warned(request: ChatRequest) -> list[tuple[str, str]]:
    call = OpenAIAdapter().encode(request, "openai", "gpt-4o", stream=False)
    return [(warning.code, warning.field) for warning in call.warnings]


def turn(role: Role, *parts: Part, name: str | None = None) -> ChatRequest:
    return replace(SHORTEST, messages=(Message(role, parts, name),))


def test_the_shortest_call_has_model_and_messages_only() -> None:
    """What was not asked for is not written."""
    call = OpenAIAdapter().encode(SHORTEST, "openai", "gpt-4o", stream=False)
    assert call.body == b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}'
    assert call.path == "/chat/completions"
    assert dict(call.headers) == {"content-type": "application/json", "accept": "application/json"}
    assert call.warnings == ()


def test_a_stream_asks_for_its_usage() -> None:
    """Only a streamed call has `stream`, and it asks for the usage chunk."""
    call = OpenAIAdapter().encode(SHORTEST, "openai", "gpt-4o", stream=True)
    assert call.body == (
        b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],'
        b'"stream":true,"stream_options":{"include_usage":true}}'
    )
    assert call.headers["accept"] == "text/event-stream"


MESSAGES: dict[str, tuple[Message, list[dict[str, Any]]]] = {
    "system": (Message(Role.SYSTEM, (TextPart("be brief"),)), [{"role": "system", "content": "be brief"}]),
    "developer with a name": (
        Message(Role.DEVELOPER, (TextPart("be brief"),), name="ops"),
        [{"role": "developer", "content": "be brief", "name": "ops"}],
    ),
    "several texts keep their borders": (
        Message(Role.USER, (TextPart("a"), TextPart("b"))),
        [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
    ),
    "no parts": (Message(Role.USER, ()), [{"role": "user", "content": ""}]),
    "picture by data": (
        Message(Role.USER, (TextPart("what is it?"), PNG)),
        [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "what is it?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
                ],
            }
        ],
    ),
    "picture by uri": (
        Message(Role.USER, (MediaPart("image/jpeg", uri="https://pictures.example/1.jpg"),)),
        [
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "https://pictures.example/1.jpg"}}],
            }
        ],
    ),
    "audio": (
        Message(Role.USER, (MediaPart("audio/x-wav", data=b"RIFF"), MediaPart("audio/mpeg; rate=1", data=b"ID3"))),
        [
            {
                "role": "user",
                "content": [
                    {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
                    {"type": "input_audio", "input_audio": {"data": "SUQz", "format": "mp3"}},
                ],
            }
        ],
    ),
    "documents": (
        Message(
            Role.USER,
            (
                MediaPart("application/pdf", data=b"%PDF"),
                MediaPart("application/pdf", file_id="file-7", provider="openai"),
            ),
        ),
        [
            {
                "role": "user",
                "content": [
                    {
                        "type": "file",
                        "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,JVBERg=="},
                    },
                    {"type": "file", "file": {"file_id": "file-7"}},
                ],
            }
        ],
    ),
    "assistant with calls and no text": (
        Message(Role.ASSISTANT, (ToolCallPart("c1", "look", '{"q": 1.0}'), ToolCallPart("c2", "look", "{}"))),
        [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"q": 1.0}'}},
                    {"id": "c2", "type": "function", "function": {"name": "look", "arguments": "{}"}},
                ],
            }
        ],
    ),
    "assistant with text and a call": (
        Message(Role.ASSISTANT, (TextPart("wait"), ToolCallPart("c1", "look", "{}"))),
        [
            {
                "role": "assistant",
                "content": "wait",
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
            }
        ],
    ),
    "refusal": (
        Message(Role.ASSISTANT, (RefusalPart("I "), RefusalPart("won't"))),
        [{"role": "assistant", "content": None, "refusal": "I won't"}],
    ),
    "reasoning goes back to nobody": (
        Message(Role.ASSISTANT, (ThinkingPart("hm", provider="anthropic", signature="s"), TextPart("yes"))),
        [{"role": "assistant", "content": "yes"}],
    ),
    "each result is a message": (
        Message(Role.TOOL, (ToolResultPart("c1", (TextPart("4"),)), ToolResultPart("c2", ()))),
        [
            {"role": "tool", "tool_call_id": "c1", "content": "4"},
            {"role": "tool", "tool_call_id": "c2", "content": ""},
        ],
    ),
    "an error is marked": (
        Message(
            Role.TOOL,
            (
                ToolResultPart("c1", (TextPart("no such file"),), is_error=True),
                ToolResultPart("c2", (TextPart("a"), TextPart("b")), is_error=True),
            ),
        ),
        [
            {"role": "tool", "tool_call_id": "c1", "content": "Error: no such file"},
            {
                "role": "tool",
                "tool_call_id": "c2",
                "content": [
                    {"type": "text", "text": "Error: "},
                    {"type": "text", "text": "a"},
                    {"type": "text", "text": "b"},
                ],
            },
        ],
    ),
    "results inside a result": (
        Message(Role.TOOL, (ToolResultPart("c1", (ToolResultPart("inner", (TextPart("deep"),)),)),)),
        [{"role": "tool", "tool_call_id": "c1", "content": "deep"}],
    ),
    "results go before the words beside them": (
        Message(Role.USER, (TextPart("go on"), ToolResultPart("c1", (TextPart("4"),)))),
        [{"role": "tool", "tool_call_id": "c1", "content": "4"}, {"role": "user", "content": "go on"}],
    ),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_messages(case: str) -> None:
    """Each kind of message has exactly this JSON, and nothing is warned of."""
    message, golden = MESSAGES[case]
    request = replace(SHORTEST, messages=(message,))
    assert encoded(request)["messages"] == golden
    assert warned(request) == []


LEFT_OUT: dict[str, tuple[ChatRequest, str]] = {
    "top_k": (replace(SHORTEST, sampling=Sampling(top_k=40)), "sampling.top_k"),
    "reasoning tokens": (replace(SHORTEST, sampling=Sampling(reasoning_max_tokens=0)), "sampling.reasoning_max_tokens"),
    "video": (turn(Role.USER, TextPart("a"), MediaPart("video/mp4", data=b"x")), "messages[0].parts[1]"),
    "audio by uri": (turn(Role.USER, MediaPart("audio/wav", uri="https://a.example/1")), "messages[0].parts[0]"),
    "audio of another format": (turn(Role.USER, MediaPart("audio/ogg", data=b"x")), "messages[0].parts[0]"),
    "document by uri": (turn(Role.USER, MediaPart("application/pdf", uri="https://a.example")), "messages[0].parts[0]"),
    "picture of the system": (turn(Role.SYSTEM, TextPart("a"), PNG), "messages[0].parts[1]"),
    "picture of the assistant": (turn(Role.ASSISTANT, PNG), "messages[0].parts[0]"),
    "picture in a result": (
        turn(Role.TOOL, ToolResultPart("c1", (TextPart("see"), PNG))),
        "messages[0].parts[0].tool_result.parts[1]",
    ),
    "call of the user": (turn(Role.USER, ToolCallPart("c1", "look", "{}")), "messages[0].parts[0]"),
    "text beside results": (
        turn(Role.TOOL, ToolResultPart("c1", ()), TextPart("and")),
        "messages[0].parts[1]",
    ),
    "name of a tool": (turn(Role.TOOL, ToolResultPart("c1", ()), name="look"), "messages[0].name"),
    "another provider's tool": (replace(SHORTEST, tools=(ProviderTool("gemini", {"a": 1}),)), "tools[0].provider"),
    "custom tool": (
        replace(SHORTEST, tools=(ProviderTool("openai", {"type": "custom", "custom": {"name": "x"}}),)),
        "tools[0].provider.tool_json",
    ),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_what_is_left_out_is_told_with_its_path(case: str) -> None:
    """Nothing that the protocol cannot carry disappears in silence."""
    request, field = LEFT_OUT[case]
    assert warned(request) == [("UNSUPPORTED_FIELD", field)]
    body = encoded(request)
    assert "tools" not in body
    assert "top_k" not in body


def test_sampling() -> None:
    """Every setting has its name in the body; the output limit has the adapter's."""
    sampling = Sampling(
        temperature=0.0,
        top_p=0.5,
        max_output_tokens=7,
        stop=("END", "\n"),
        seed=0,
        frequency_penalty=-1.0,
        presence_penalty=1.0,
        top_logprobs=3,
        reasoning_effort=ReasoningEffort.MINIMAL,
    )
    body = encoded(replace(SHORTEST, sampling=sampling))
    del body["model"], body["messages"]
    assert body == {
        "temperature": 0.0,
        "top_p": 0.5,
        "max_completion_tokens": 7,
        "stop": ["END", "\n"],
        "seed": 0,
        "frequency_penalty": -1.0,
        "presence_penalty": 1.0,
        "logprobs": True,
        "top_logprobs": 3,
        "reasoning_effort": "minimal",
    }


def test_no_alternatives_are_asked_for_with_zero_top_logprobs() -> None:
    """Zero asks for the chosen token's log-probability alone."""
    body = encoded(replace(SHORTEST, sampling=Sampling(top_logprobs=0)))
    assert body["logprobs"] is True
    assert "top_logprobs" not in body


def test_tools_and_their_choice() -> None:
    """Functions are written field by field, a tool of this provider as its JSON."""
    schema = MappingProxyType({"type": "object", "properties": {"q": {"type": "number"}}})
    request = replace(
        SHORTEST,
        tools=(
            FunctionTool("look", "looks", schema, strict=True),
            FunctionTool("wait"),
            ProviderTool("openai", {"type": "hosted", "size": 2}),
        ),
        tool_choice=ToolChoice(function="look", parallel=False),
    )
    body = encoded(request)
    assert body["tools"] == [
        {
            "type": "function",
            "function": {"name": "look", "description": "looks", "parameters": dict(schema), "strict": True},
        },
        {"type": "function", "function": {"name": "wait"}},
        {"type": "hosted", "size": 2},
    ]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "look"}}
    assert body["parallel_tool_calls"] is False


@pytest.mark.parametrize("mode", ToolMode)
def test_tool_modes(mode: ToolMode) -> None:
    """A mode is its word, and nothing is said about parallel calls that was not asked for."""
    body = encoded(replace(SHORTEST, tools=(FunctionTool("f"),), tool_choice=ToolChoice(mode=mode)))
    assert body["tool_choice"] == {"AUTO": "auto", "NONE": "none", "REQUIRED": "required"}[mode.name]
    assert "parallel_tool_calls" not in body


def test_output_formats() -> None:
    """A JSON object is a word, a schema comes whole."""
    assert encoded(replace(SHORTEST, output=JsonObjectOutput()))["response_format"] == {"type": "json_object"}
    schema = JsonSchemaOutput("point", {"type": "object"}, strict=True)
    assert encoded(replace(SHORTEST, output=schema))["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "point", "schema": {"type": "object"}, "strict": True},
    }
    loose = JsonSchemaOutput("point", {"type": "object"})
    assert "strict" not in encoded(replace(SHORTEST, output=loose))["response_format"]["json_schema"]


def test_options_of_the_serving_provider_are_added() -> None:
    """Options go to the provider that they name, before typed fields, and to no other."""
    request = replace(
        SHORTEST,
        sampling=Sampling(temperature=1.0),
        provider_options={"openai": {"user": "u", "temperature": 0.5}, "gemini": {"x": 1}},
    )
    body = encoded(request)
    assert body["user"] == "u"
    assert body["temperature"] == 0.5
    assert "x" not in body


def test_a_mime_type_cannot_break_the_json() -> None:
    """A picture's URL is written past the encoder, and still escaped."""
    body = encoded(turn(Role.USER, MediaPart('image/png"},"x":"', data=b"a")))
    assert body["messages"][0]["content"] == [
        {"type": "image_url", "image_url": {"url": 'data:image/png"},"x":";base64,YQ=='}}
    ]
