"""The circuit of one target by example: when it opens, how it comes back, and what does not move it."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from trunkline_server.routing.circuit import Circuit, CircuitLimits, CircuitState, Permit
from trunkline_server.routing.clock import ManualClock

CLOSED, OPEN, HALF_OPEN, RAMPING = CircuitState


class Midway(random.Random):
    """Draws the middle of every range: times can then be told exactly."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


class Target:
    """A circuit on a manual clock, and short words for what happens to it."""

    def __init__(self, limits: CircuitLimits | None = None, rng: random.Random | None = None) -> None:
        self.clock = ManualClock(1000.0)
        self.circuit = Circuit(limits or CircuitLimits(), clock=self.clock, rng=rng or Midway())

    def outcomes(self, told: str, every_s: float = 0.0) -> None:
        """One attempt a letter: `.` succeeds, `x` fails."""
        for number, letter in enumerate(told):
            if number:
                self.clock.advance(every_s)
            permit = self.circuit.enter()
            if letter == "x":
                permit.failed()
            else:
                permit.succeeded()
                permit.ended()

    def opened(self) -> Target:
        self.outcomes("xxxxx")
        assert self.circuit.state is OPEN
        return self

    def half_open(self) -> Target:
        self.opened().clock.advance(5.0)
        assert self.circuit.state is HALF_OPEN
        return self

    def ramping(self) -> Target:
        self.half_open().outcomes(".")
        assert self.circuit.state is RAMPING
        return self

    def let_in(self, picks: int, every_s: float = 0.0) -> int:
        """Offer so many calls that could go elsewhere; return how many were let in. All of them succeed."""
        count = 0
        for _ in range(picks):
            if self.circuit.shut_because() is None and self.circuit.held_because() is None:
                count += 1
                self.outcomes(".")
            else:
                self.circuit.pass_by()
            self.clock.advance(every_s)
        return count

    def open_for_s(self) -> float:
        """Return how long it stays open from now, in steps that floats hold exactly."""
        since = self.clock()
        while self.circuit.state is OPEN:
            self.clock.advance(1 / 128)
        return self.clock() - since


# When it opens.


@pytest.mark.parametrize(
    ("told", "every_s", "state"),
    [
        ("xxxx", 0.0, CLOSED),
        ("xxxxx", 0.0, OPEN),
        ("xxxxx", 60.0, OPEN),
        ("xxxx.xxxx", 0.0, CLOSED),
        ("." * 15 + "xxxx", 0.0, CLOSED),
        ("." * 14 + "xxxxx", 0.0, OPEN),
        ("." * 15 + "xxxxx", 0.0, CLOSED),
        ("." * 20 + "xxxxx", 1.0, OPEN),
        (".x" * 9 + ".", 0.0, CLOSED),
        (".x" * 10, 0.0, OPEN),
        ("x." * 10, 0.0, OPEN),
        ("..x" * 40, 0.0, CLOSED),
        (".x" * 40, 1.0, CLOSED),
        ("." * 100 + "x" * 15, 0.0, CLOSED),
        ("." * 100 + "x" * 16, 0.0, OPEN),
        ("." * 100 + "xxxx.xxxx.xxxx.xxxx", 0.0, OPEN),
        ("." * 100 + "xxx." * 5, 0.0, CLOSED),
        ("xxxx." * 3 + "xxx", 10.0, CLOSED),
        ("xxxx." * 3 + "xxxx", 10.0, OPEN),
    ],
)
def test_what_opens_it(told: str, every_s: float, state: CircuitState) -> None:
    """16 of the last 20; half of at least 20 within 10 s; 5 in a row while fewer than 20 came within 10 s."""
    target = Target()
    target.outcomes(told, every_s)
    assert target.circuit.state is state


def test_an_outcome_leaves_the_window_after_10_s() -> None:
    """What is 10 s old counts neither among the failures nor among the calls."""
    target = Target()
    target.outcomes("xxxx.xxxx.x")
    target.clock.advance(10.0)
    target.outcomes("....x....")
    assert target.circuit.state is CLOSED
    target = Target()
    target.outcomes("xxxx.xxxx.x")
    target.clock.advance(9.9)
    target.outcomes("....x....")
    assert target.circuit.state is OPEN


def test_half_a_percent_of_errors_never_opens_it() -> None:
    """A busy target with a few errors stays closed, whatever their order."""
    rng = random.Random(11)
    target = Target()
    target.outcomes("".join("x" if rng.random() < 0.005 else "." for _ in range(20_000)), every_s=0.005)
    assert target.circuit.calm


def test_a_break_after_the_first_content_is_a_failure_of_its_own() -> None:
    """An attempt that succeeded and then broke is one success and one failure."""
    target = Target()
    for _ in range(10):
        permit = target.circuit.enter()
        permit.succeeded()
        permit.failed()
    assert target.circuit.state is OPEN, "10 of 20"


def test_success_is_told_once() -> None:
    """The whole answer of an attempt whose first content was told is no second success."""
    target = Target()
    for _ in range(5):
        permit = target.circuit.enter()
        permit.succeeded()
        permit.succeeded()
        permit.ended()
    target.outcomes("x.x.x.x.x.x.x")
    assert target.circuit.state is CLOSED, "19 outcomes"


def test_what_says_nothing_counts_nowhere() -> None:
    """Attempts that were cancelled or failed by their caller's doing neither open it nor break a row."""
    target = Target()
    target.outcomes("xxxx")
    for _ in range(100):
        target.circuit.enter().ended()
    assert target.circuit.state is CLOSED
    target.outcomes("x")
    assert target.circuit.state is OPEN


# Open, and back.


def test_nobody_who_could_go_elsewhere_is_let_in_while_it_is_open() -> None:
    """An open circuit says for how long, and lets nobody in until then."""
    target = Target().opened()
    assert target.circuit.shut_because() == "open for another 5.0 s"
    target.clock.advance(4.9)
    assert target.circuit.shut_because() == "open for another 0.1 s"
    target.clock.advance(0.1)
    assert target.circuit.shut_because() is None
    assert target.circuit.state is HALF_OPEN


def test_calls_without_another_place_change_nothing_while_it_is_open() -> None:
    """What panic sends through an open circuit neither closes it nor lengthens its time."""
    target = Target().opened()
    target.outcomes("." * 50 + "x" * 50)
    assert target.open_for_s() == 5.0


def test_half_open_lets_one_probe_in() -> None:
    """While a probe is under way nobody else is let in; when it says nothing its place is free again."""
    target = Target().half_open()
    probe = target.circuit.enter()
    assert target.circuit.shut_because() == "half-open, and its one probe is under way"
    probe.ended()
    assert target.circuit.shut_because() is None
    target.circuit.enter().succeeded()
    assert target.circuit.state is RAMPING


def test_only_the_probe_decides_in_half_open() -> None:
    """What panic sends beside the probe, or sent before it, neither closes nor opens the circuit."""
    target = Target().opened()
    early = target.circuit.enter()
    target.clock.advance(5.0)
    probe = target.circuit.enter()
    for beside in (early, target.circuit.enter(), target.circuit.enter()):
        beside.succeeded()
        beside.failed()
        beside.ended()
    assert target.circuit.state is HALF_OPEN
    assert target.circuit.shut_because() is not None, "its place is still taken"
    probe.failed()
    assert target.circuit.state is OPEN


def test_each_failed_probe_doubles_the_time_up_to_the_cap() -> None:
    """5, 10, 20, … 300 s, jitter aside."""
    target = Target().opened()
    times = []
    for _ in range(9):
        times.append(target.open_for_s())
        target.outcomes("x")
    assert times == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 300.0]


def test_the_time_is_spread_by_a_tenth() -> None:
    """The open time is drawn from 90 to 110 % of its middle, and is never above the cap."""
    rng = random.Random(3)
    times = [Target(rng=rng).opened().open_for_s() for _ in range(60)]
    assert 4.5 <= min(times) < 4.7
    assert 5.3 < max(times) <= 5.51
    limits = CircuitLimits(open_s=2.0, open_max_s=2.0)
    assert max(Target(limits, rng).opened().open_for_s() for _ in range(20)) <= 2.0


def test_the_ramp_lets_in_a_running_share() -> None:
    """10, 25, 50 %, 2 s each, spread evenly and not by chance; then all."""
    target = Target().ramping()
    assert [target.let_in(20) for _ in range(5)] == [2, 2, 2, 2, 2]
    assert target.circuit.held_because() == "coming back, with 10 % of its calls"
    target.clock.advance(2.0)
    assert [target.let_in(20) for _ in range(5)] == [5, 5, 5, 5, 5]
    target.clock.advance(2.0)
    assert [target.let_in(20) for _ in range(5)] == [10, 10, 10, 10, 10]
    target.clock.advance(1.875)
    assert target.circuit.state is RAMPING
    target.clock.advance(0.125)
    assert target.let_in(20) == 20
    assert target.circuit.state is CLOSED


def test_who_enters_a_ramp_unasked_is_counted_too() -> None:
    """Calls without another place use up the share, so that others wait longer."""
    target = Target().ramping()
    target.outcomes("...")
    assert target.let_in(29) == 0
    assert target.let_in(10) == 1


def test_looking_changes_nothing() -> None:
    """Asking whether a call would be let in takes neither a turn of the ramp nor the probe's place."""
    target = Target().ramping()
    for _ in range(100):
        assert target.circuit.held_because() is not None
        assert target.circuit.shut_because() is None
    target = Target().half_open()
    for _ in range(100):
        assert target.circuit.shut_because() is None


def test_a_failure_in_the_ramp_opens_for_longer() -> None:
    """One failure of a call that the ramp let in opens with the next n."""
    target = Target().ramping()
    target.outcomes("..x")
    assert target.open_for_s() == 10.0


@pytest.mark.parametrize(("closed_s", "open_s"), [(59.9, 10.0), (60.0, 5.0)])
def test_after_60_s_closed_the_first_time_counts_again(closed_s: float, open_s: float) -> None:
    """The open time keeps its n until the circuit was closed for 60 s, and starts at 0 after that."""
    target = Target().half_open()
    target.outcomes("x")
    target.clock.advance(10.0)
    target.outcomes(".")
    target.clock.advance(6.0)
    assert target.circuit.state is CLOSED
    target.clock.advance(closed_s)
    assert target.opened().open_for_s() == open_s


# Generations.


def _late_success(permit: Permit) -> None:
    permit.succeeded()


def _late_failure(permit: Permit) -> None:
    permit.failed()


@pytest.mark.parametrize("word", [_late_success, _late_failure])
def test_a_word_from_before_the_last_change_is_dropped(word: Callable[[Permit], None]) -> None:
    """Outcomes of attempts from before the outage, the probe or the ramp's end move nothing after it."""
    target = Target()
    before = [target.circuit.enter() for _ in range(40)]
    target.opened().clock.advance(5.0)
    word(before.pop())
    assert target.circuit.state is HALF_OPEN
    target.outcomes(".")
    for permit in before[:20]:
        word(permit)
    assert target.circuit.state is RAMPING
    in_ramp = [target.circuit.enter() for _ in range(20)]
    target.clock.advance(6.0)
    for permit in before[20:] + in_ramp:
        word(permit)
    assert target.circuit.calm
    target.outcomes("xxxx")
    assert target.circuit.state is CLOSED
    target.outcomes("x")
    assert target.circuit.state is OPEN, "the count began afresh"


def test_a_probe_that_broke_later_does_not_end_the_ramp() -> None:
    """The probe's success starts the ramp; its stream's later break was dispatched before that."""
    target = Target().half_open()
    probe = target.circuit.enter()
    probe.succeeded()
    probe.failed()
    assert target.circuit.state is RAMPING


@pytest.mark.parametrize(
    "wrong",
    [
        {"recent": 10},
        {"failures_in_row": 0},
        {"min_calls": 0},
        {"error_ratio": 0.0},
        {"error_ratio": 1.1},
        {"window_s": 0.0},
        {"open_s": float("nan")},
        {"ramp_s": float("inf")},
        {"open_s": 10.0, "open_max_s": 5.0},
    ],
)
def test_limits_without_a_meaning_are_refused(wrong: dict[str, float]) -> None:
    """Limits that could never open or never close a circuit raise."""
    with pytest.raises(ValueError, match="no limits of a circuit"):
        CircuitLimits(**wrong)  # type: ignore[arg-type]  # some of them are whole numbers


def test_it_shows_its_state() -> None:
    """Its repr is readable in an assertion."""
    assert repr(Target().circuit) == "<Circuit CLOSED>"
    assert repr(Target().opened().circuit) == "<Circuit OPEN: open for another 5.0 s>"
    assert repr(Target().ramping().circuit) == "<Circuit RAMPING: coming back, with 10 % of its calls>"


# Other limits, in place.


def test_other_limits_hold_for_what_was_counted_before() -> None:
    """Four failures in a row do not open it; under a limit of four the next one does."""
    target = Target()
    target.outcomes("xxxx")
    target.circuit.retune(CircuitLimits(failures_in_row=4))
    assert target.circuit.state is CLOSED
    target.outcomes("x")
    assert target.circuit.state is OPEN


def test_a_smaller_ring_keeps_the_latest_outcomes() -> None:
    """Of 16 failures that a larger one still knew, the four latest outcomes hold one."""
    limits = CircuitLimits(recent=40, recent_failures=40, failures_in_row=100, min_calls=100)
    target = Target(limits)
    target.outcomes("xxxxxxxxxxxxxxxx...x")
    target.circuit.retune(CircuitLimits(recent=4, recent_failures=3, failures_in_row=100, min_calls=100))
    target.outcomes("x")
    assert target.circuit.state is CLOSED
    target.outcomes("x")
    assert target.circuit.state is OPEN


def test_an_opening_lasts_no_longer_than_the_new_limit() -> None:
    """Opened for 5 s, cut to 2 s from its beginning; a larger limit lengthens nothing."""
    target = Target().opened()
    target.circuit.retune(CircuitLimits(open_s=60.0))
    target.clock.advance(1.0)
    target.circuit.retune(CircuitLimits(open_s=1.0, open_max_s=2.0))
    assert target.open_for_s() == 1.0
    assert target.circuit.state is HALF_OPEN


def test_a_ramp_goes_by_its_new_length() -> None:
    """Three seconds into a ramp of six it is over if ramps take two."""
    target = Target().ramping()
    target.clock.advance(3.0)
    assert target.circuit.state is RAMPING
    target.circuit.retune(CircuitLimits(ramp_s=2.0))
    assert target.circuit.state is CLOSED


def test_a_probe_under_way_stays_the_probe() -> None:
    """Limits that change meanwhile neither let a second one in nor lose the word of the first."""
    target = Target().half_open()
    probe = target.circuit.enter()
    target.circuit.retune(CircuitLimits(open_s=1.0))
    assert target.circuit.shut_because() is not None
    probe.succeeded()
    assert target.circuit.state is RAMPING
