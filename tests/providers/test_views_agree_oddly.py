"""What vendors do now and then: empty blocks, seals in pieces, texts that are announced. Both views bear it alike."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any, Final

import pytest
from tests.providers.anthropic import messages_events as messages
from tests.providers.bedrock import frames as converse
from tests.providers.test_views_agree import Seen, outcome, seen_of, streamed

from trunkline_server.chat.message import TextPart, ThinkingPart, ToolCallPart
from trunkline_server.chat.request import ChatRequest
from trunkline_server.providers.anthropic import AnthropicAdapter
from trunkline_server.providers.bedrock import BedrockAdapter
from trunkline_server.routing.failures import FailureClass

REQUEST: Final = ChatRequest("m", (), "r")
CALL: Final = {"type": "tool_use", "id": "toolu_2", "name": "look", "input": {}}


def message(*content: dict[str, Any], stop_reason: str) -> Seen | FailureClass:
    """Return what a whole answer of the Messages API tells."""
    usage = {"input_tokens": 25, "output_tokens": 15}
    body = {"id": "msg_1", "type": "message", "content": content, "stop_reason": stop_reason, "usage": usage}
    return outcome(lambda: seen_of(AnthropicAdapter().decode_answer(200, {}, json.dumps(body).encode())))


def messages_stream(*events: bytes) -> Seen | FailureClass:
    """Return what a stream of the Messages API tells, without its beginning and its last event."""
    chunks = (messages.opening(), *events, messages.LAST)
    return outcome(lambda: streamed(AnthropicAdapter(), REQUEST, chunks)[0])


def converse_stream(*chunks: bytes, reason: str = "end_turn") -> Seen | FailureClass:
    """Return what a Converse stream tells, without its first and last message."""
    whole = (converse.START, *chunks, converse.end(reason))
    return outcome(lambda: streamed(BedrockAdapter(), REQUEST, whole)[0])


def parts_of(seen: Seen | FailureClass) -> tuple[object, ...]:
    """Return the parts of an answer that did not fail."""
    assert not isinstance(seen, FailureClass), seen
    return seen[0]


def test_empty_blocks_are_no_parts() -> None:
    """A text without a character and thinking without words or a seal take no number from what follows."""
    found = messages_stream(
        messages.begin(0, "text"),
        messages.end(0),
        messages.begin(1, "thinking"),
        messages.end(1),
        messages.begin(2, "tool_use"),
        messages.arguments(2, "{}"),
        messages.end(2),
        messages.stop("tool_use"),
    )
    empty = ({"type": "text", "text": ""}, {"type": "thinking", "thinking": "", "signature": ""})
    assert found == message(*empty, CALL, stop_reason="tool_use")
    assert parts_of(found) == (ToolCallPart("toolu_2", "look", "{}"),)


@pytest.mark.parametrize("blocks", [0, 1])
def test_a_block_of_the_filter_behind_an_empty_text_is_one(blocks: int) -> None:
    """An answer that a filter refused before any word is CONTENT_FILTERED, with an empty text in it or without."""
    found = messages_stream(*(messages.begin(0, "text"), messages.end(0))[: 2 * blocks], messages.stop("refusal"))
    assert found is FailureClass.CONTENT_FILTERED
    assert found is message(*[{"type": "text", "text": ""}][:blocks], stop_reason="refusal")


@pytest.mark.parametrize("ended", [True, False])
def test_a_seal_in_pieces_is_told_whole(ended: bool) -> None:  # noqa: FBT001  the one thing that is varied
    """Callers take one seal for a part: pieces of it are put together, whether the block's end is told or not."""
    found = converse_stream(
        converse.reasoning(0, text="hm"),
        converse.reasoning(0, signature="EqAB"),
        converse.reasoning(0, signature="CkYI"),
        *([converse.block_end(0)] if ended else []),
        converse.text("so", 1),
    )
    assert set(parts_of(found)) == {ThinkingPart("hm", "EqABCkYI"), TextPart("so")}


def test_withheld_reasoning_in_pieces_is_told_whole() -> None:
    """Its pieces are base64 each, and so is the whole."""
    first, second = (b64encode(piece).decode() for piece in (b"a", b"bc"))
    found = converse_stream(
        converse.reasoning(0, redactedContent=first),
        converse.reasoning(0, redactedContent=second),
        converse.block_end(0),
        converse.text("so", 1),
    )
    assert parts_of(found) == (ThinkingPart("", b64encode(b"abc").decode(), redacted=True), TextPart("so"))


def test_withheld_reasoning_that_is_no_base64_is_no_answer() -> None:
    """Pieces that cannot be put together are a failure of the protocol."""
    pieces = [converse.reasoning(0, redactedContent="a") for _ in range(2)]
    assert converse_stream(*pieces, converse.block_end(0)) is FailureClass.PROTOCOL


def test_an_announced_text_loses_nothing() -> None:
    """Some models announce texts as they do calls, with nothing in it: no warning, and the text is there."""
    decoder = BedrockAdapter().stream_decoder(REQUEST)
    chunks = (
        converse.START,
        converse.event("contentBlockStart", contentBlockIndex=0, start={}),
        converse.text("hi"),
        converse.block_end(0),
        converse.end(),
    )
    assert [delta.part for chunk in chunks for delta in decoder.feed(chunk)] == [0]
    assert decoder.warnings == ()
