"""Golden pairs: neutral messages, and the instructions and turns that the Messages API has for them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.providers.anthropic.messages_requests import CLASSIC, HI, LATEST, body_of, conversation, turn, warned

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
from trunkline_server.providers.anthropic import AnthropicAdapter

PNG = MediaPart("image/png", data=b"\x89PNG")
CALL = ToolCallPart("toolu_1", "look", '{"city": "Oslo", "n": 1.0}')
CALLED = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"city": "Oslo", "n": 1.0}}
RESULT = ToolResultPart("toolu_1", (TextPart("rain"),))
ANSWERED = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain"}
THOUGHT = ThinkingPart("hm", "sig", provider="anthropic")


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def image(**source: Any) -> dict[str, Any]:
    return {"type": "image", "source": source}


def document(**source: Any) -> dict[str, Any]:
    return {"type": "document", "source": source}


MEDIA: dict[str, tuple[MediaPart, dict[str, Any]]] = {
    "picture": (PNG, image(type="base64", media_type="image/png", data="iVBORw==")),
    "picture, loosely named": (
        MediaPart("Image/JPG; x=1", data=b"a"),
        image(type="base64", media_type="image/jpeg", data="YQ=="),
    ),
    "picture by address": (MediaPart("image/webp", uri="https://h/1.webp"), image(type="url", url="https://h/1.webp")),
    "picture in an address": (
        MediaPart("", uri="data:image/gif;base64,R0lG"),
        image(type="base64", media_type="image/gif", data="R0lG"),
    ),
    "picture by file": (
        MediaPart("image/png", file_id="file_1", provider="anthropic"),
        image(type="file", file_id="file_1"),
    ),
    "document": (
        MediaPart("application/pdf", data=b"%PDF"),
        document(type="base64", media_type="application/pdf", data="JVBERg=="),
    ),
    "document by address": (
        MediaPart("application/pdf", uri="https://h/1.pdf"),
        document(type="url", url="https://h/1.pdf"),
    ),
    "document by file": (
        MediaPart("", file_id="file_2", provider="anthropic"),
        document(type="file", file_id="file_2"),
    ),
    "text": (
        MediaPart("text/markdown", data="größe".encode()),
        document(type="text", media_type="text/plain", data="größe"),
    ),
    "text in an address": (
        MediaPart("", uri="data:text/plain;charset=utf-8;base64,aGk="),
        document(type="text", media_type="text/plain", data="hi"),
    ),
}


@pytest.mark.parametrize("case", MEDIA)
def test_media_become_blocks(case: str) -> None:
    """Pictures and documents, by bytes, address and file."""
    part, block = MEDIA[case]
    request = conversation(turn(Role.USER, part))
    assert body_of(request)["messages"] == [{"role": "user", "content": [block]}]
    assert warned(request) == []


@pytest.mark.parametrize(
    "part",
    [
        MediaPart("image/tiff", data=b"II*"),
        MediaPart("audio/wav", data=b"RIFF"),
        MediaPart("video/mp4", uri="https://h/1.mp4"),
        MediaPart("image/png", uri="gs://bucket/1.png"),
        MediaPart("application/zip", data=b"PK"),
        MediaPart("text/plain", data=b"\xff\xfe"),
        MediaPart("", uri="data:text/plain;base64,%%%"),
        MediaPart("", uri="data:text/plain,hi"),
    ],
)
def test_media_that_the_api_has_no_block_for_are_told(part: MediaPart) -> None:
    """They are left out, each with a warning."""
    request = conversation(turn(Role.USER, TextPart("a"), part))
    assert body_of(request)["messages"] == [{"role": "user", "content": "a"}]
    assert warned(request) == [("UNSUPPORTED_FIELD", "messages[0].parts[1]")]


TURNS: dict[str, tuple[tuple[Message, ...], Any, list[dict[str, Any]]]] = {
    "system": (
        (turn(Role.SYSTEM, TextPart("be brief")), HI),
        "be brief",
        [{"role": "user", "content": "hi"}],
    ),
    "several instructions": (
        (turn(Role.SYSTEM, TextPart("a"), TextPart("b")), turn(Role.DEVELOPER, TextPart("c")), HI),
        [text("a"), text("b"), text("c")],
        [{"role": "user", "content": "hi"}],
    ),
    "neighbours are one turn": (
        (HI, turn(Role.USER, TextPart("there")), turn(Role.ASSISTANT, TextPart("yes")), HI),
        None,
        [
            {"role": "user", "content": [text("hi"), text("there")]},
            {"role": "assistant", "content": "yes"},
            {"role": "user", "content": "hi"},
        ],
    ),
    "empty texts are passed over": (
        (turn(Role.USER, TextPart(""), TextPart("a"), TextPart("\n ")), turn(Role.ASSISTANT, TextPart("")), HI),
        None,
        [{"role": "user", "content": [text("a"), text("hi")]}],
    ),
    "refusals are words": (
        (HI, turn(Role.ASSISTANT, RefusalPart("I won't.")), HI),
        None,
        [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "I won't."},
            {"role": "user", "content": "hi"},
        ],
    ),
    "a round of tools": (
        (
            HI,
            turn(Role.ASSISTANT, TextPart("One look."), CALL),
            turn(Role.TOOL, RESULT),
            turn(Role.USER, TextPart("So?")),
        ),
        None,
        [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [text("One look."), CALLED]},
            {"role": "user", "content": [ANSWERED, text("So?")]},
        ],
    ),
    "results come first": (
        (HI, turn(Role.ASSISTANT, CALL), turn(Role.USER, TextPart("Wait.")), turn(Role.TOOL, RESULT)),
        None,
        [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [CALLED]},
            {"role": "user", "content": [ANSWERED, text("Wait.")]},
        ],
    ),
    "results of several kinds": (
        (
            HI,
            turn(Role.ASSISTANT, CALL, ToolCallPart("toolu_2", "look", "{}"), ToolCallPart("toolu_3", "look", "{}")),
            turn(
                Role.TOOL,
                ToolResultPart("toolu_1", (TextPart("see"), PNG)),
                ToolResultPart("toolu_2", (), is_error=True),
                ToolResultPart("toolu_3", (ToolResultPart("x", (TextPart("in"), TextPart("side"))),)),
            ),
        ),
        None,
        [
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": [
                    CALLED,
                    {"type": "tool_use", "id": "toolu_2", "name": "look", "input": {}},
                    {"type": "tool_use", "id": "toolu_3", "name": "look", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_1",
                        "content": [text("see"), image(type="base64", media_type="image/png", data="iVBORw==")],
                    },
                    {"type": "tool_result", "tool_use_id": "toolu_2", "is_error": True},
                    {"type": "tool_result", "tool_use_id": "toolu_3", "content": [text("in"), text("side")]},
                ],
            },
        ],
    ),
    "its own thinking goes back as it came": (
        (
            HI,
            turn(
                Role.ASSISTANT,
                THOUGHT,
                ThinkingPart("", "sealed", redacted=True, provider="anthropic"),
                ThinkingPart("", "unshown", provider="anthropic"),
                CALL,
            ),
            turn(Role.TOOL, RESULT),
        ),
        None,
        [
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "sig"},
                    {"type": "redacted_thinking", "data": "sealed"},
                    {"type": "thinking", "thinking": "", "signature": "unshown"},
                    CALLED,
                ],
            },
            {"role": "user", "content": [ANSWERED]},
        ],
    ),
    "thinking of others and unsigned thinking stay behind": (
        (
            HI,
            turn(
                Role.ASSISTANT,
                ThinkingPart("a", "sig", provider="anthropic-2"),
                ThinkingPart("b", provider="anthropic"),
                ThinkingPart("c", "sig"),
                TextPart("yes"),
            ),
            HI,
        ),
        None,
        [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}, {"role": "user", "content": "hi"}],
    ),
    "ids of other providers are mapped": (
        (
            HI,
            turn(Role.ASSISTANT, ToolCallPart("functions.look:0", "look", "{}")),
            turn(Role.TOOL, ToolResultPart("functions.look:0", (TextPart("rain"),))),
        ),
        None,
        [
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "jqtEhGcQxH99d78z5Kbutqg3", "name": "look", "input": {}}],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "jqtEhGcQxH99d78z5Kbutqg3", "content": "rain"}],
            },
        ],
    ),
}


@pytest.mark.parametrize("case", TURNS)
def test_messages_become_instructions_and_turns(case: str) -> None:
    """Instructions in front, neighbours joined, results first, thinking only where it came from."""
    messages, system, turns = TURNS[case]
    body = body_of(conversation(*messages))
    assert body.get("system") == system
    assert body["messages"] == turns
    assert warned(conversation(*messages)) == []


def test_arguments_go_back_byte_by_byte() -> None:
    """Order, spaces and long numbers of what the model wrote are kept."""
    written = '{"b": 1.50, "a":12345678901234567890, "é": "\\u00e9"}'
    request = conversation(HI, turn(Role.ASSISTANT, ToolCallPart("toolu_1", "f", written)), turn(Role.TOOL, RESULT))
    assert written.encode() in AnthropicAdapter().encode(request, "anthropic", CLASSIC, stream=False).body


@pytest.mark.parametrize("arguments", ["", "[1]", '{"half": '])
def test_arguments_that_are_no_object_cannot_break_the_body(arguments: str) -> None:
    """An empty object is sent instead, and told."""
    call = ToolCallPart("toolu_1", "f", arguments)
    request = conversation(HI, turn(Role.ASSISTANT, call), turn(Role.TOOL, RESULT))
    assert body_of(request)["messages"][1]["content"][0]["input"] == {}
    assert warned(request) == [("UNSUPPORTED_FIELD", "messages[1].parts[0].tool_call.arguments_json")]


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (turn(Role.SYSTEM, TextPart("a"), PNG), "messages[0].parts[1]"),
        (turn(Role.ASSISTANT, TextPart("a"), PNG), "messages[0].parts[1]"),
        (turn(Role.USER, TextPart("a"), CALL), "messages[0].parts[1]"),
        (turn(Role.TOOL, RESULT, TextPart("a")), "messages[0].parts[1]"),
        (turn(Role.TOOL, ToolResultPart("c", (CALL,))), "messages[0].parts[0].tool_result.parts[0]"),
        (turn(Role.USER, TextPart("a"), name="ann"), "messages[0].name"),
    ],
)
def test_what_has_no_place_is_told(message: Message, field: str) -> None:
    """Each part that is left out has a warning with its path."""
    assert warned(conversation(message, HI)) == [("UNSUPPORTED_FIELD", field)]


def test_the_text_to_go_on_from_ends_without_white_space() -> None:
    """The API refuses it otherwise; what was cut off is told."""
    request = conversation(HI, turn(Role.ASSISTANT, TextPart("Once upon \n")))
    assert body_of(request)["messages"][-1] == {"role": "assistant", "content": "Once upon"}
    assert warned(request) == [("ADJUSTED_FIELD", "messages")]


NOTE = turn(Role.DEVELOPER, TextPart("Now be brief."))
YES = turn(Role.ASSISTANT, TextPart("yes"))


@pytest.mark.parametrize(
    ("model", "messages", "stays"),
    [
        (LATEST, (HI, NOTE), True),
        (LATEST, (HI, YES, HI, NOTE, YES, HI), True),
        (LATEST, (HI, turn(Role.ASSISTANT, CALL), turn(Role.TOOL, RESULT), NOTE), True),
        (LATEST, (HI, NOTE, HI), False),
        (LATEST, (HI, YES, NOTE, HI), False),
        (CLASSIC, (HI, NOTE), False),
    ],
)
def test_instructions_inside_the_conversation(model: str, messages: tuple[Message, ...], *, stays: bool) -> None:
    """The latest models take them behind a user's turn that the assistant answers; else they move to the front."""
    body = body_of(conversation(*messages), model)
    where = messages.index(NOTE)
    inside = [index for index, message in enumerate(body["messages"]) if message["role"] == "system"]
    if stays:
        assert inside == [where]
        assert body["messages"][where] == {"role": "system", "content": "Now be brief."}
        assert "system" not in body
        assert warned(conversation(*messages), model) == []
    else:
        assert inside == []
        assert body["system"] == "Now be brief."
        assert warned(conversation(*messages), model) == [("ADJUSTED_FIELD", f"messages[{where}]")]


def test_several_instructions_inside_are_one_turn() -> None:
    """Neighbours of this role are joined too."""
    body = body_of(conversation(HI, NOTE, NOTE), LATEST)
    assert body["messages"][1] == {"role": "system", "content": [text("Now be brief."), text("Now be brief.")]}


def marked(role: Role, *parts: Any) -> Message:
    return turn(role, *parts, cache_breakpoint=True)


EPHEMERAL = {"cache_control": {"type": "ephemeral"}}


def test_cache_marks_stand_on_the_last_block_of_their_message() -> None:
    """Of instructions, turns, calls and results alike; blocks of thinking take none."""
    request = conversation(
        marked(Role.SYSTEM, TextPart("a"), TextPart("b")),
        marked(Role.USER, TextPart("look"), PNG),
        marked(Role.ASSISTANT, CALL, THOUGHT),
        marked(Role.TOOL, RESULT),
        turn(Role.USER, TextPart("So?")),
    )
    body = body_of(request)
    assert body["system"] == [text("a"), text("b", **EPHEMERAL)]
    assert [message["content"] for message in body["messages"]] == [
        [text("look"), {**image(type="base64", media_type="image/png", data="iVBORw=="), **EPHEMERAL}],
        [{**CALLED, **EPHEMERAL}, {"type": "thinking", "thinking": "hm", "signature": "sig"}],
        [{**ANSWERED, **EPHEMERAL}, text("So?")],
    ]
    assert warned(request) == []


def test_the_last_four_cache_marks_hold() -> None:
    """The API takes no more; earlier ones are told."""
    request = conversation(
        *(marked(role, TextPart(str(at))) for at, role in enumerate([Role.USER, Role.ASSISTANT] * 3))
    )
    contents = [message["content"] for message in body_of(request)["messages"]]
    assert contents == ["0", "1", *([text(str(at), **EPHEMERAL)] for at in range(2, 6))]
    assert warned(request) == [
        ("UNSUPPORTED_FIELD", "messages[0].cache_breakpoint"),
        ("UNSUPPORTED_FIELD", "messages[1].cache_breakpoint"),
    ]


def test_a_mark_on_a_message_that_says_nothing_marks_nothing() -> None:
    """A hint that has no place is no loss."""
    request = conversation(HI, marked(Role.ASSISTANT, ThinkingPart("x", "s", provider="other")), HI)
    assert "cache_control" not in str(body_of(request))
    assert warned(request) == []
