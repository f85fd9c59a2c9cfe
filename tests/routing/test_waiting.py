"""The laws of the queue at random: rank, order in a flow, fairness in tokens, nobody starves, nothing stays behind."""

from __future__ import annotations

from collections import Counter
from itertools import count
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline_server.routing.ticket import Ask, Kind, Ticket, TicketState
from trunkline_server.routing.types import Criticality
from trunkline_server.routing.waiting import Line

NONE: frozenset[Kind] = frozenset()
LARGEST = 50
callers = st.sampled_from(["a", "b", "c", "d"])
levels = st.sampled_from(list(Criticality))
models = st.sampled_from(["m", "n"])
sizes = st.integers(0, LARGEST)
_numbers = count()


def ticket(
    caller: str = "a",
    tokens: int = 1,
    level: Criticality = Criticality.CRITICAL,
    model: str = "m",
    *,
    joined_at: float = 0.0,
    wait_s: float = 1e9,
) -> Ticket:
    return Ticket(
        model,
        frozenset(),
        tokens,
        caller,
        level,
        number=next(_numbers),
        joined_at=joined_at,
        bound_at=joined_at + wait_s,
        bound_is_deadline=False,
        on_grant=lambda _: None,
        on_refused=lambda _: None,
    )


def serve(line: Line, blocked: frozenset[Kind] = NONE, now: float = 0.0) -> Ticket:
    first = line.first(blocked, now)
    assert first is not None
    line.serve(first, now)
    return first


@settings(deadline=None)
@given(st.lists(st.tuples(callers, sizes, levels, models), max_size=40), st.sets(models))
def test_the_order_of_rank_and_of_each_flow(
    asks: list[tuple[str, int, Criticality, str]], blocked_models: set[str]
) -> None:
    """Of those whose kind is not blocked the most important go first, and of one caller's the oldest."""
    line = Line()
    waiting = [ticket(*ask) for ask in asks]
    for one in waiting:
        line.add(one)
    blocked = frozenset((model, frozenset[str]()) for model in blocked_models)
    left = [one for one in waiting if one.kind not in blocked]
    while left:
        served = serve(line, blocked)
        assert served.criticality.value == min(one.criticality.value for one in left)
        flow = [one for one in left if (one.caller, one.criticality) == (served.caller, served.criticality)]
        assert served is flow[0]
        left.remove(served)
    assert line.first(blocked, 0.0) is None
    assert line.waiting == sum(one.kind in blocked for one in waiting)


@settings(deadline=None)
@given(st.lists(sizes, min_size=1, max_size=30), st.lists(sizes, min_size=1, max_size=30), st.lists(sizes, min_size=1))
def test_callers_that_always_wait_get_equal_tokens(a: list[int], b: list[int], c: list[int]) -> None:
    """At every moment what two of them were served differs by less than two of the largest requests."""
    line, served = Line(), Counter[str]()
    pattern = {"a": a, "b": b, "c": c}
    for caller, tokens in pattern.items():
        for size in (tokens * 60)[:60]:
            line.add(ticket(caller, size))
    left = Counter(dict.fromkeys(pattern, 60))
    while all(left.values()):
        one = serve(line)
        left[one.caller] -= 1
        served[one.caller] += one.size
        assert max(served[name] for name in pattern) - min(served[name] for name in pattern) < 2 * LARGEST


@pytest.mark.parametrize("seed", range(8))
def test_callers_of_kinds_that_come_and_go_get_equal_tokens(seed: int) -> None:
    """Rounds in which nobody can be served, as with keys at their limit, change nothing of the shares."""
    rng, line, served = Random(seed), Line(), Counter[str]()
    print(f"seed {seed}")
    for caller, largest in (("small", 10), ("large", 1000), ("mixed", 300)):
        for _ in range(3000):
            line.add(ticket(caller, rng.randint(1, largest)))
    blocked = frozenset({("m", frozenset[str]())})
    for _ in range(600):
        for _ in range(rng.randint(0, 3)):
            assert line.first(blocked, 0.0) is None
        one = serve(line)
        served[one.caller] += one.size
        assert max(served.values()) - min(served[name] for name in ("small", "large", "mixed")) < 2000


@settings(deadline=None)
@given(st.lists(st.tuples(callers, sizes), min_size=1, max_size=60), st.data())
def test_a_turn_never_depends_on_another_flows_length(asks: list[tuple[str, int]], data: st.DataObject) -> None:
    """Before a waiter at the head of its flow, every other caller is served less than two of the largest."""
    line = Line()
    for caller, tokens in asks:
        line.add(ticket(caller, tokens))
    for _ in range(data.draw(st.integers(0, len(asks) - 1))):
        serve(line)
    mine = ticket("mine", LARGEST)
    line.add(mine)
    before = Counter[str]()
    while (one := serve(line)) is not mine:
        before[one.caller] += one.size
    assert all(tokens < 2 * LARGEST for tokens in before.values())


def test_the_newest_does_not_keep_the_others_from_their_turns() -> None:
    """A flow that stands gets as many turns as any other, and is served newest first within them."""
    line = Line()
    for number in range(10):
        line.add(ticket("stands", joined_at=float(number), wait_s=10.0))
        line.add(ticket("flows", joined_at=float(number)))
    served = [serve(line, now=9.5) for _ in range(6)]
    assert [one.caller for one in served] == ["stands", "flows"] * 3
    assert [one.joined_at for one in served] == [9.0, 0.0, 8.0, 1.0, 7.0, 2.0]


@settings(deadline=None)
@given(st.lists(st.tuples(callers, levels), max_size=40), callers, levels)
def test_the_place_of_an_arrival(asks: list[tuple[str, Criticality]], caller: str, level: Criticality) -> None:
    """All of higher levels, and of each flow of its own at most one more than it has, go before; it is no guess."""
    line, flows = Line(), Counter[str]()
    for name, rank in asks:
        line.add(ticket(name, 1, rank))
        flows[name] += rank is level
    expected = 1 + sum(rank.value < level.value for _, rank in asks)
    expected += sum(min(length, flows[caller] + 1) for length in flows.values())
    place = line.place_of_arrival(Ask("m", frozenset(), 1, caller, level))
    assert place == expected
    mine = ticket(caller, 1, level)
    line.add(mine)
    position, served = line.position(mine), 1
    while serve(line) is not mine:
        served += 1
    assert served <= place
    assert position == served


@settings(deadline=None)
@given(st.lists(st.tuples(callers, sizes, levels, models), max_size=40), st.randoms(use_true_random=False))
def test_nothing_stays_behind(asks: list[tuple[str, int, Criticality, str]], rng: Random) -> None:
    """Whoever leaves in whatever order, the line forgets them, their flows and their kinds."""
    line = Line()
    waiting = [ticket(*ask) for ask in asks]
    for one in waiting:
        line.add(one)
    rng.shuffle(waiting)
    for one in waiting:
        if rng.random() < 0.3:
            serve(line)
        elif one.state is TicketState.WAITING:
            line.remove(one, TicketState.LEFT)
    while line.waiting:
        serve(line)
    assert not line.kinds
    assert all(not level._flows and not level.waiting for level in line._levels)


def test_the_work_of_a_round_is_bounded_by_kinds_and_flows() -> None:
    """With thousands of waiters of a blocked kind, finding the one that can go looks at flows, not at waiters."""
    line = Line()
    for number in range(5000):
        line.add(ticket(f"c{number % 5}"))
    line.add(ticket("last", model="n"))
    looked_at = 0

    class Counting(frozenset[Kind]):
        def __contains__(self, kind: object) -> bool:
            nonlocal looked_at
            looked_at += 1
            return super().__contains__(kind)

    first = line.first(Counting({("m", frozenset())}), 0.0)
    assert first is not None
    assert first.model == "n"
    assert looked_at <= 20
