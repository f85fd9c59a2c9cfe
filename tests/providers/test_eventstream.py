"""AWS event streams: frames that others wrote, every type of header, bounds, and how a stream breaks."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import pytest
from tests.providers.bedrock.frames import Value, frame, header

from trunkline_server.providers.eventstream import (
    MAX_HEADERS_BYTES,
    EventStreamDecoder,
    EventStreamError,
    EventStreamMessage,
)


def decode(*chunks: bytes, max_message_bytes: int = 4096) -> list[EventStreamMessage]:
    decoder = EventStreamDecoder(max_message_bytes=max_message_bytes)
    messages = [message for chunk in chunks for message in decoder.feed(chunk)]
    if decoder.error is not None:
        raise decoder.error
    return messages


# From the vendor's own tests: github.com/boto/botocore, tests/unit/test_eventstream.py, as of 2026-11-23.
BOTOCORE: dict[str, tuple[str, dict[str, Any], bytes]] = {
    "nothing in it": ("000000100000000005c248eb7d98c8ff", {}, b""),
    "a payload alone": ("0000001d00000000fd528c5a7b27666f6f273a27626172277dc3653936", {}, b"{'foo':'bar'}"),
    "a whole number": (
        "0000002d0000001041c424b80a6576656e742d74797065040000a00c7b27666f6f273a27626172277d36f480a0",
        {"event-type": 40972},
        b"{'foo':'bar'}",
    ),
}


@pytest.mark.parametrize("case", BOTOCORE)
def test_messages_that_the_vendor_wrote(case: str) -> None:
    """Bytes of the vendor's own tests are the messages that they say, at once and byte by byte."""
    raw, headers, payload = bytes.fromhex(BOTOCORE[case][0]), *BOTOCORE[case][1:]
    assert decode(raw) == [(headers, payload)]
    assert decode(*(raw[at : at + 1] for at in range(len(raw)))) == [(headers, payload)]


HEADERS: dict[str, tuple[Value, object]] = {
    "true": (True, True),
    "false": (False, False),
    "byte": ((1, -128), -128),
    "short": ((2, -32768), -32768),
    "integer": ((4, 2**31 - 1), 2**31 - 1),
    "long": ((8, -(2**63)), -(2**63)),
    "bytes": (b"\x00\xff", b"\x00\xff"),
    "text": ("Zürich", "Zürich"),
    "empty text": ("", ""),
    "timestamp": ((0, 1_700_000_000_123), 1_700_000_000_123),
    "uuid": (UUID(int=2**128 - 1), UUID(int=2**128 - 1)),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_every_type_of_header(kind: str) -> None:
    """Each type that the format has is read as its value, alone and between others."""
    written, value = HEADERS[kind]
    (message,) = decode(frame({"before": "b", "x": written, "after": 1}, b"p"))
    assert dict(message.headers) == {"before": "b", "x": value, "after": 1}
    assert type(message.headers["x"]) is type(value)


BROKEN: dict[str, bytes] = {
    "a type that there is not": frame(b"\x01x\x0a", b""),
    "two of one name": frame(header("x", 1) + header("x", 2), b""),
    "a name that is cut": frame(b"\x09abc", b""),
    "no type": frame(b"\x01x", b""),
    "a number that is cut": frame(b"\x01x\x04\x00\x00", b""),
    "a length that is cut": frame(b"\x01x\x07\x00", b""),
    "a text that is cut": frame(b"\x01x\x07\x00\x05abc", b""),
    "a uuid that is cut": frame(b"\x01x\x09abc", b""),
    "a name that is no UTF-8": frame(b"\x01\xff\x00", b""),
    "a text that is no UTF-8": frame(b"\x01x\x07\x00\x01\xff", b""),
    "headers longer than the message": bytes.fromhex("00000010000000012fd5f4a9") + b"\0" * 4,
}


@pytest.mark.parametrize("case", BROKEN)
def test_headers_that_cannot_be_read(case: str) -> None:
    """A message whose headers make no sense breaks the stream, whatever its checksums say."""
    with pytest.raises(EventStreamError):
        decode(BROKEN[case])


@pytest.mark.parametrize("at", range(len(frame({"a": "b"}, b"payload"))))
def test_a_flipped_bit_is_seen(at: int) -> None:
    """One wrong bit anywhere in a message breaks the stream: the checksums cover all of it."""
    raw = frame({"a": "b"}, b"payload")
    for bit in range(8):
        flipped = bytearray(raw)
        flipped[at] ^= 1 << bit
        with pytest.raises(EventStreamError):
            decode(bytes(flipped))


@pytest.mark.parametrize("step", [1, 7, 4096])
def test_a_message_is_bounded_in_any_chunking(step: int) -> None:
    """A message at the bound is decoded; one byte more is refused as soon as its lengths are there."""
    fits, over = frame({}, b"x" * 84), frame({}, b"x" * 85)
    assert [len(message.payload) for message in decode(*cut(fits, step), max_message_bytes=100)] == [84]
    with pytest.raises(EventStreamError, match="larger than 100 bytes"):
        decode(*cut(over, step), max_message_bytes=100)
    with pytest.raises(EventStreamError, match="larger than 100 bytes"):
        decode(over[:12], max_message_bytes=100)


def test_headers_are_bounded() -> None:
    """More headers than the format allows are refused before they are there."""
    block = b"".join(header(f"{number:08d}", b"x" * 1000) for number in range(MAX_HEADERS_BYTES // 1000))
    with pytest.raises(EventStreamError, match="headers of a message are larger"):
        decode(frame(block, b"")[:12], max_message_bytes=1024 * 1024)


def test_what_came_before_a_break_is_returned_first() -> None:
    """Messages in front of garbage in one chunk are returned, and every later call raises."""
    decoder = EventStreamDecoder()
    assert decoder.feed(frame({}, b"a") + b"garbage that is long enough") == [({}, b"a")]
    assert decoder.error is not None
    for _ in range(2):
        with pytest.raises(EventStreamError):
            decoder.feed(frame({}, b"b"))


def test_close_says_whether_a_message_was_left() -> None:
    """An incomplete message is dropped at the end and told."""
    whole, open_ended = EventStreamDecoder(), EventStreamDecoder()
    whole.feed(frame({}, b"a"))
    open_ended.feed(frame({}, b"a") + frame({}, b"b")[:-1])
    assert not whole.close()
    assert open_ended.close()
    assert not open_ended.close()


def test_many_differing_headers_cost_no_memory() -> None:
    """The parsed blocks that are kept are few, however many differ."""
    decoder = EventStreamDecoder()
    for number in range(1000):
        (message,) = decoder.feed(frame({"n": number}, b""))
        assert message.headers == {"n": number}
    assert len(decoder._blocks) < 100


def test_time_is_linear_for_single_bytes() -> None:
    """Four times the bytes of one message, one byte at a time, take about four times as long."""

    def best_of_three_s(size: int) -> float:
        chunks = cut(frame({"a": "b"}, b"x" * size), 1)
        times = []
        for _ in range(3):
            decoder = EventStreamDecoder()
            start = time.process_time()
            messages = [message for chunk in chunks for message in decoder.feed(chunk)]
            times.append(time.process_time() - start)
            assert [len(message.payload) for message in messages] == [size]
        return min(times)

    assert best_of_three_s(1024 * 1024) < 6 * best_of_three_s(256 * 1024)


def cut(stream: bytes, step: int) -> list[bytes]:
    return [stream[at : at + step] for at in range(0, len(stream), step)]
