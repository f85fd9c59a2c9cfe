"""Callers' accounts around calls: asked before anything happens, charged for each attempt, settled on every way out."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import replace

import pytest
from tests.engine.scripted import Said, World, forever, until

from trunkline_server.chat.answer import Usage
from trunkline_server.chat.estimate import Calibration
from trunkline_server.engine.api import CallScope
from trunkline_server.engine.attempts import HEDGE_SAMPLES_MIN
from trunkline_server.engine.callers import CallerAccounts
from trunkline_server.engine.frames import CallFailedError, EndFrame
from trunkline_server.engine.need import Need
from trunkline_server.routing.aliases import AliasPolicy, HedgePolicy, ModelFacts
from trunkline_server.routing.caller_account import CallerAccount
from trunkline_server.routing.caller_limits import CallerLimits
from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.gate_limits import GateLimits
from trunkline_server.routing.types import Caller, Criticality, Reason, TargetId

PRICED = ModelFacts(input_nanousd_per_million=1_000_000_000, output_nanousd_per_million=2_000_000_000)
"""1,000 a token of prompt and 2,000 a token of answer, in 1e-9 USD."""
WHOLE_COST = 3 * 1000 + 2 * 2000
"""Of an answer as `Said` has it."""
RICH = CallerLimits(budget_nanousd_per_day=10**12, max_in_flight=100)
ANSWER = (Said.ROLE, Said.text("hello"), Said.STOP, Said.USAGE, Said.DONE)


def scope(limits: CallerLimits | None = RICH, name: str = "c") -> CallScope:
    """Return a call of a caller with limits."""
    return CallScope(Caller(name, limits=limits), None)


def account(world: World, name: str = "c") -> CallerAccount:
    """Return the caller's account, which has to be there."""
    found = world.engine.callers.account(name)
    assert found is not None
    return found


def books(world: World) -> tuple[int, int, int]:
    """Return calls in flight, what is held and what is spent."""
    found = account(world)
    return found.in_flight, found.held_nanousd, found.spent_nanousd


async def test_an_answer_is_paid_by_what_its_provider_counted() -> None:
    """While the call runs its estimate is held; when it is over its cost is spent."""
    world = World(facts=PRICED)
    going = asyncio.Event()

    async def wait() -> None:
        await going.wait()

    world.upstream.answers(wait, Said.WHOLE)
    call = asyncio.create_task(world.engine.complete(world.request(), scope()))
    await until(lambda: bool(world.upstream.sent))
    in_flight, held, spent = books(world)
    assert (in_flight, spent) == (1, 0)
    assert held >= 1000 * 2000, "an answer of unknown length is reckoned with 1,000 tokens"
    going.set()
    await call
    assert books(world) == (0, 0, WHOLE_COST)


async def test_callers_without_limits_have_no_account() -> None:
    """Nothing is kept of them."""
    world = World(facts=PRICED)
    world.upstream.answers(Said.WHOLE)
    await world.engine.complete(world.request(), scope(None))
    assert world.engine.callers.account("c") is None


async def test_a_stream_is_settled_at_its_end() -> None:
    """A stream counts as in flight until its last byte, and is paid then."""
    world = World(facts=PRICED)
    world.upstream.answers(*ANSWER)
    frames, error = await world.frames(scope())
    assert error is None
    assert isinstance(frames[-1], EndFrame)
    assert books(world) == (0, 0, WHOLE_COST)


async def test_every_attempt_of_a_call_is_paid() -> None:
    """What a broken attempt had given is charged beside the one that answered, and the call is one call."""
    world = World(facts=PRICED)
    world.upstream.answers(b"", status=500)
    world.upstream.answers(Said.WHOLE)
    await world.engine.complete(world.request(), scope())
    assert len(world.upstream.sent) == 2
    assert books(world) == (0, 0, WHOLE_COST), "an error without an answer is not billed"


async def test_a_stream_that_is_left_is_paid_by_what_was_seen_of_it() -> None:
    """A caller that leaves before the provider counts saves no money by it."""
    world = World(facts=PRICED)
    world.upstream.answers(Said.ROLE, Said.text("x" * 400), forever)
    frames = world.engine.stream(world.request(), scope())
    async with aclosing(frames):
        await anext(frames)
        await anext(frames)
        await anext(frames)
    in_flight, held, spent = books(world)
    assert (in_flight, held) == (0, 0)
    assert spent > 100 * 2000


async def test_a_call_cancelled_before_its_first_token_is_paid_its_prompt() -> None:
    """The provider has read the prompt, and bills it."""
    world = World(facts=PRICED)
    world.upstream.scripts.append(forever)
    call = asyncio.create_task(world.engine.complete(world.request("word " * 100), scope()))
    await until(lambda: bool(world.upstream.sent))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    in_flight, held, spent = books(world)
    assert (in_flight, held) == (0, 0)
    assert 50 * 1000 < spent < 300 * 1000


async def test_the_loser_of_a_race_is_paid_too() -> None:
    """A second attempt that answers first costs what it costs, and the one that was closed its prompt."""
    world = World(facts=PRICED, policy=AliasPolicy(hedge=HedgePolicy(enabled=True, max_extra=0.1)))
    world.engine._snapshots.current.providers["one"].name_models(frozenset({"m"}))
    world.upstream.answers(Said.WHOLE)
    for _ in range(2 * HEDGE_SAMPLES_MIN):
        await world.engine.complete(world.request(), scope(None))
    world.upstream.scripts.clear()
    world.upstream.scripts.append(forever)
    world.upstream.answers(Said.WHOLE)
    done = await world.engine.complete(world.request("word " * 100), scope())
    assert [attempt.discarded for attempt in done.attempts] == [True, False]
    in_flight, held, spent = books(world)
    assert (in_flight, held) == (0, 0)
    assert 50 * 1000 < spent - WHOLE_COST < 300 * 1000


async def test_a_detachable_stream_is_settled_when_it_is_over_not_when_its_reader_leaves() -> None:
    """Without a reader it is still in flight for its caller."""
    world = World(facts=PRICED)
    going = asyncio.Event()

    async def wait() -> None:
        await going.wait()

    world.upstream.answers(Said.ROLE, Said.text("hello"), wait, Said.STOP, Said.USAGE, Said.DONE)
    routing = replace(world.request().routing, detachable=True)
    frames = world.engine.stream(world.request(routing=routing), scope())
    async with aclosing(frames):
        await anext(frames)
    assert account(world).in_flight == 1
    going.set()
    await until(lambda: account(world).in_flight == 0)
    assert books(world) == (0, 0, WHOLE_COST)
    await world.engine.aclose()


async def test_a_refused_call_leaves_no_trace() -> None:
    """Nothing is sent, nothing is held, and its outcome is told to nobody."""
    world = World(facts=PRICED)
    world.upstream.answers(Said.WHOLE)
    limits = CallerLimits(requests_per_minute=1)
    for _ in range(2):
        await world.engine.complete(world.request(), scope(limits))
    refused: list[CallFailedError] = []
    with pytest.raises(CallFailedError) as caught:
        await world.engine.complete(world.request(), scope(limits))
    refused.append(caught.value)
    with pytest.raises(CallFailedError) as caught:
        world.engine.stream(world.request(), scope(limits))
    refused.append(caught.value)
    for error in refused:
        failure = error.failure
        assert failure.reason is Reason.CALLER_QUOTA
        assert dict(failure.metadata) == {"caller": "c", "limit": "requests_per_minute", "allowed": "1"}
        assert failure.retry_after_s == pytest.approx(60 / 0.995, rel=0.05)
    assert len(world.upstream.sent) == 2
    assert account(world).in_flight == 0
    assert world.held == 0
    assert len(world.ended) == 2


async def test_a_call_that_nobody_can_serve_holds_nothing() -> None:
    """Let in, but without a target: its tokens and its place are free at once."""
    world = World(facts=ModelFacts(context_tokens=1))
    with pytest.raises(CallFailedError) as caught:
        await world.engine.complete(world.request("word " * 50), scope())
    assert caught.value.failure.reason is Reason.NO_ELIGIBLE_TARGET
    assert books(world) == (0, 0, 0)


async def test_explaining_costs_nothing() -> None:
    """A decision that is only explained is no call."""
    world = World(facts=PRICED)
    for _ in range(5):
        world.engine.explain(world.request(), scope(CallerLimits(requests_per_minute=1)))
    assert world.engine.callers.account("c") is None


async def test_a_removed_callers_call_makes_no_further_attempt() -> None:
    """What was dispatched may end; a retry is not made any more, and the caller is told why."""
    world = World(facts=PRICED)

    async def removed() -> None:
        world.engine.callers.retune([Caller("other")])

    world.upstream.answers(removed, status=500)
    world.upstream.answers(Said.WHOLE)
    world.engine.callers.retune([Caller("c", limits=RICH)])
    with pytest.raises(CallFailedError) as caught:
        await world.engine.complete(world.request(), scope())
    assert caught.value.failure.reason is Reason.PERMISSION_DENIED
    assert "removed from the routes" in caught.value.failure.message
    assert len(world.upstream.sent) == 1
    assert world.held == 0
    found = world.engine.callers.account("c")
    assert found is None or found.in_flight == 0


async def test_a_removed_callers_call_in_a_queue_gives_its_slot_to_the_next() -> None:
    """What is granted to it after its caller was removed goes back unused, and it is told why."""
    world = World(gate=GateLimits(max_in_flight=1))
    going = asyncio.Event()

    async def wait() -> None:
        await going.wait()

    world.upstream.answers(wait, Said.WHOLE)
    world.upstream.answers(Said.WHOLE)
    world.engine.callers.retune([Caller("c"), Caller("d")])
    first = asyncio.create_task(world.engine.complete(world.request(), scope(None)))
    await until(lambda: bool(world.upstream.sent))
    second = asyncio.create_task(world.engine.complete(world.request(), scope(None, "d")))
    await until(lambda: world.desk.gate.waiting == 1)
    world.engine.callers.retune([Caller("c")])
    going.set()
    await first
    with pytest.raises(CallFailedError) as caught:
        await second
    assert caught.value.failure.reason is Reason.PERMISSION_DENIED
    assert len(world.upstream.sent) == 1
    assert world.held == 0


async def test_a_removed_callers_running_answer_comes_to_its_end() -> None:
    """Its attempt in flight is let be, and settled."""
    world = World(facts=PRICED)

    async def removed() -> None:
        world.engine.callers.retune([])

    world.upstream.answers(Said.ROLE, Said.text("hello"), removed, Said.STOP, Said.USAGE, Said.DONE)
    world.engine.callers.retune([Caller("c", limits=RICH)])
    _, error = await world.frames(scope())
    assert error is None
    assert books(world) == (0, 0, WHOLE_COST)


def test_who_may_go_on_is_who_was_published_last() -> None:
    """Without callers everybody may; with them, those alone."""
    accounts = CallerAccounts()
    assert accounts.takes("anybody")
    accounts.retune([Caller("c")])
    assert (accounts.takes("c"), accounts.takes("other")) == (True, False)
    accounts.retune(None)
    assert accounts.takes("other")


def test_a_caller_that_comes_back_has_no_fresh_day() -> None:
    """What was spent stays, although the caller was gone for a while; an account that holds nothing is forgotten."""
    clock = ManualClock()
    accounts = CallerAccounts(clock=clock, wall_clock=lambda: 100.0)
    spender, idler = Caller("c", limits=CallerLimits(budget_nanousd_per_day=100)), Caller("idle", limits=RICH)
    accounts.retune([spender, idler])
    admitted = accounts.admit(spender, 1, 90)
    assert admitted is not None
    admitted.book(1, 90)
    admitted.settle()
    accounts.retune([Caller("other")])
    assert accounts.account("idle") is None
    accounts.retune([spender])
    with pytest.raises(CallFailedError, match="CALLER_BUDGET"):
        accounts.admit(spender, 1, 11)


def test_limits_that_were_published_hold_for_calls_that_know_others() -> None:
    """A call that was authenticated before a reload is judged by the limits of now."""
    accounts = CallerAccounts()
    accounts.retune([Caller("c", limits=CallerLimits(max_in_flight=1))])
    generous = Caller("c", limits=CallerLimits(max_in_flight=9))
    accounts.admit(generous, 1, 0)
    with pytest.raises(CallFailedError, match="CALLER_QUOTA"):
        accounts.admit(generous, 1, 0)


TARGET = TargetId("one", "m")
COUNTED = Usage(input_tokens=3, output_tokens=2)


@pytest.mark.parametrize(
    ("usage", "failed", "bytes_emitted", "billed"),
    [
        (COUNTED, None, 9, (5, 7000)),
        (COUNTED, FailureClass.TRUNCATED, 9, (5, 7000)),
        (None, None, 8, (12, 14_000)),
        (None, None, 0, (10, 10_000)),
        (Usage(input_tokens=4), FailureClass.STALLED, 8, (6, 8000)),
        (None, FailureClass.TRUNCATED, 8, (12, 14_000)),
        (None, FailureClass.SERVER_ERROR, 0, (0, 0)),
        (None, FailureClass.RATE_LIMITED, 0, (0, 0)),
        (None, FailureClass.CONNECT, 0, (0, 0)),
        (None, FailureClass.FIRST_TOKEN_TIMEOUT, 0, (10, 10_000)),
        (None, FailureClass.CANCELLED, 0, (10, 10_000)),
        (None, FailureClass.DEADLINE, 0, (10, 10_000)),
    ],
)
def test_an_attempt_is_billed_by_what_is_known_of_it(
    usage: Usage | None, failed: FailureClass | None, bytes_emitted: int, billed: tuple[int, int]
) -> None:
    """By what its provider counted, else by what was delivered; one that failed by itself with nothing is free."""
    accounts = CallerAccounts(wall_clock=lambda: 100.0)
    need = Need(10, 5, Criticality.CRITICAL, Calibration(), accounts)
    admitted = need.admitted = accounts.admit(Caller("c", limits=RICH), 15, 100)
    assert admitted is not None
    need.charge(TARGET, PRICED, usage, None if failed is None else Failure(failed, "x"), bytes_emitted)
    assert (admitted.used_tokens, admitted.cost_nanousd) == billed
    need.close_account()
    need.close_account()
    found = accounts.account("c")
    assert found is not None
    assert (found.in_flight, found.spent_nanousd) == (0, billed[1])


async def test_what_an_account_costs_a_call_is_little() -> None:
    """Letting in, booking and settling take less than a tenth of a millisecond, also on a busy machine."""
    accounts = CallerAccounts()
    limits = CallerLimits(10**9, 10**10, 10**5, 10**15)
    caller = Caller("c", limits=limits)
    best_s = 1.0
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(100):
            admitted = accounts.admit(caller, 10, 10)
            assert admitted is not None
            admitted.book(10, 10)
            admitted.settle()
        best_s = min(best_s, (time.perf_counter() - began) / 100)
    assert best_s < 100e-6
