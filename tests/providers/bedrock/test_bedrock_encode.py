"""Golden pairs: a conversation and the JSON that Converse gets for it, held against the service's own model."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from tests.providers.bedrock.official import problems
from tests.providers.bedrock.sending import (
    CACHE_POINT,
    CLAUDE,
    HI,
    LLAMA,
    LOOK,
    NOVA,
    PDF,
    PNG,
    PNG_BLOCK,
    SHORTEST,
    encoded,
    talk,
    turn,
    warned,
)

from trunkline_server.chat.message import (
    MediaPart,
    Message,
    RefusalPart,
    Role,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from trunkline_server.chat.request import ChatRequest, JsonObjectOutput, ProviderTool, Sampling, ToolChoice, ToolMode
from trunkline_server.providers.bedrock import BedrockAdapter


def test_the_shortest_call_has_messages_only() -> None:
    """What was not asked for is not written; the model is in the path, every odd character of it encoded."""
    call = BedrockAdapter().encode(SHORTEST, "bedrock", NOVA, stream=False)
    assert call.body == b'{"messages":[{"role":"user","content":[{"text":"hi"}]}]}'
    assert call.path == "/model/amazon.nova-pro-v1%3A0/converse"
    assert dict(call.headers) == {"content-type": "application/json", "accept": "application/json"}
    assert call.warnings == ()


def test_a_stream_has_a_path_of_its_own() -> None:
    """The body is the same; path and accepted type say that it is a stream."""
    call = BedrockAdapter().encode(SHORTEST, "bedrock", NOVA, stream=True)
    assert call.body == BedrockAdapter().encode(SHORTEST, "bedrock", NOVA, stream=False).body
    assert call.path == "/model/amazon.nova-pro-v1%3A0/converse-stream"
    assert call.headers["accept"] == "application/vnd.amazon.eventstream"


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def used(call_id: str, arguments: Any = None, name: str = "look") -> dict[str, Any]:
    return {"toolUse": {"toolUseId": call_id, "name": name, "input": {} if arguments is None else arguments}}


def result(call_id: str, *content: Any, **fields: Any) -> dict[str, Any]:
    return {"toolResult": {"toolUseId": call_id, "content": list(content), **fields}}


TURNS: dict[str, tuple[tuple[Message, ...], list[dict[str, Any]]]] = {
    "neighbours of one role are one turn": (
        (HI, Message(Role.USER, (TextPart("there"),)), Message(Role.ASSISTANT, (TextPart("yes?"),))),
        [user({"text": "hi"}, {"text": "there"}), assistant({"text": "yes?"})],
    ),
    "a turn of which nothing is left does not part its neighbours": (
        (HI, Message(Role.ASSISTANT, (ThinkingPart("hm"), TextPart(" "))), Message(Role.USER, (TextPart("there"),))),
        [user({"text": "hi"}, {"text": "there"})],
    ),
    "blank texts say nothing": (
        (Message(Role.USER, (TextPart(""), TextPart("a"), TextPart(" \n"))), Message(Role.ASSISTANT, (TextPart(" "),))),
        [user({"text": "a"})],
    ),
    "pictures": (
        (Message(Role.USER, (TextPart("what?"), PNG, MediaPart("image/jpg; q=1", data=b"\xff\xd8"))),),
        [
            user(
                {"text": "what?"},
                {"image": {"format": "png", "source": {"bytes": "iVBORw=="}}},
                {"image": {"format": "jpeg", "source": {"bytes": "/9g="}}},
            )
        ],
    ),
    "a picture in a bucket": (
        (Message(Role.USER, (MediaPart("image/webp", uri="s3://my-bucket/1.webp"),)),),
        [user({"image": {"format": "webp", "source": {"s3Location": {"uri": "s3://my-bucket/1.webp"}}}})],
    ),
    "documents are numbered and never alone": (
        (Message(Role.USER, (PDF, MediaPart("text/csv", data=b"a,b"), MediaPart("text/x-python", data=b"1"))),),
        [
            user(
                {"text": "(document attached)"},
                {"document": {"format": "pdf", "name": "document-1", "source": {"bytes": "JVBERg=="}}},
                {"document": {"format": "csv", "name": "document-2", "source": {"bytes": "YSxi"}}},
                {"document": {"format": "txt", "name": "document-3", "source": {"bytes": "MQ=="}}},
            )
        ],
    ),
    "sound and video": (
        (Message(Role.USER, (MediaPart("audio/mpeg", data=b"ID3"), MediaPart("video/quicktime", data=b"mov"))),),
        [
            user(
                {"audio": {"format": "mp3", "source": {"bytes": "SUQz"}}},
                {"video": {"format": "mov", "source": {"bytes": "bW92"}}},
            )
        ],
    ),
    "calls and their results": (
        (
            HI,
            Message(
                Role.ASSISTANT,
                (TextPart("wait"), ToolCallPart("c1", "look", '{"q": 1.0}'), ToolCallPart("c2", "look", "")),
            ),
            Message(Role.TOOL, (ToolResultPart("c1", (TextPart("4"),)),)),
            Message(Role.TOOL, (ToolResultPart("c2", (TextPart("no"),), is_error=True),)),
            Message(Role.USER, (TextPart("so?"),)),
        ),
        [
            user({"text": "hi"}),
            assistant({"text": "wait"}, used("c1", {"q": 1.0}), used("c2")),
            user(result("c1", {"text": "4"}), result("c2", {"text": "no"}, status="error"), {"text": "so?"}),
        ],
    ),
    "results come first in their turn": (
        (
            HI,
            Message(Role.ASSISTANT, (ToolCallPart("c1", "look", "{}"),)),
            Message(Role.USER, (TextPart("go on"), ToolResultPart("c1", ()))),
        ),
        [user({"text": "hi"}), assistant(used("c1")), user(result("c1"), {"text": "go on"})],
    ),
    "media in a result, and results inside it": (
        (
            HI,
            Message(Role.ASSISTANT, (ToolCallPart("c1", "look", "{}"),)),
            Message(Role.TOOL, (ToolResultPart("c1", (PNG, PDF, ToolResultPart("in", (TextPart("deep"),)))),)),
        ),
        [
            user({"text": "hi"}),
            assistant(used("c1")),
            user(
                result(
                    "c1",
                    PNG_BLOCK,
                    {"document": {"format": "pdf", "name": "document-1", "source": {"bytes": "JVBERg=="}}},
                    {"text": "deep"},
                )
            ),
        ],
    ),
    "an id that others made": (
        (
            HI,
            Message(Role.ASSISTANT, (ToolCallPart("call|" + "x" * 80, "look", "{}"),)),
            Message(Role.TOOL, (ToolResultPart("call|" + "x" * 80, (TextPart("4"),)),)),
        ),
        [
            user({"text": "hi"}),
            assistant(used("o4K1DWzOzYYYJNeUyxOkuQzZ")),
            user(result("o4K1DWzOzYYYJNeUyxOkuQzZ", {"text": "4"})),
        ],
    ),
    "a refusal is text": (
        (HI, Message(Role.ASSISTANT, (RefusalPart("I won't"),))),
        [user({"text": "hi"}), assistant({"text": "I won't"})],
    ),
    "this provider's reasoning goes back": (
        (
            HI,
            Message(
                Role.ASSISTANT,
                (
                    ThinkingPart("hm", "sig", provider="bedrock"),
                    ThinkingPart("", "c2VhbGVk", redacted=True, provider="bedrock"),
                    TextPart("yes"),
                ),
            ),
        ),
        [
            user({"text": "hi"}),
            assistant(
                {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
                {"reasoningContent": {"redactedContent": "c2VhbGVk"}},
                {"text": "yes"},
            ),
        ],
    ),
    "another provider's reasoning does not, nor what has no seal": (
        (
            HI,
            Message(
                Role.ASSISTANT,
                (
                    ThinkingPart("hm", "sig", provider="anthropic"),
                    ThinkingPart("hm", "sig"),
                    ThinkingPart("hm", provider="bedrock"),
                    TextPart("yes"),
                ),
            ),
        ),
        [user({"text": "hi"}), assistant({"text": "yes"})],
    ),
    "a point for the cache": (
        (replace(HI, cache_breakpoint=True), Message(Role.ASSISTANT, (TextPart("yes"),), cache_breakpoint=True)),
        [user({"text": "hi"}, CACHE_POINT), assistant({"text": "yes"}, CACHE_POINT)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TURNS)
def test_turns(case: str) -> None:
    """Each kind of conversation has exactly this JSON, and nothing is warned of."""
    messages, golden = TURNS[case]
    call = BedrockAdapter().encode(talk(*messages), "bedrock", CLAUDE, stream=False)
    body = json.loads(call.body)
    assert body["messages"] == golden
    assert call.warnings == ()
    assert problems("Converse", body) == ""


def test_the_system_stands_apart() -> None:
    """What system and developer say is in a field of its own; a late word of theirs moves there, and that is told."""
    system = Message(Role.SYSTEM, (TextPart("be brief"),), cache_breakpoint=True)
    developer = Message(Role.DEVELOPER, (TextPart("be kind"), TextPart("")))
    body = encoded(talk(system, developer, HI))
    assert body["system"] == [{"text": "be brief"}, {"cachePoint": {"type": "default"}}, {"text": "be kind"}]
    assert warned(talk(system, developer, HI)) == []
    assert encoded(talk(HI, system))["system"][0] == {"text": "be brief"}
    assert warned(talk(HI, system)) == [("ADJUSTED_FIELD", "messages[1]")]


def test_only_the_last_points_for_the_cache_are_sent() -> None:
    """The service takes four; families without caching get none, and nobody is warned of a hint."""
    marked = [Message(role, (TextPart("a"),), cache_breakpoint=True) for role in [Role.USER, Role.ASSISTANT] * 3]
    turns = encoded(talk(*marked))["messages"]
    assert [len(turn["content"]) for turn in turns] == [1, 1, 2, 2, 2, 2]
    assert "cachePoint" not in json.dumps(encoded(talk(*marked), LLAMA))
    assert warned(talk(*marked), LLAMA) == []


def test_what_a_family_refuses_is_said_otherwise() -> None:
    """A model without a field for failed tools gets a word; one that takes no reasoning back gets none."""
    request = talk(
        HI,
        Message(Role.ASSISTANT, (ThinkingPart("hm", "s", provider="bedrock"), ToolCallPart("c1", "look", "{}"))),
        Message(Role.TOOL, (ToolResultPart("c1", (TextPart("no"),), is_error=True),)),
    )
    turns = encoded(request, LLAMA)["messages"]
    assert turns[1] == assistant(used("c1"))
    assert turns[2] == user(result("c1", {"text": "Error: "}, {"text": "no"}))


TOLD: dict[str, tuple[ChatRequest, str]] = {
    "picture by uri": (turn(Role.USER, MediaPart("image/png", uri="https://a.example/1")), "messages[0].parts[0]"),
    "picture of another type": (turn(Role.USER, MediaPart("image/tiff", data=b"x")), "messages[0].parts[0]"),
    "uploaded file": (turn(Role.USER, MediaPart("application/pdf", file_id="f")), "messages[0].parts[0]"),
    "document of another type": (turn(Role.USER, MediaPart("application/zip", data=b"x")), "messages[0].parts[0]"),
    "nothing in it": (turn(Role.USER, TextPart("a"), MediaPart("image/png", data=b"")), "messages[0].parts[1]"),
    "picture of the system": (turn(Role.SYSTEM, TextPart("a"), PNG), "messages[0].parts[1]"),
    "picture of the assistant": (turn(Role.ASSISTANT, PNG), "messages[0].parts[0]"),
    "sound in a result": (
        turn(Role.TOOL, ToolResultPart("c1", (MediaPart("audio/wav", data=b"x"),))),
        "messages[0].parts[0].tool_result.parts[0]",
    ),
    "result of the assistant": (turn(Role.ASSISTANT, TextPart("a"), ToolResultPart("c", ())), "messages[0].parts[1]"),
    "call of the user": (turn(Role.USER, TextPart("a"), ToolCallPart("c1", "look", "{}")), "messages[0].parts[1]"),
    "text beside results": (turn(Role.TOOL, ToolResultPart("c1", ()), TextPart("and")), "messages[0].parts[1]"),
    "a name": (turn(Role.USER, TextPart("a"), name="ann"), "messages[0].name"),
    "log-probabilities": (replace(SHORTEST, sampling=Sampling(top_logprobs=0)), "sampling.top_logprobs"),
    "a high temperature": (replace(SHORTEST, sampling=Sampling(temperature=1.5)), "sampling.temperature"),
    "a seed": (replace(SHORTEST, sampling=Sampling(seed=0)), "sampling.seed"),
    "a penalty": (replace(SHORTEST, sampling=Sampling(presence_penalty=0.5)), "sampling.presence_penalty"),
    "some JSON": (replace(SHORTEST, output=JsonObjectOutput()), "output"),
    "one call at a time": (
        replace(SHORTEST, tools=(LOOK,), tool_choice=ToolChoice(parallel=False)),
        "tool_choice.parallel",
    ),
    "another provider's tool": (replace(SHORTEST, tools=(ProviderTool("gemini", {"a": 1}),)), "tools[0].provider"),
}


@pytest.mark.parametrize("case", TOLD)
def test_what_is_left_out_is_told_with_its_path(case: str) -> None:
    """Nothing that the protocol cannot carry disappears in silence."""
    request, field = TOLD[case]
    encoded(request)
    assert warned(request) == [("UNSUPPORTED_FIELD", field)]


def test_a_beginning_of_the_answer_has_no_blank_end() -> None:
    """Models refuse white space at the end of a text that they are to go on from."""
    request = talk(HI, Message(Role.ASSISTANT, (TextPart("It is \n"),)))
    assert encoded(request)["messages"][1] == assistant({"text": "It is"})
    assert warned(request) == [("ADJUSTED_FIELD", "messages")]


@pytest.mark.parametrize(
    ("arguments", "sent"), [("[1]", {"arguments": [1]}), ('{"a": ', {"arguments": '{"a":'}), ("7", {"arguments": 7})]
)
def test_arguments_that_are_no_object(arguments: str, sent: Any) -> None:
    """The service takes objects only: anything else is wrapped into one, and that is told."""
    request = talk(HI, Message(Role.ASSISTANT, (ToolCallPart("c1", "look", arguments),)))
    assert encoded(request)["messages"][1] == assistant(used("c1", sent))
    assert warned(request) == [("ADJUSTED_FIELD", "messages[1].parts[0].tool_call.arguments_json")]


def test_arguments_are_sent_as_the_model_wrote_them() -> None:
    """Figures keep their form, and duplicate keys their number."""
    text = '{"a": 1.0, "b": 1e2, "a": 12345678901234567890}'
    request = talk(HI, Message(Role.ASSISTANT, (ToolCallPart("c1", "look", f" {text}\n"),)))
    assert text.encode() in BedrockAdapter().encode(request, "bedrock", CLAUDE, stream=False).body


CALLED = (
    HI,
    Message(Role.ASSISTANT, (TextPart("wait"), ToolCallPart("c1", "look", '{"q": "x"}'))),
    Message(Role.TOOL, (ToolResultPart("c1", (TextPart("4"), PNG)),)),
)


@pytest.mark.parametrize(
    "request_", [replace(talk(*CALLED), tools=()), replace(talk(*CALLED), tool_choice=ToolChoice(ToolMode.NONE))]
)
def test_without_tools_on_offer_calls_are_words(request_: ChatRequest) -> None:
    """The service refuses calls and results in a request that offers no tools: they are told instead, once warned."""
    body = encoded(request_)
    assert "toolConfig" not in body
    assert body["messages"] == [
        user({"text": "hi"}),
        assistant({"text": "wait"}, {"text": '(called look with {"q": "x"})'}),
        user({"text": "(result of look)"}, {"text": "4"}, PNG_BLOCK),
    ]
    assert warned(request_) == [("ADJUSTED_FIELD", "messages[1].parts[1]")]


def test_pictures_are_base64() -> None:
    """The bytes arrive as they were."""
    data = bytes(range(256)) * 40
    body = encoded(turn(Role.USER, MediaPart("image/gif", data=data)))
    assert base64.b64decode(body["messages"][0]["content"][0]["image"]["source"]["bytes"], validate=True) == data
