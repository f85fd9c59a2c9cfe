"""Golden pairs: a neutral request and the JSON that the Responses API gets for it."""

from __future__ import annotations

import json
from dataclasses import replace
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
from trunkline_server.providers.base import AdapterTerms, ModelTerms
from trunkline_server.providers.openai_responses import ResponsesAdapter

SOURCE = "https://platform.openai.com/docs/api-reference/responses/create and package openai 2.54.0, 2026-11-23"

HI = Message(Role.USER, (TextPart("hi"),))
SHORTEST = ChatRequest(model="default", messages=(HI,), request_id="r-1")
PNG = MediaPart("image/png", data=b"\x89PNG")
PLAIN = AdapterTerms("openai", models={"gpt-4.1": ModelTerms(capabilities=frozenset({"tools"}))})


def encoded(request: ChatRequest) -> dict[str, Any]:
    body = json.loads(ResponsesAdapter(PLAIN).encode(request, "openai", "gpt-4.1", stream=False).body)
    assert isinstance(body, dict)
    return body


def warned(request: ChatRequest) -> list[tuple[str, str]]:
    call = ResponsesAdapter().encode(request, "openai", "o3-pro", stream=False)
    return [(warning.code, warning.field) for warning in call.warnings]


def turn(role: Role, *parts: Part, name: str | None = None) -> ChatRequest:
    return replace(SHORTEST, messages=(Message(role, parts, name),))


def test_the_shortest_call_stores_nothing() -> None:
    """Beside model and input it says only that nothing is to be stored."""
    call = ResponsesAdapter(PLAIN).encode(SHORTEST, "openai", "gpt-4.1", stream=False)
    assert call.body == b'{"model":"gpt-4.1","input":[{"role":"user","content":"hi"}],"store":false}'
    assert call.path == "/responses"
    assert dict(call.headers) == {"content-type": "application/json", "accept": "application/json"}
    assert call.warnings == ()


def test_a_stream_is_asked_for() -> None:
    """A streamed call has `stream`, and accepts events."""
    call = ResponsesAdapter(PLAIN).encode(SHORTEST, "openai", "gpt-4.1", stream=True)
    assert json.loads(call.body)["stream"] is True
    assert call.headers["accept"] == "text/event-stream"


@pytest.mark.parametrize("capabilities", [None, frozenset({"reasoning"})])
def test_reasoning_is_asked_for_sealed(capabilities: frozenset[str] | None) -> None:
    """From every model that reasons or may do so, since none of it is stored."""
    terms = AdapterTerms("openai", models={"o3-pro": ModelTerms(capabilities=capabilities)})
    body = json.loads(ResponsesAdapter(terms).encode(SHORTEST, "openai", "o3-pro", stream=False).body)
    assert body["include"] == ["reasoning.encrypted_content"]


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def called(call_id: str, arguments: str = "{}") -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": "look", "arguments": arguments}


ITEMS: dict[str, tuple[Message, list[dict[str, Any]]]] = {
    "system": (Message(Role.SYSTEM, (TextPart("be brief"),)), [{"role": "system", "content": "be brief"}]),
    "developer": (Message(Role.DEVELOPER, (TextPart("be brief"),)), [{"role": "developer", "content": "be brief"}]),
    "several texts keep their borders": (
        Message(Role.USER, (TextPart("a"), TextPart("b"))),
        [{"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]}],
    ),
    "no parts": (Message(Role.USER, ()), [{"role": "user", "content": ""}]),
    "picture by data": (
        Message(Role.USER, (TextPart("what is it?"), PNG)),
        [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "what is it?"},
                    {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,iVBORw=="},
                ],
            }
        ],
    ),
    "picture by uri and by id": (
        Message(
            Role.USER,
            (
                MediaPart("image/jpeg", uri="https://pictures.example/1.jpg"),
                MediaPart("image/jpeg", file_id="file-3", provider="openai"),
            ),
        ),
        [
            {
                "role": "user",
                "content": [
                    {"type": "input_image", "detail": "auto", "image_url": "https://pictures.example/1.jpg"},
                    {"type": "input_image", "detail": "auto", "file_id": "file-3"},
                ],
            }
        ],
    ),
    "documents": (
        Message(
            Role.USER,
            (
                MediaPart("application/pdf", data=b"%PDF"),
                MediaPart("application/pdf", uri="https://papers.example/1.pdf"),
                MediaPart("application/pdf", file_id="file-7", provider="openai"),
            ),
        ),
        [
            {
                "role": "user",
                "content": [
                    {
                        "type": "input_file",
                        "filename": "document.pdf",
                        "file_data": "data:application/pdf;base64,JVBERg==",
                    },
                    {"type": "input_file", "file_url": "https://papers.example/1.pdf"},
                    {"type": "input_file", "file_id": "file-7"},
                ],
            }
        ],
    ),
    "calls are items": (
        Message(
            Role.ASSISTANT,
            (TextPart("wait"), ToolCallPart("c1", "look", '{"q": 1.0}'), ToolCallPart("c2", "look", "{}")),
        ),
        [said("wait"), called("c1", '{"q": 1.0}'), called("c2")],
    ),
    "text after a call keeps its place": (
        Message(Role.ASSISTANT, (ToolCallPart("c1", "look", "{}"), TextPart("a"), TextPart("b"))),
        [
            called("c1"),
            {
                "role": "assistant",
                "content": [{"type": "output_text", "text": "a"}, {"type": "output_text", "text": "b"}],
            },
        ],
    ),
    "refusal": (
        Message(Role.ASSISTANT, (RefusalPart("I won't"),)),
        [{"role": "assistant", "content": [{"type": "refusal", "refusal": "I won't"}]}],
    ),
    "its own reasoning goes back sealed, in front of what it led to": (
        Message(
            Role.ASSISTANT,
            (
                ThinkingPart("hm", signature="rs_1:gAAA=", provider="openai"),
                TextPart("wait"),
                ThinkingPart("", signature="rs_2:gBBB=", provider="openai", redacted=True),
                ToolCallPart("c1", "look", "{}"),
            ),
        ),
        [
            {
                "type": "reasoning",
                "summary": [{"type": "summary_text", "text": "hm"}],
                "id": "rs_1",
                "encrypted_content": "gAAA=",
            },
            said("wait"),
            {"type": "reasoning", "summary": [], "id": "rs_2", "encrypted_content": "gBBB="},
            called("c1"),
        ],
    ),
    "another provider's reasoning, and one without a seal, go back to nobody": (
        Message(
            Role.ASSISTANT,
            (
                ThinkingPart("hm", signature="s", provider="anthropic"),
                ThinkingPart("hm", provider="openai"),
                TextPart("yes"),
            ),
        ),
        [said("yes")],
    ),
    "a turn of nothing but foreign reasoning": (
        Message(Role.ASSISTANT, (ThinkingPart("hm", signature="s", provider="anthropic"),)),
        [said("")],
    ),
    "each result is an item": (
        Message(Role.TOOL, (ToolResultPart("c1", (TextPart("4"),)), ToolResultPart("c2", ()))),
        [
            {"type": "function_call_output", "call_id": "c1", "output": "4"},
            {"type": "function_call_output", "call_id": "c2", "output": ""},
        ],
    ),
    "a result with a picture": (
        Message(Role.TOOL, (ToolResultPart("c1", (TextPart("see"), PNG)),)),
        [
            {
                "type": "function_call_output",
                "call_id": "c1",
                "output": [
                    {"type": "input_text", "text": "see"},
                    {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,iVBORw=="},
                ],
            }
        ],
    ),
    "an error is marked": (
        Message(
            Role.TOOL,
            (
                ToolResultPart("c1", (TextPart("no such file"),), is_error=True),
                ToolResultPart("c2", (PNG,), is_error=True),
            ),
        ),
        [
            {"type": "function_call_output", "call_id": "c1", "output": "Error: no such file"},
            {
                "type": "function_call_output",
                "call_id": "c2",
                "output": [
                    {"type": "input_text", "text": "Error: "},
                    {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,iVBORw=="},
                ],
            },
        ],
    ),
    "results inside a result": (
        Message(Role.TOOL, (ToolResultPart("c1", (ToolResultPart("inner", (TextPart("deep"),)),)),)),
        [{"type": "function_call_output", "call_id": "c1", "output": "deep"}],
    ),
    "results go before the words beside them": (
        Message(Role.USER, (TextPart("go on"), ToolResultPart("c1", (TextPart("4"),)))),
        [
            {"type": "function_call_output", "call_id": "c1", "output": "4"},
            {"role": "user", "content": "go on"},
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ITEMS)
def test_items(case: str) -> None:
    """Each kind of message has exactly these items, and nothing is warned of."""
    message, golden = ITEMS[case]
    request = replace(SHORTEST, messages=(message,))
    assert encoded(request)["input"] == golden
    assert warned(request) == []


def test_an_id_that_is_too_long_becomes_one_that_fits() -> None:
    """The same for the call and for its result, so that they still belong together."""
    long = "x" * 65
    messages = (
        Message(Role.ASSISTANT, (ToolCallPart(long, "look", "{}"),)),
        Message(Role.TOOL, (ToolResultPart(long, ()),)),
    )
    made, result = encoded(replace(SHORTEST, messages=messages))["input"]
    assert made["call_id"] == result["call_id"]
    assert len(made["call_id"]) <= 64


LEFT_OUT: dict[str, tuple[ChatRequest, str]] = {
    "top_k": (replace(SHORTEST, sampling=Sampling(top_k=40)), "sampling.top_k"),
    "seed": (replace(SHORTEST, sampling=Sampling(seed=7)), "sampling.seed"),
    "stop": (replace(SHORTEST, sampling=Sampling(stop=("END",))), "sampling.stop"),
    "frequency": (replace(SHORTEST, sampling=Sampling(frequency_penalty=0.5)), "sampling.frequency_penalty"),
    "presence": (replace(SHORTEST, sampling=Sampling(presence_penalty=0.5)), "sampling.presence_penalty"),
    "reasoning tokens": (replace(SHORTEST, sampling=Sampling(reasoning_max_tokens=0)), "sampling.reasoning_max_tokens"),
    "audio": (turn(Role.USER, MediaPart("audio/wav", data=b"RIFF")), "messages[0].parts[0]"),
    "video": (turn(Role.USER, TextPart("a"), MediaPart("video/mp4", data=b"x")), "messages[0].parts[1]"),
    "picture of the system": (turn(Role.SYSTEM, TextPart("a"), PNG), "messages[0].parts[1]"),
    "picture of the assistant": (turn(Role.ASSISTANT, PNG), "messages[0].parts[0]"),
    "video in a result": (
        turn(Role.TOOL, ToolResultPart("c1", (TextPart("see"), MediaPart("video/mp4", data=b"x")))),
        "messages[0].parts[0].tool_result.parts[1]",
    ),
    "call of the user": (turn(Role.USER, ToolCallPart("c1", "look", "{}")), "messages[0].parts[0]"),
    "text beside results": (turn(Role.TOOL, ToolResultPart("c1", ()), TextPart("and")), "messages[0].parts[1]"),
    "name": (turn(Role.USER, TextPart("a"), name="ann"), "messages[0].name"),
    "reasoning that nothing follows": (
        turn(Role.ASSISTANT, TextPart("a"), ThinkingPart("hm", "rs_1:g", provider="openai")),
        "messages[0].parts[1]",
    ),
    "another provider's tool": (replace(SHORTEST, tools=(ProviderTool("gemini", {"a": 1}),)), "tools[0].provider"),
    "custom tool": (
        replace(SHORTEST, tools=(ProviderTool("openai", {"type": "custom", "name": "x"}),)),
        "tools[0].provider.tool_json",
    ),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_what_is_left_out_is_told_with_its_path(case: str) -> None:
    """Nothing that the API cannot carry disappears in silence."""
    request, field = LEFT_OUT[case]
    assert warned(request) == [("UNSUPPORTED_FIELD", field)]
    assert not {"tools", "top_k", "seed", "stop", "frequency_penalty", "presence_penalty"} & encoded(request).keys()


def test_sampling() -> None:
    """Every setting that the API has stands in the body."""
    sampling = Sampling(temperature=0.0, top_p=0.5, max_output_tokens=70, top_logprobs=3)
    body = encoded(replace(SHORTEST, sampling=sampling))
    del body["model"], body["input"], body["store"]
    assert body == {
        "temperature": 0.0,
        "top_p": 0.5,
        "max_output_tokens": 70,
        "top_logprobs": 3,
        "include": ["message.output_text.logprobs"],
    }


def test_a_limit_below_what_the_api_takes_is_raised_with_a_warning() -> None:
    """A request that has nearly all of its answer already must not be refused for the little that is left."""
    request = replace(SHORTEST, sampling=Sampling(max_output_tokens=5))
    assert encoded(request)["max_output_tokens"] == 16
    assert warned(request) == [("ADJUSTED_FIELD", "sampling.max_output_tokens")]


def test_no_alternatives_are_asked_for_with_zero_top_logprobs() -> None:
    """Zero asks for the chosen token's log-probability alone."""
    body = encoded(replace(SHORTEST, sampling=Sampling(top_logprobs=0)))
    assert body["include"] == ["message.output_text.logprobs"]
    assert "top_logprobs" not in body


@pytest.mark.parametrize("effort", ReasoningEffort)
def test_reasoning_effort(effort: ReasoningEffort) -> None:
    """Who wants the model to think gets the summary of its thoughts, which is all that the provider shows."""
    reasoning = encoded(replace(SHORTEST, sampling=Sampling(reasoning_effort=effort)))["reasoning"]
    if effort is ReasoningEffort.NONE:
        assert reasoning == {"effort": "none"}
    else:
        assert reasoning == {"effort": effort.value, "summary": "auto"}


def test_tools_and_their_choice() -> None:
    """Functions say whether they are strict, since this API takes silence for yes; a provider's tool is its JSON."""
    schema = {"type": "object", "properties": {"q": {"type": "number"}}}
    request = replace(
        SHORTEST,
        tools=(
            FunctionTool("look", "looks", schema, strict=True),
            FunctionTool("wait"),
            ProviderTool("openai", {"type": "web_search", "search_context_size": "low"}),
        ),
        tool_choice=ToolChoice(function="look", parallel=False),
    )
    body = encoded(request)
    assert body["tools"] == [
        {"type": "function", "name": "look", "description": "looks", "parameters": schema, "strict": True},
        {"type": "function", "name": "wait", "parameters": {"type": "object", "properties": {}}, "strict": False},
        {"type": "web_search", "search_context_size": "low"},
    ]
    assert body["tool_choice"] == {"type": "function", "name": "look"}
    assert body["parallel_tool_calls"] is False


@pytest.mark.parametrize("mode", ToolMode)
def test_tool_modes(mode: ToolMode) -> None:
    """A mode is its word, and nothing is said about parallel calls that was not asked for."""
    body = encoded(replace(SHORTEST, tools=(FunctionTool("f"),), tool_choice=ToolChoice(mode=mode)))
    assert body["tool_choice"] == mode.value
    assert "parallel_tool_calls" not in body


def test_output_formats() -> None:
    """A JSON object is a word, a schema comes whole and without an envelope."""
    assert encoded(replace(SHORTEST, output=JsonObjectOutput()))["text"] == {"format": {"type": "json_object"}}
    schema = JsonSchemaOutput("point", {"type": "object"}, strict=True)
    assert encoded(replace(SHORTEST, output=schema))["text"] == {
        "format": {"type": "json_schema", "name": "point", "schema": {"type": "object"}, "strict": True}
    }
    loose = JsonSchemaOutput("point", {"type": "object"})
    assert "strict" not in encoded(replace(SHORTEST, output=loose))["text"]["format"]


def test_options_of_the_serving_provider_are_added() -> None:
    """Options go to the provider that they name, and leave alone what they do not name of `text`."""
    request = replace(
        SHORTEST,
        output=JsonObjectOutput(),
        sampling=Sampling(temperature=1.0),
        provider_options={
            "openai": {"user": "u", "temperature": 0.5, "text": {"verbosity": "low"}},
            "gemini": {"x": 1},
        },
    )
    body = encoded(request)
    assert body["user"] == "u"
    assert body["temperature"] == 0.5
    assert body["text"] == {"format": {"type": "json_object"}, "verbosity": "low"}
    assert "x" not in body
