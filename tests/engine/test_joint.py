"""The first words of a continuation: held back until it is known what they repeat, in order, and never lost."""

from __future__ import annotations

import pytest

from trunkline_server.chat.answer import Delta, RefusalDelta, TextDelta, ThinkingDelta, ToolCallDelta
from trunkline_server.engine.frames import ContinuationMethod, Seam
from trunkline_server.engine.joint import HELD_MAX, Joint
from trunkline_server.engine.seam import OverlapCutter

SO_FAR = "The quick brown fox jumps over"
PROMPTED, PREFILL = ContinuationMethod.PROMPTED, ContinuationMethod.PREFILL


def joint(method: ContinuationMethod = PROMPTED) -> Joint:
    return Joint(OverlapCutter(SO_FAR, prompted=method is PROMPTED), method)


def told(deltas: list[Delta]) -> list[tuple[str, str]]:
    return [
        (type(delta).__name__, delta.arguments_json_delta if isinstance(delta, ToolCallDelta) else delta.text)
        for delta in deltas
        if not hasattr(delta, "signature")
    ]


def test_a_prefilled_answer_goes_out_at_once() -> None:
    """Nothing is held back, and the seam cuts nothing."""
    held = joint(PREFILL)
    assert told(held.feed([TextDelta(0, " the dog")])) == [("TextDelta", " the dog")]
    assert held.seam == Seam(PREFILL, 0)


def test_a_repetition_is_cut_and_counted() -> None:
    """What the answer repeats does not go out, and the seam says how many bytes that were."""
    held = joint()
    repeated = SO_FAR[-20:]
    assert held.feed([TextDelta(0, repeated[:9])]) == []
    assert told(held.feed([TextDelta(0, repeated[9:] + " the dog")])) == [("TextDelta", " the dog")]
    assert held.seam == Seam(PROMPTED, 20)


def test_reasoning_waits_for_the_text_and_comes_before_it() -> None:
    """It stays in its place, and the seam is known before anything goes out."""
    held = joint()
    assert held.feed([ThinkingDelta(0, "hm"), TextDelta(1, SO_FAR[-16:])]) == []
    assert told(held.flush()) == [("ThinkingDelta", "hm")]
    assert held.seam == Seam(PROMPTED, 16)


@pytest.mark.parametrize("after", [RefusalDelta(1, "no"), ToolCallDelta(1, "c1", "f", "{}", done=True)])
def test_other_content_ends_the_text_that_was_held_back(after: RefusalDelta | ToolCallDelta) -> None:
    """Text that might still have become a repetition goes out in front of what follows it."""
    held = joint()
    assert held.feed([ThinkingDelta(0, "hm"), TextDelta(1, SO_FAR[-20:-10])]) == []
    out = told(held.feed([after]))
    assert [name for name, _ in out] == ["ThinkingDelta", "TextDelta", type(after).__name__]
    assert out[1] == ("TextDelta", SO_FAR[-20:-10])
    assert held.flush() == []


def test_what_waits_is_bounded() -> None:
    """More pieces than that, and everything goes out."""
    held = joint()
    pieces: list[Delta] = [ThinkingDelta(0, "x") for _ in range(HELD_MAX + 1)]
    assert len(held.feed(pieces)) == HELD_MAX + 1
    assert held.flush() == []
