"""What `trunkline complete` shows of attempts that break and are followed by others, and how that is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from trunkline.v1 import (
    ON_BREAK_CONTINUE,
    AttemptFailed,
    AttemptStarted,
    AttemptSummary,
    Continuation,
    Delta,
    Deltas,
    End,
    Error,
    FailureClass,
    Reset,
    Started,
    StreamFrame,
    Target,
)
from trunkline_server.cli.streaming import StreamOutput

if TYPE_CHECKING:
    from tests.cli.conftest import Embedded, Run

FIRST, SECOND = Target(provider="one", model="m", key_id="a"), Target(provider="two", model="m", key_id="b")


def begun(target: Target, why: AttemptSummary.Why.ValueType, seam: Continuation | None = None) -> StreamFrame:
    return StreamFrame(attempt_started=AttemptStarted(target=target, why=why, continuation=seam))


def text(value: str) -> StreamFrame:
    return StreamFrame(deltas=Deltas(items=[Delta(text=value)]))


def broken(following: AttemptFailed.Next.ValueType) -> StreamFrame:
    error = Error(failure_class=FailureClass.FAILURE_CLASS_TRUNCATED, message="it ended in silence")
    policy = ON_BREAK_CONTINUE
    failed = AttemptFailed(
        error=error, target=FIRST, next=following, on_break_asked=policy, on_break_applied=policy, bytes_emitted=3
    )
    return StreamFrame(attempt=1, attempt_failed=failed)


def shown(capsys: pytest.CaptureFixture[str], *frames: StreamFrame) -> tuple[str, list[str]]:
    """Return what a stream prints: its text, and the remarks before the one on its end."""
    whole = [StreamFrame(started=Started()), *frames, StreamFrame(end=End(outcome=End.OUTCOME_COMPLETE))]
    for number, frame in enumerate(whole, 1):
        frame.seq = number
        frame.attempt = frame.attempt or 2
    assert StreamOutput(as_json=False).show_all(whole) == 0
    captured = capsys.readouterr()
    return captured.out, captured.err.splitlines()[:-1]


def test_a_seam_is_shown_between_the_two_halves(capsys: pytest.CaptureFixture[str]) -> None:
    """Who goes on, after which frame, how it was brought to, and what was cut."""
    seam = Continuation(method=Continuation.METHOD_PROMPTED, after_seq=3, overlap_bytes=17)
    out, remarks = shown(
        capsys,
        begun(FIRST, AttemptSummary.WHY_FIRST),
        text("one"),
        broken(AttemptFailed.NEXT_CONTINUING),
        begun(SECOND, AttemptSummary.WHY_CONTINUATION, seam),
        text(" two"),
    )
    assert out == "one\n two\n"
    assert remarks == [
        "attempt_failed: attempt 1 broke: one/m key a: TRUNCATED: it ended in silence",
        "  3 bytes delivered; on_break CONTINUE; next: CONTINUING",
        "attempt_started: attempt 2: two/m key b CONTINUATION after frame 3 (PROMPTED, 17 repeated bytes cut)",
    ]


def test_a_restart_says_that_the_answer_begins_again(capsys: pytest.CaptureFixture[str]) -> None:
    """What was printed before cannot be taken off the screen, so that it is said to count no more."""
    out, remarks = shown(
        capsys,
        begun(FIRST, AttemptSummary.WHY_FIRST),
        text("one"),
        broken(AttemptFailed.NEXT_RESTARTING),
        StreamFrame(reset=Reset(keep_through_seq=0)),
        begun(SECOND, AttemptSummary.WHY_RESTART),
        text("again"),
    )
    assert out == "one\nagain\n"
    assert remarks[2:] == [
        "reset: nothing so far counts, the answer begins again",
        "attempt_started: attempt 2: two/m key b RESTART",
    ]


def test_an_attempt_that_nothing_broke_before_is_no_remark(capsys: pytest.CaptureFixture[str]) -> None:
    """The `end` tells of it as of all others."""
    assert shown(capsys, begun(FIRST, AttemptSummary.WHY_FIRST), text("one")) == ("one\n", [])


def test_what_follows_a_break_can_be_asked_for(embedded: Embedded, run: Run) -> None:
    """`--on-break` goes with the request: the break's own words say that it was asked for."""
    embedded.control({"scenario": {"default": {"chunks": 4, "chunk_text": "word ", "cut_after_chunks": 2}}})
    for asked in ("fail", "restart"):
        ended = run("complete", "--stream", "--on-break", asked, "hello")
        assert ended.code == 1
        assert ended.out.startswith("word word \n")
        assert f"on_break {asked.upper()}; next:" in ended.err or f"(asked: {asked.upper()}: " in ended.err


def test_what_cannot_follow_a_break_is_a_usage_error(run: Run) -> None:
    """The choices are named."""
    ended = run("complete", "--on-break", "explode", "hello")
    assert ended.code == 2
    assert "restart" in ended.err
