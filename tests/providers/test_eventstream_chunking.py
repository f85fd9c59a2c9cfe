"""However the bytes of an event stream are cut, and whatever they are, the outcome is the same."""

from __future__ import annotations

import itertools
from uuid import UUID

from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st
from tests.providers.bedrock.frames import Value, frame

from trunkline_server.providers.eventstream import EventStreamDecoder, EventStreamError, EventStreamMessage

Outcome = tuple[list[EventStreamMessage], bool]


def outcome(*chunks: bytes) -> Outcome:
    """Return the messages of a stream, and whether it broke."""
    decoder = EventStreamDecoder(max_message_bytes=512)
    messages: list[EventStreamMessage] = []
    try:
        for chunk in chunks:
            messages += decoder.feed(chunk)
    except EventStreamError:
        return messages, True
    return messages, decoder.error is not None


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(edge, len(stream)) for edge in cuts), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(edges)]


VALUES: st.SearchStrategy[Value] = st.one_of(
    st.booleans(),
    st.integers(min_value=-(2**31), max_value=2**31 - 1),
    st.tuples(st.sampled_from([8, 0]), st.integers(min_value=-(2**63), max_value=2**63 - 1)),
    st.binary(max_size=20),
    st.text(max_size=20),
    st.uuids(),
)
HEADERS = st.dictionaries(st.text(min_size=1, max_size=10), VALUES, max_size=4)
FRAMES = st.lists(st.builds(frame, HEADERS, st.binary(max_size=200)), max_size=6)
CUTS = st.lists(st.integers(min_value=0, max_value=1500))


@given(frames=FRAMES, cuts=CUTS)
def test_chunking_does_not_matter(frames: list[bytes], cuts: list[int]) -> None:
    """Any chunking, empty chunks included, gives every message of the stream."""
    stream = b"".join(frames)
    messages, broken = outcome(*pieces(stream, cuts))
    assert (messages, broken) == outcome(stream)
    assert len(messages) == len(frames)
    assert not broken


@given(frames=FRAMES, cuts=CUTS, at=st.integers(min_value=0), flip=st.integers(min_value=1, max_value=255))
def test_a_flipped_byte_breaks_alike_in_any_chunking(frames: list[bytes], cuts: list[int], at: int, flip: int) -> None:
    """Messages in front of the damage come whole, none behind it, wherever the bytes were cut."""
    stream = bytearray(b"".join(frames))
    if not stream:
        return
    at %= len(stream)
    stream[at] ^= flip
    before = sum(end <= at for end in itertools.accumulate(map(len, frames)))
    messages, broken = outcome(*pieces(bytes(stream), cuts))
    assert (messages, broken) == outcome(bytes(stream))
    assert len(messages) == before
    assert broken


@given(frames=FRAMES, cuts=CUTS, size=st.integers(min_value=0))
def test_a_cut_stream_gives_what_is_whole(frames: list[bytes], cuts: list[int], size: int) -> None:
    """A stream that ends anywhere gives the messages before the cut and is no error of framing."""
    stream = b"".join(frames)
    stream = stream[: size % (len(stream) + 1)]
    whole = sum(end <= len(stream) for end in itertools.accumulate(map(len, frames)))
    messages, broken = outcome(*pieces(stream, cuts))
    assert len(messages) == whole
    assert not broken


@given(stream=st.binary(max_size=600), cuts=CUTS)
def test_garbage_is_messages_or_the_typed_error(stream: bytes, cuts: list[int]) -> None:
    """Whatever the bytes, nothing but EventStreamError is raised, alike in any chunking."""
    assert outcome(*pieces(stream, cuts)) == outcome(stream)


@given(frames=FRAMES)
def test_the_vendors_own_decoder_agrees(frames: list[bytes]) -> None:
    """Every message has the headers and the payload that botocore reads out of the same bytes."""
    stream = b"".join(frames)
    theirs = EventStreamBuffer()
    theirs.add_data(stream)
    expected = [(dict(event.headers), event.payload) for event in theirs]
    messages, _ = outcome(stream)
    assert [
        ({name: value.bytes if isinstance(value, UUID) else value for name, value in message.headers.items()}, payload)
        for message in messages
        for payload in [message.payload]
    ] == expected
