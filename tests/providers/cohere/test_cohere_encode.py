"""Golden pairs: a neutral request and the JSON that Cohere gets for it. The forms are those of SPEC."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.providers.cohere.cohere_golden import PROVIDER, adapter

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
from trunkline_server.providers.base import AdapterTerms
from trunkline_server.providers.cohere import CohereAdapter
from trunkline_server.providers.cohere.messages import PLAN_SEAL

HI = Message(Role.USER, (TextPart("hi"),))
SHORTEST = ChatRequest("default", (HI,), "r-1")
PNG = MediaPart("image/png", data=b"\x89PNG")
CALL = ToolCallPart("c1", "look", '{"q": 1.0}')
WIRE_CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"q": 1.0}'}}
LOOK = FunctionTool("look", "looks", {"type": "object", "properties": {"q": {"type": "number"}}})


def encoded(request: ChatRequest, *, stream: bool = False) -> dict[str, Any]:
    body = json.loads(adapter().encode(request, PROVIDER, "command-a", stream=stream).body)
    assert isinstance(body, dict)
    return body


def warned(request: ChatRequest) -> list[tuple[str, str]]:
    call = adapter().encode(request, PROVIDER, "command-a", stream=False)
    return [(warning.code, warning.field) for warning in call.warnings]


def turn(role: Role, *parts: Part, name: str | None = None) -> ChatRequest:
    return replace(SHORTEST, messages=(Message(role, parts, name),))


def test_the_shortest_call_has_model_messages_and_stream_only() -> None:
    """What was not asked for is not written."""
    call = adapter().encode(SHORTEST, PROVIDER, "command-a", stream=False)
    assert call.body == b'{"model":"command-a","messages":[{"role":"user","content":"hi"}],"stream":false}'
    assert call.path == "/v2/chat"
    assert dict(call.headers) == {"content-type": "application/json", "accept": "application/json"}
    assert call.warnings == ()


def test_a_stream_is_asked_for_in_body_and_header() -> None:
    """Nothing else differs: usage comes unasked."""
    call = adapter().encode(SHORTEST, PROVIDER, "command-a", stream=True)
    assert json.loads(call.body) == {**encoded(SHORTEST), "stream": True}
    assert call.headers["accept"] == "text/event-stream"


def test_a_base_url_may_have_the_version_in_it() -> None:
    """Then the paths have it not."""
    versioned = CohereAdapter(AdapterTerms(PROVIDER, "https://gateway.example/cohere/v2"))
    assert versioned.encode(SHORTEST, PROVIDER, "m", stream=False).path == "/chat"


MESSAGES: dict[str, tuple[tuple[Message, ...], list[dict[str, Any]]]] = {
    "system and developer are one message": (
        (Message(Role.SYSTEM, (TextPart("be brief"),)), Message(Role.DEVELOPER, (TextPart("and kind"),)), HI),
        [
            {
                "role": "system",
                "content": [{"type": "text", "text": "be brief"}, {"type": "text", "text": "and kind"}],
            },
            {"role": "user", "content": "hi"},
        ],
    ),
    "several texts keep their borders": (
        (Message(Role.USER, (TextPart("a"), TextPart("b"))),),
        [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
    ),
    "no parts": ((Message(Role.USER, ()),), [{"role": "user", "content": ""}]),
    "pictures": (
        (Message(Role.USER, (TextPart("see"), PNG, MediaPart("image/jpeg", uri="https://p.example/1.jpg"))),),
        [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "see"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
                    {"type": "image_url", "image_url": {"url": "https://p.example/1.jpg"}},
                ],
            }
        ],
    ),
    "a text document is text": (
        (Message(Role.USER, (TextPart("read"), MediaPart("text/csv", data="a;ß".encode()))),),
        [{"role": "user", "content": [{"type": "text", "text": "read"}, {"type": "text", "text": "a;ß"}]}],
    ),
    "calls": ((Message(Role.ASSISTANT, (CALL,)),), [{"role": "assistant", "tool_calls": [WIRE_CALL]}]),
    "words beside calls are the plan": (
        (Message(Role.ASSISTANT, (TextPart("wait"), RefusalPart("!"), CALL)),),
        [{"role": "assistant", "tool_calls": [WIRE_CALL], "tool_plan": "wait\n!"}],
    ),
    "a plan goes back as a plan": (
        (Message(Role.ASSISTANT, (ThinkingPart("I will look", PLAN_SEAL, provider=PROVIDER), CALL)),),
        [{"role": "assistant", "tool_calls": [WIRE_CALL], "tool_plan": "I will look"}],
    ),
    "thinking beside calls goes back as thinking": (
        (Message(Role.ASSISTANT, (ThinkingPart("hm", provider=PROVIDER), CALL)),),
        [
            {
                "role": "assistant",
                "tool_calls": [WIRE_CALL],
                "content": [{"type": "thinking", "thinking": "hm"}],
            }
        ],
    ),
    "thinking and words beside calls are one plan": (
        (Message(Role.ASSISTANT, (ThinkingPart("hm", provider=PROVIDER), TextPart("wait"), CALL)),),
        [{"role": "assistant", "tool_calls": [WIRE_CALL], "tool_plan": "hm\nwait"}],
    ),
    "thinking before text": (
        (Message(Role.ASSISTANT, (ThinkingPart("hm", provider=PROVIDER), TextPart("yes"))),),
        [
            {
                "role": "assistant",
                "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "yes"}],
            }
        ],
    ),
    "a plan without calls": (
        (Message(Role.ASSISTANT, (ThinkingPart("I might", PLAN_SEAL, provider=PROVIDER), TextPart("no"))),),
        [{"role": "assistant", "content": "no", "tool_plan": "I might"}],
    ),
    "foreign thinking goes back to nobody": (
        (Message(Role.ASSISTANT, (ThinkingPart("hm", "sealed", provider="anthropic"), ThinkingPart("x"), CALL)),),
        [{"role": "assistant", "tool_calls": [WIRE_CALL]}],
    ),
    "refusal": ((Message(Role.ASSISTANT, (RefusalPart("no"),)),), [{"role": "assistant", "content": "no"}]),
    "each result is a message": (
        (Message(Role.TOOL, (ToolResultPart("c1", (TextPart("4"),)), ToolResultPart("c2", ()))),),
        [
            {"role": "tool", "tool_call_id": "c1", "content": "4"},
            {"role": "tool", "tool_call_id": "c2", "content": ""},
        ],
    ),
    "an error is marked": (
        (
            Message(
                Role.TOOL,
                (
                    ToolResultPart("c1", (TextPart("none"), TextPart("at all")), is_error=True),
                    ToolResultPart("c2", (), is_error=True),
                ),
            ),
        ),
        [
            {
                "role": "tool",
                "tool_call_id": "c1",
                "content": [{"type": "text", "text": "Error: none"}, {"type": "text", "text": "at all"}],
            },
            {"role": "tool", "tool_call_id": "c2", "content": "Error: "},
        ],
    ),
    "results inside a result": (
        (Message(Role.TOOL, (ToolResultPart("c1", (ToolResultPart("inner", (TextPart("deep"),)),)),)),),
        [{"role": "tool", "tool_call_id": "c1", "content": "deep"}],
    ),
    "results go before the words beside them": (
        (Message(Role.USER, (TextPart("go on"), ToolResultPart("c1", (TextPart("4"),)))),),
        [{"role": "tool", "tool_call_id": "c1", "content": "4"}, {"role": "user", "content": "go on"}],
    ),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_messages(case: str) -> None:
    """Each kind of message has exactly this JSON, and nothing is warned of."""
    messages, golden = MESSAGES[case]
    request = replace(SHORTEST, messages=messages)
    assert encoded(request)["messages"] == golden
    assert warned(request) == []


def test_thinking_stays_behind_where_the_model_is_not_to_think() -> None:
    """The API takes thinking only while thinking is on; with calls it is the plan's place that is left, and empty."""
    off = replace(
        turn(Role.ASSISTANT, ThinkingPart("hm", provider=PROVIDER), CALL),
        sampling=Sampling(reasoning_effort=ReasoningEffort.NONE),
    )
    body = encoded(off)
    assert body["messages"] == [{"role": "assistant", "tool_calls": [WIRE_CALL]}]
    assert body["thinking"] == {"type": "disabled"}


def test_ids_that_do_not_fit_are_replaced_alike() -> None:
    """Calls and results of another vendor's conversation still belong together."""
    long_id = "call:" + "x" * 80
    request = replace(
        SHORTEST,
        messages=(
            Message(Role.ASSISTANT, (replace(CALL, id=long_id),)),
            Message(Role.TOOL, (ToolResultPart(long_id, (TextPart("4"),)),)),
        ),
    )
    asked, answered = encoded(request)["messages"]
    assert asked["tool_calls"][0]["id"] == answered["tool_call_id"] != long_id


def test_what_the_system_says_later_moves_to_the_front_and_is_told() -> None:
    """The API takes it nowhere else; its order stays."""
    late = Message(Role.SYSTEM, (TextPart("stop"),))
    request = replace(SHORTEST, messages=(Message(Role.SYSTEM, (TextPart("go"),)), HI, late))
    assert encoded(request)["messages"][0]["content"] == [
        {"type": "text", "text": "go"},
        {"type": "text", "text": "stop"},
    ]
    assert warned(request) == [("MOVED_MESSAGE", "messages[2]")]


LEFT_OUT: dict[str, tuple[ChatRequest, str]] = {
    "name": (turn(Role.USER, TextPart("a"), name="ann"), "messages[0].name"),
    "name of the system": (turn(Role.SYSTEM, TextPart("a"), name="ops"), "messages[0].name"),
    "sound": (turn(Role.USER, TextPart("a"), MediaPart("audio/wav", data=b"x")), "messages[0].parts[1]"),
    "another picture": (turn(Role.USER, MediaPart("image/tiff", data=b"x")), "messages[0].parts[0]"),
    "document": (turn(Role.USER, MediaPart("application/pdf", data=b"x")), "messages[0].parts[0]"),
    "document by uri": (turn(Role.USER, MediaPart("text/plain", uri="https://a")), "messages[0].parts[0]"),
    "text that is none": (turn(Role.USER, MediaPart("text/plain", data=b"\xff")), "messages[0].parts[0]"),
    "file": (turn(Role.USER, MediaPart("image/png", file_id="f", provider=PROVIDER)), "messages[0].parts[0]"),
    "picture of the system": (turn(Role.SYSTEM, TextPart("a"), PNG), "messages[0].parts[1]"),
    "picture of the assistant": (turn(Role.ASSISTANT, PNG), "messages[0].parts[0]"),
    "picture in a result": (
        turn(Role.TOOL, ToolResultPart("c1", (TextPart("see"), PNG))),
        "messages[0].parts[0].tool_result.parts[1]",
    ),
    "call of the user": (turn(Role.USER, CALL), "messages[0].parts[0]"),
    "text beside results": (turn(Role.TOOL, ToolResultPart("c1", ()), TextPart("and")), "messages[0].parts[1]"),
    "a provider's tool": (replace(SHORTEST, tools=(ProviderTool(PROVIDER, {"a": 1}),)), "tools[0].provider"),
    "one call at a time": (
        replace(SHORTEST, tools=(LOOK,), tool_choice=ToolChoice(parallel=False)),
        "tool_choice.parallel",
    ),
    "strictness of some": (
        replace(SHORTEST, tools=(LOOK, replace(LOOK, name="see", strict=True))),
        "tools[1].function.strict",
    ),
    "JSON beside tools": (replace(SHORTEST, tools=(LOOK,), output=JsonObjectOutput()), "output"),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_what_is_left_out_is_told_with_its_path(case: str) -> None:
    """Nothing that the protocol cannot carry disappears in silence."""
    request, field = LEFT_OUT[case]
    assert warned(request) == [("UNSUPPORTED_FIELD", field)]
    body = encoded(request)
    assert not {"strict_tools", "response_format", "parallel_tool_calls"} & set(body)


def test_tools_and_their_strictness() -> None:
    """Functions are written field by field; a schema is always there; all strict is one word."""
    needed = {**(LOOK.parameters or {}), "required": ["q"]}
    request = replace(SHORTEST, tools=(replace(LOOK, parameters=needed, strict=True),))
    body = encoded(request)
    assert body["tools"] == [
        {"type": "function", "function": {"name": "look", "description": "looks", "parameters": needed}},
    ]
    assert body["strict_tools"] is True
    assert warned(request) == []


def test_a_turn_that_says_nothing_is_left_out() -> None:
    """Another vendor's thinking alone, a blank answer and blank instructions: the API refuses empty turns."""
    messages = (
        Message(Role.SYSTEM, (TextPart(""),)),
        Message(Role.USER, (TextPart("hi"),)),
        Message(Role.ASSISTANT, (ThinkingPart("hm", provider="elsewhere"),)),
        Message(Role.ASSISTANT, (TextPart(""),)),
        Message(Role.USER, (TextPart("and now?"),)),
    )
    body = encoded(replace(SHORTEST, messages=messages))
    assert body["messages"] == [{"role": "user", "content": "hi"}, {"role": "user", "content": "and now?"}]


def test_strictness_about_a_function_without_a_required_parameter_is_left_out() -> None:
    """The API refuses it for all of them, and whoever asked for it is told."""
    request = replace(SHORTEST, tools=(replace(LOOK, strict=True), FunctionTool("wait", strict=True)))
    body = encoded(request)
    assert body["tools"][1]["function"] == {"name": "wait", "parameters": {"type": "object", "properties": {}}}
    assert "strict_tools" not in body
    assert [path for _, path in warned(request)] == ["tools[0].function.strict", "tools[1].function.strict"]


@pytest.mark.parametrize(
    ("mode", "word"), [(ToolMode.AUTO, None), (ToolMode.NONE, "NONE"), (ToolMode.REQUIRED, "REQUIRED")]
)
def test_tool_modes(mode: ToolMode, word: str | None) -> None:
    """A free choice is what is not said."""
    request = replace(SHORTEST, tools=(LOOK,), tool_choice=ToolChoice(mode, parallel=True))
    assert encoded(request).get("tool_choice") == word
    assert warned(request) == []


def test_one_function_that_must_be_called_is_the_only_one_on_offer() -> None:
    """The API can force a call, but cannot name it."""
    request = replace(SHORTEST, tools=(LOOK, FunctionTool("wait")), tool_choice=ToolChoice(function="wait"))
    body = encoded(request)
    assert [tool["function"]["name"] for tool in body["tools"]] == ["wait"]
    assert body["tool_choice"] == "REQUIRED"
    assert warned(request) == []


def test_output_formats() -> None:
    """A schema is a part of the JSON object's format."""
    assert encoded(replace(SHORTEST, output=JsonObjectOutput()))["response_format"] == {"type": "json_object"}
    schema = JsonSchemaOutput("point", {"type": "object"}, strict=True)
    assert encoded(replace(SHORTEST, output=schema))["response_format"] == {
        "type": "json_object",
        "json_schema": {"type": "object"},
    }


def test_options_of_the_serving_provider_are_added() -> None:
    """Options go to the provider that they name, before typed fields, and to no other."""
    documents = [{"id": "1", "data": {"text": "t"}}]
    request = replace(
        SHORTEST,
        sampling=Sampling(temperature=1.0),
        provider_options={PROVIDER: {"documents": documents, "temperature": 0.5}, "gemini": {"x": 1}},
    )
    body = encoded(request)
    assert (body["documents"], body["temperature"], body.get("x")) == (documents, 0.5, None)


MACHINE = ["model", "messages", "stream"]
TYPED: dict[str, object] = {"temperature": 1, "k": 1, "thinking": {}, "strict_tools": True}
FREE: dict[str, object] = {"documents": [], "safety_mode": "STRICT", "citation_options": {}, "priority": 3, "new": 1}


@pytest.mark.parametrize(
    ("options", "allowed", "paths"),
    [
        (dict.fromkeys(MACHINE), MACHINE, MACHINE),
        (TYPED, ["k"], ["temperature", "thinking", "strict_tools"]),
        (FREE, [], []),
    ],
)
def test_options_that_are_not_the_caller_s(options: dict[str, object], allowed: list[str], paths: list[str]) -> None:
    """What the gateway writes, and what has a field of its own unless the caller may."""
    assert [finding.path for finding in adapter().check_options(options, frozenset(allowed))] == paths
