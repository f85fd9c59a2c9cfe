"""What is cut where a continuation joins the text so far: never a digit, never half a repetition."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trunkline_server.engine.seam import OVERLAP_MAX_BYTES, OverlapCutter

FOX = "The quick brown fox"


def cut(so_far: str, *pieces: str, prompted: bool = True) -> tuple[str, int]:
    """Return what goes out of an answer, and how many bytes of repetition were cut."""
    cutter = OverlapCutter(so_far, prompted=prompted)
    out = "".join([*map(cutter.feed, pieces), cutter.flush()])
    assert cutter.decided
    return out, cutter.overlap_bytes


# By example.


@pytest.mark.parametrize("after", ["", " ", "\n\n"])
def test_the_next_target_gets_the_text_without_its_trailing_white_space(after: str) -> None:
    """What it is handed ends with a visible character."""
    assert OverlapCutter(FOX + after, prompted=True).sent == FOX


@pytest.mark.parametrize(
    ("so_far", "answer", "out"),
    [
        ("fox ", " jumps", "jumps"),
        ("fox ", "jumps", "jumps"),
        ("fox ", "  jumps", " jumps"),
        ("fox ", "\n", ""),
        ("fox", " jumps", " jumps"),
        ("fox\n\n", "\n jumps ", "jumps "),
        ("fox\n\n", "", ""),
        ("fox \u3000", "\u3000\u3000 jumps", " jumps"),
    ],
)
@pytest.mark.parametrize("prompted", [True, False])
def test_white_space_that_was_left_out_is_not_doubled(
    so_far: str,
    answer: str,
    out: str,
    prompted: bool,  # noqa: FBT001  a parameter
) -> None:
    """As many characters as were left out are taken off the front, as far as they are white space, in any pieces."""
    assert cut(so_far, answer, prompted=prompted) == (out, 0)
    assert cut(so_far, *answer, prompted=prompted) == (out, 0)


def test_after_a_prefill_nothing_else_is_cut() -> None:
    """The target goes on in its own text: what looks like a repetition is meant."""
    cutter = OverlapCutter(FOX, prompted=False)
    assert cutter.decided
    assert cutter.feed(FOX) == FOX
    assert cutter.overlap_bytes == 0


@pytest.mark.parametrize(
    ("so_far", "answer", "out", "overlap_bytes"),
    [
        (f"Once. {FOX}", f"{FOX} jumps", " jumps", 19),
        (f"Once. {FOX} ", f"{FOX} jumps", "jumps", 19),
        (f"Once. {FOX} ", f" {FOX} jumps", "jumps", 19),
        (f"Once. {FOX} ", f" {FOX}jumps", "jumps", 19),
        (f"Once. {FOX}\n", f"{FOX}", "", 19),
        (f"Once. {FOX}", f"\n{FOX} jumps", f"\n{FOX} jumps", 0),
        (f"Once. {FOX}", f" {FOX} jumps", " jumps", 20),
        (f"{FOX} {FOX}", f"{FOX} {FOX} jumps", " jumps", 39),
        (f"{FOX} {FOX}", f"{FOX} {FOX[:9]}", f" {FOX[:9]}", 19),
        ("pi is 3.14159265358979", "3.14159265358979", "", 16),
        ("pi is 3.1415926535897", "3.1415926535897", "3.1415926535897", 0),
        ("ééééééé 東京", "ééééééé 東京は", "は", 21),
        (FOX, FOX[:-1], FOX[:-1], 0),
        (FOX, FOX[:-1] + "!", FOX[:-1] + "!", 0),
        ("x" * 256, "x" * 300, "x" * 44, 256),
        ("-" + "x" * 255 + "é", "x" * 255 + "é", "x" * 255 + "é", 0),
        ("-" + "x" * 254 + "é", "x" * 254 + "é", "", 256),
    ],
)
def test_a_repetition_after_a_prompt_is_cut(so_far: str, answer: str, out: str, overlap_bytes: int) -> None:
    """The longest end of the text so far that the answer begins with, of 16 to 256 bytes, in any pieces."""
    assert cut(so_far, answer) == (out, overlap_bytes)
    assert cut(so_far, *answer) == (out, overlap_bytes)


def test_an_answer_that_repeats_nothing_is_not_held_back() -> None:
    """The first character that fits nowhere decides."""
    cutter = OverlapCutter(f"Once. {FOX}", prompted=True)
    assert cutter.feed("jumps") == "jumps"
    assert cutter.decided


def test_a_text_too_short_to_be_repeated_decides_at_once() -> None:
    """With fewer than 16 bytes so far there is nothing to wait for."""
    assert OverlapCutter("fifteen letters", prompted=True).decided
    assert not OverlapCutter("sixteen letters!", prompted=True).decided


def test_a_whole_repetition_goes_nowhere_and_the_next_piece_goes_out() -> None:
    """Once the repetition ends and no longer one can come, what follows is passed on as it comes."""
    cutter = OverlapCutter(f"Once. {FOX}", prompted=True)
    assert [cutter.feed(piece) for piece in ("The qui", "ck brown fox", " jumps", " over")] == [
        "",
        "",
        " jumps",
        " over",
    ]
    assert cutter.overlap_bytes == 19


def test_a_repetition_that_turns_out_to_be_none_is_given_back() -> None:
    """What was held back goes out whole, with what decided it."""
    cutter = OverlapCutter(f"Once. {FOX}", prompted=True)
    assert [cutter.feed(piece) for piece in ("The quick brown ", "cat")] == ["", "The quick brown cat"]


# By property.

TEXT = st.text(alphabet="ab \né€😀", max_size=60)
UNIT = st.text(alphabet="ab \n€", min_size=1, max_size=6)


@st.composite
def repeated(draw: st.DrawFn) -> tuple[str, str]:
    """Draw a text so far and an answer that may repeat its end; periodic texts have many ends that fit."""
    so_far = draw(TEXT) + draw(UNIT) * draw(st.integers(0, 120)) + draw(st.text(alphabet=" \n", max_size=4))
    start = draw(st.integers(0, len(so_far)))
    front = draw(st.text(alphabet=" \n", max_size=4))
    between = draw(st.text(alphabet=" \n", max_size=4))
    return so_far, front + so_far[start:].rstrip() + between + draw(TEXT)


def by_brute_force(so_far: str, answer: str, *, prompted: bool) -> tuple[str, int]:
    """Say the same by trying everything."""
    sent = so_far.rstrip()
    answer = without_front(answer, len(so_far) - len(sent))
    if prompted:
        for end in range(min(len(answer), OVERLAP_MAX_BYTES), 0, -1):
            size = len(answer[:end].encode())
            if 16 <= size <= 256 and sent.endswith(answer[:end]):
                return without_front(answer[end:], len(so_far) - len(sent)), size
    return answer, 0


def without_front(text: str, at_most: int) -> str:
    """Take white space off the front."""
    return text[min(at_most, len(text) - len(text.lstrip())) :]


def chunks(text: str, cuts: list[int]) -> list[str]:
    """Cut a text to pieces, some of them empty."""
    places = sorted([0, len(text), *(place % (len(text) + 1) for place in cuts)])
    return [text[start:stop] for start, stop in pairwise(places)]


CUTS = st.lists(st.integers(0, 1000), max_size=20)


@settings(max_examples=400, deadline=None)
@given(repeated(), CUTS, st.booleans())
@example(("a" * 300 + " ", " " + "a" * 300), [1, 2, 3, 100, 256], True)  # noqa: FBT003  as drawn
def test_any_pieces_give_what_brute_force_gives(
    drawn: tuple[str, str],
    cuts: list[int],
    prompted: bool,  # noqa: FBT001  drawn
) -> None:
    """However the answer comes in pieces, the longest repetition is cut and the white space counted."""
    so_far, answer = drawn
    assert cut(so_far, *chunks(answer, cuts), prompted=prompted) == by_brute_force(so_far, answer, prompted=prompted)


@settings(max_examples=200, deadline=None)
@given(repeated(), CUTS)
def test_little_is_held_back_and_not_for_long(drawn: tuple[str, str], cuts: list[int]) -> None:
    """At most 256 bytes are held, and only while some end of the text so far may still be what comes."""
    so_far, answer = drawn
    cutter = OverlapCutter(so_far, prompted=True)
    ends = [so_far.rstrip()[start:] for start in range(len(so_far.rstrip()))]
    ends = [end for end in ends if 16 <= len(end.encode()) <= 256]
    came = ""
    for chunk in chunks(answer, cuts):
        came += chunk
        out = cutter.feed(chunk)
        held = without_front(came, len(so_far) - len(cutter.sent))
        assert cutter.decided is not any(len(end) > len(held) and end.startswith(held) for end in ends)
        if not cutter.decided:
            assert out == ""
            assert len(held.encode()) <= 256
