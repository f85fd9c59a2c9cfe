"""Streams of the Messages API: errors in them, what is cut off or malformed, and bounds."""

from __future__ import annotations

import time
from typing import Final

import pytest
from tests.providers.anthropic.messages_events import (
    LAST,
    TEXT,
    arguments,
    begin,
    decoder,
    end,
    event,
    failure_class,
    opening,
    piece,
    stop,
    whole,
    words,
)

from trunkline_server.chat.answer import TextDelta
from trunkline_server.providers.anthropic.stream import MAX_BLOCKS
from trunkline_server.providers.base import AttemptError
from trunkline_server.routing.failures import FailureClass

ERRORS: Final = {
    "overloaded_error": FailureClass.OVERLOADED,
    "api_error": FailureClass.SERVER_ERROR,
    "timeout_error": FailureClass.SERVER_ERROR,
    "rate_limit_error": FailureClass.RATE_LIMITED,
    "invalid_request_error": FailureClass.CALLER_INVALID,
    "authentication_error": FailureClass.KEY_REJECTED,
    "billing_error": FailureClass.KEY_EXHAUSTED,
    "permission_error": FailureClass.KEY_REJECTED,
    "not_found_error": FailureClass.MODEL_UNAVAILABLE,
    "request_too_large": FailureClass.CONTEXT_LENGTH,
}


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("before", [b"", opening(), opening() + TEXT])
def test_an_error_event_ends_the_stream_in_its_class(kind: str, before: bytes) -> None:
    """Every documented type, as the first event and later; content in front of it is returned first."""
    failing = event("error", error={"type": kind, "message": "x"})
    assert failure_class(before, failing) is ERRORS[kind]
    stream = decoder()
    if TEXT in before:
        assert stream.feed(before + failing) == [TextDelta(0, "a")]
        assert stream.failure is not None
    with pytest.raises(AttemptError):
        stream.feed(failing)


@pytest.mark.parametrize(
    "data", [b"event: error\ndata: Overloaded\n\n", b'data: {"type":"error","error":{"type":"api_error"}}\n\n']
)
def test_an_error_of_another_form_is_one_too(data: bytes) -> None:
    """By its name or by its type."""
    assert failure_class(opening(), data) is FailureClass.SERVER_ERROR


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ((), FailureClass.PROTOCOL),
        ((b": nothing\n\n",), FailureClass.PROTOCOL),
        ((opening(),), FailureClass.TRUNCATED),
        ((opening(), TEXT), FailureClass.TRUNCATED),
        ((opening(), TEXT, LAST), FailureClass.TRUNCATED),
        ((opening(), TEXT, stop(None), LAST), FailureClass.TRUNCATED),
        ((opening(), LAST), FailureClass.PROTOCOL),
        ((opening(), begin(0, "text"), words(0, "a")[:-2]), FailureClass.TRUNCATED),
        ((opening(), b"data: {\n\n"), FailureClass.PROTOCOL),
        ((opening(), b"data: [DONE]\n\n"), FailureClass.PROTOCOL),
        ((opening(), b'data: "a"\n\n'), FailureClass.PROTOCOL),
        ((opening(), b"data: " + b"[" * 100_000 + b"\n\n"), FailureClass.PROTOCOL),
        ((opening(), words(0, "a")), FailureClass.PROTOCOL),
        ((opening(), begin(0, "tool_use", name="")), FailureClass.PROTOCOL),
        ((opening(), begin(0, "text"), piece(0, "text_delta", text=7)), FailureClass.PROTOCOL),
        (
            (opening(), event("content_block_start", index=0, content_block={"type": "text", "text": 7})),
            FailureClass.PROTOCOL,
        ),
    ],
)
def test_what_is_no_whole_stream_fails(chunks: tuple[bytes, ...], expected: FailureClass) -> None:
    """Cut off, or not the vendor's format."""
    assert failure_class(*chunks) is expected


def test_a_peer_cannot_make_it_grow_without_end() -> None:
    """Blocks, calls, arguments and single events have their bounds."""
    blocks = (begin(at, "text") + end(at) for at in range(MAX_BLOCKS + 1))
    assert failure_class(opening(), *blocks) is FailureClass.PROTOCOL
    calls = (begin(at, "tool_use") for at in range(300))
    assert failure_class(opening(), *calls) is FailureClass.PROTOCOL
    pieces = (arguments(0, "x" * 1024 * 1024) for _ in range(9))
    assert failure_class(opening(), begin(0, "tool_use"), *pieces) is FailureClass.PROTOCOL
    assert failure_class(opening(), b"data: " + b"x" * 5 * 1024 * 1024) is FailureClass.PROTOCOL


def test_what_is_too_large_behind_the_reason_to_stop_is_too_late() -> None:
    """The answer is whole, and nothing more is read."""
    deltas, stream = whole(opening() + TEXT + stop(), b"data: " + b"x" * 5 * 1024 * 1024, words(0, "b"))
    assert (deltas, stream.failure) == ([TextDelta(0, "a")], None)


@pytest.mark.parametrize("step", [7, 4096])
def test_time_is_linear_on_a_large_event(step: int) -> None:
    """1 MiB of text in one event, in small pieces, takes no more than its length times a constant."""
    stream = opening() + begin(0, "text") + words(0, "x" * 1024 * 1024) + end(0) + stop() + LAST
    started = time.process_time()
    deltas, _ = whole(*(stream[at : at + step] for at in range(0, len(stream), step)))
    assert len(deltas) == 1
    assert time.process_time() - started < 3
