"""The ring of a stream's latest frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_server.chat.answer import TokenAlternative, TokenLogprob
from trunkline_server.engine.frames import ContentFrame, DeltaKind, HeartbeatFrame
from trunkline_server.engine.ring import FRAME_OVERHEAD_BYTES, Ring


def frame(seq: int, text: str = "") -> ContentFrame:
    return ContentFrame(1, DeltaKind.TEXT, 0, 0, text, seq=seq)


def filled(bound_frames: int, count: int) -> Ring:
    ring = Ring(bound_frames * FRAME_OVERHEAD_BYTES)
    for seq in range(1, count + 1):
        ring.append(frame(seq), read_through=None)
    return ring


def kept(ring: Ring) -> list[int]:
    seqs = []
    at = ring.oldest_seq - 1
    while (found := ring.after(at)) is not None:
        at = found.seq
        seqs.append(at)
    return seqs


def test_an_empty_ring_has_nothing_behind_the_beginning() -> None:
    """Before the first frame there is nothing to have, and nothing was missed."""
    ring = Ring()
    assert (ring.after(0), ring.oldest_seq, ring.last_seq, ring.bytes) == (None, 1, 0, 0)


def test_the_oldest_frames_are_dropped() -> None:
    """What does not fit is dropped from the old end."""
    ring = filled(3, 5)
    assert kept(ring) == [3, 4, 5]
    assert ring.bytes == 3 * FRAME_OVERHEAD_BYTES


def test_what_was_dropped_is_not_taken_for_what_has_not_come() -> None:
    """Asking for a dropped frame is an error, asking for one to come is not."""
    ring = filled(3, 5)
    with pytest.raises(LookupError):
        ring.after(1)
    assert ring.after(5) is None


def test_a_frame_that_is_larger_than_the_ring_is_kept_alone() -> None:
    """The newest frame is always there for its reader."""
    ring = filled(3, 3)
    ring.append(frame(4, "x" * 10_000), read_through=None)
    assert kept(ring) == [4]


def test_what_a_reader_still_needs_is_not_dropped() -> None:
    """Frames behind a reader's place stay until it has got further."""
    ring = filled(3, 3)
    ring.append(frame(4), read_through=1)
    ring.append(frame(5), read_through=1)
    assert kept(ring) == [2, 3, 4, 5]
    ring.trim(read_through=3)
    assert kept(ring) == [3, 4, 5]


def test_a_gap_is_a_defect() -> None:
    """A frame that is not the next one is refused."""
    with pytest.raises(ValueError, match="frame 5 came after frame 3"):
        filled(3, 3).append(frame(5), read_through=None)


def test_bytes_count_as_utf_8_and_log_probabilities_count() -> None:
    """A frame counts with the bytes of its text, and with what comes beside it."""
    ring = Ring()
    ring.append(frame(1, "é€"), read_through=None)
    assert ring.bytes == FRAME_OVERHEAD_BYTES + 5
    ring.append(HeartbeatFrame(None, 0.1, seq=2), read_through=None)
    assert ring.bytes == 2 * FRAME_OVERHEAD_BYTES + 5
    alternatives = (TokenAlternative("a", -1.0), TokenAlternative("b", -2.0))
    rich = frame(3, "a")
    rich.logprobs = (TokenLogprob("a", -1.0, None, alternatives),)
    ring.append(rich, read_through=None)
    assert ring.bytes > 3 * FRAME_OVERHEAD_BYTES + 3 * 100


@given(st.lists(st.tuples(st.integers(0, 900), st.none() | st.integers(0, 40))), st.integers(0, 3000))
def test_the_frames_kept_are_the_last_ones_and_fit(steps: list[tuple[int, int | None]], bound_bytes: int) -> None:
    """Whatever comes: consecutive frames up to the last, within the bound or as few as may be, and counted rightly."""
    ring = Ring(bound_bytes)
    sizes = {}
    for seq, (length, behind) in enumerate(steps, start=1):
        read_through = None if behind is None else max(ring.oldest_seq - 1, seq - 1 - behind)
        ring.append(frame(seq, "x" * length), read_through=read_through)
        sizes[seq] = FRAME_OVERHEAD_BYTES + length
        seqs = kept(ring)
        assert seqs == list(range(ring.oldest_seq, seq + 1))
        assert ring.bytes == sum(sizes[at] for at in seqs)
        fits = ring.bytes <= bound_bytes
        assert fits or len(seqs) == 1 or (read_through is not None and ring.oldest_seq == read_through + 1)
