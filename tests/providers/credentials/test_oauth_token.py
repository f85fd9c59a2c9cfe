"""Access tokens: kept, fetched anew in time, one fetch at a time, and nobody waits longer than a fetch may take."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.credentials.oauth_token import AccessToken, TokenSource
from trunkline_server.providers.transport.base import Transport
from trunkline_server.routing.clock import ManualClock
from trunkline_server.routing.failures import Failure, FailureClass

NO_TRANSPORT = cast("Transport", None)
"""Nothing is sent here: the fetch is the test's own."""

REJECTED = Failure(FailureClass.KEY_REJECTED, "the token endpoint rejected the key")
HOUR_S = 3600.0


class Endpoint:
    """A token endpoint whose answers come when the test says so."""

    def __init__(self) -> None:
        self.asked = 0
        self.under_way: deque[asyncio.Future[AccessToken]] = deque()
        self.most_at_once = 0

    async def fetch(self, _: Transport) -> AccessToken:
        self.asked += 1
        answer: asyncio.Future[AccessToken] = asyncio.get_running_loop().create_future()
        self.under_way.append(answer)
        self.most_at_once = max(self.most_at_once, len(self.under_way))
        try:
            return await answer
        finally:
            self.under_way.remove(answer)

    async def answer(self, lifetime_s: float = HOUR_S) -> None:
        self.under_way[0].set_result(AccessToken(f"token-{self.asked}", lifetime_s))
        await settled()

    async def fail(self, failure: Failure = REJECTED) -> None:
        self.under_way[0].set_exception(AttemptError(failure))
        await settled()


class House:
    """A token source with its clock and its endpoint."""

    def __init__(self, *, fetch_s: float = 60.0) -> None:
        self.clock = ManualClock(1000.0)
        self.endpoint = Endpoint()
        self.source = TokenSource(self.endpoint.fetch, clock=self.clock, fetch_s=fetch_s)

    def ask(self) -> asyncio.Task[str]:
        return asyncio.create_task(self.source.token(NO_TRANSPORT))

    async def first(self, lifetime_s: float = HOUR_S) -> str:
        asking = self.ask()
        await settled()
        await self.endpoint.answer(lifetime_s)
        return await asking


async def settled() -> None:
    """Let everything that can run do so."""
    for _ in range(6):
        await asyncio.sleep(0)


async def failure_of(asking: asyncio.Task[str]) -> Failure:
    with pytest.raises(AttemptError) as caught:
        await asking
    return caught.value.failure


async def test_a_token_is_fetched_once_and_kept() -> None:
    """Who asks while it lives gets it without a fetch."""
    house = House()
    assert await house.first() == "token-1"
    house.clock.advance(HOUR_S - 301)
    assert await house.ask() == "token-1"
    assert house.endpoint.asked == 1


async def test_many_waiters_cost_one_fetch() -> None:
    """Whoever finds no token waits for the same one."""
    house = House()
    asking = [house.ask() for _ in range(50)]
    await settled()
    await house.endpoint.answer()
    assert {await one for one in asking} == {"token-1"}
    assert house.endpoint.asked == 1


async def test_a_token_is_replaced_before_it_expires_and_nobody_waits() -> None:
    """In its last five minutes the old token is given out while the new one is on its way."""
    house = House()
    await house.first()
    house.clock.advance(HOUR_S - 300)
    assert await house.ask() == "token-1"
    await settled()
    assert await house.ask() == "token-1"
    await house.endpoint.answer()
    assert await house.ask() == "token-2"
    assert house.endpoint.asked == 2


async def test_a_short_lived_token_is_replaced_in_its_last_tenth() -> None:
    """Of a minute, the last six seconds."""
    house = House()
    await house.first(60.0)
    house.clock.advance(53.9)
    await house.ask()
    await settled()
    assert house.endpoint.asked == 1
    house.clock.advance(0.2)
    await house.ask()
    await settled()
    assert house.endpoint.asked == 2


async def test_a_token_is_not_used_in_its_last_seconds() -> None:
    """A call with it could arrive too late: the next one is waited for."""
    house = House()
    await house.first()
    house.clock.advance(HOUR_S - 9)
    asking = house.ask()
    await settled()
    assert not asking.done()
    await house.endpoint.answer()
    assert await asking == "token-2"


async def test_the_way_of_a_token_counts_as_its_age() -> None:
    """Its life begins when the fetch does: what the endpoint took is not given to it as well."""
    house = House()
    asking = house.ask()
    await settled()
    house.clock.advance(40.0)
    await house.endpoint.answer(60.0)
    assert await asking == "token-1"
    house.clock.advance(17.5)
    again = house.ask()
    await settled()
    assert not again.done()
    again.cancel()
    house.source.close()


async def test_a_waiter_that_leaves_takes_nothing_along() -> None:
    """The fetch goes on, and the next one has its token."""
    house = House()
    asking = house.ask()
    await settled()
    asking.cancel()
    await settled()
    assert asking.cancelled()
    await house.endpoint.answer()
    assert await house.ask() == "token-1"
    assert house.endpoint.asked == 1


async def test_a_failure_is_told_to_all_who_wait() -> None:
    """With its class, and once a fetch."""
    house = House()
    asking = [house.ask() for _ in range(3)]
    await settled()
    await house.endpoint.fail()
    assert [await failure_of(one) for one in asking] == [REJECTED] * 3


async def test_after_a_failure_comes_a_pause() -> None:
    """Who asks in it hears of the same failure without a fetch; pauses double up to half a minute."""
    house = House()
    for pause_s in (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0):
        asking = house.ask()
        await settled()
        asked = house.endpoint.asked
        await house.endpoint.fail()
        assert await failure_of(asking) is REJECTED
        house.clock.advance(pause_s - 0.5)
        assert await failure_of(house.ask()) is REJECTED
        assert house.endpoint.asked == asked
        house.clock.advance(0.5)


async def test_a_success_ends_the_pauses() -> None:
    """The next failure is the first one again."""
    house = House()
    for _ in range(3):
        asking = house.ask()
        await settled()
        await house.endpoint.fail()
        await failure_of(asking)
        house.clock.advance(30.0)
    await house.first(60.0)
    house.clock.advance(60.0)
    asking = house.ask()
    await settled()
    await house.endpoint.fail()
    await failure_of(asking)
    house.clock.advance(1.0)
    house.ask().cancel()
    assert await house.first() == "token-6"


async def test_a_failed_replacement_costs_nobody_anything() -> None:
    """The old token is good to its end, and the fetch is tried again after each pause."""
    house = House()
    await house.first()
    house.clock.advance(HOUR_S - 300)
    await house.ask()
    await settled()
    await house.endpoint.fail()
    assert await house.ask() == "token-1"
    await settled()
    assert house.endpoint.asked == 2
    house.clock.advance(1.0)
    assert await house.ask() == "token-1"
    await settled()
    await house.endpoint.answer()
    assert await house.ask() == "token-3"


async def test_a_fetch_has_an_end() -> None:
    """An endpoint that says nothing is a failed connection, and its fetch is cancelled."""
    house = House(fetch_s=0.02)
    failure = await failure_of(house.ask())
    assert failure.failure_class is FailureClass.CONNECT
    assert "0.02 s" in failure.message
    assert not house.endpoint.under_way


async def test_a_token_that_came_too_late_is_a_failure() -> None:
    """An endpoint that gives out dead tokens is not asked without end."""
    house = House()
    asking = house.ask()
    await settled()
    await house.endpoint.answer(0.0)
    assert (await failure_of(asking)).failure_class is FailureClass.PROTOCOL
    assert (await failure_of(house.ask())).failure_class is FailureClass.PROTOCOL
    assert house.endpoint.asked == 1


async def test_closing_ends_a_fetch_and_tells_who_waits() -> None:
    """Nothing is left behind, and nothing is fetched any more; twice is once."""
    house = House()
    asking = house.ask()
    await settled()
    house.source.close()
    house.source.close()
    assert (await failure_of(asking)).failure_class is FailureClass.CONNECT
    assert not house.endpoint.under_way
    await failure_of(house.ask())
    assert house.endpoint.asked == 1


async def test_a_token_outlives_its_closing() -> None:
    """A call that was granted the key before is still sent with it."""
    house = House()
    await house.first()
    house.source.close()
    house.clock.advance(HOUR_S - 60)
    assert await house.ask() == "token-1"
    assert house.endpoint.asked == 1


async def test_tokens_are_hidden_and_do_not_show() -> None:
    """The one in use and the one before may stand in an error; neither stands in a repr."""
    house = House()
    await house.first(60.0)
    house.clock.advance(60.0)
    await house.first()
    assert set(house.source.hidden) == {"token-1", "token-2"}
    assert repr(house.source) == "<TokenSource: usable for 3590 s>"
    assert "token-1" not in repr(AccessToken("token-1", 1.0))


Step = tuple[str, float]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("advance"), st.floats(min_value=0.0, max_value=HOUR_S)),
        st.tuples(st.just("ask"), st.just(0.0)),
        st.tuples(st.just("leave"), st.just(0.0)),
        st.tuples(st.just("answer"), st.floats(min_value=0.0, max_value=2 * HOUR_S)),
        st.tuples(st.just("fail"), st.just(0.0)),
        st.tuples(st.just("close"), st.just(0.0)),
    ),
    max_size=40,
)


@given(steps=STEPS)
def test_whatever_happens_in_whatever_order(steps: list[Step]) -> None:
    """One fetch at a time, no dead token, nobody waits without a fetch, and no fetch after the closing."""
    asyncio.run(_walk(steps))


async def _walk(steps: list[Step]) -> None:
    house = House()
    endpoint, clock = house.endpoint, house.clock
    ends: dict[str, float] = {}
    waiting: list[asyncio.Task[str]] = []
    closed_at: int | None = None
    for what, value in steps:
        if what == "advance":
            clock.advance(value)
        elif what == "ask":
            waiting.append(house.ask())
        elif what == "leave" and waiting:
            waiting.pop().cancel()
        elif what == "answer" and endpoint.under_way:
            ends[f"token-{endpoint.asked}"] = clock() + value
            await endpoint.answer(value)
        elif what == "fail" and endpoint.under_way:
            await endpoint.fail()
        elif what == "close":
            house.source.close()
            closed_at = endpoint.asked if closed_at is None else closed_at
        await settled()
        for asking in [one for one in waiting if one.done()]:
            waiting.remove(asking)
            if asking.exception() is None:
                assert clock() < ends[asking.result()]
            else:
                assert isinstance(asking.exception(), AttemptError)
        assert endpoint.most_at_once <= 1
        assert not waiting or endpoint.under_way
        assert closed_at is None or endpoint.asked == closed_at
    house.source.close()
    await settled()
    assert not endpoint.under_way
    assert all(one.done() for one in waiting)


async def test_a_token_that_somebody_rejected_is_forgotten() -> None:
    """The next one who asks waits for a fetch; those who were rejected with a token before that one do no harm."""
    house = House()
    assert await house.first() == "token-1"
    house.source.forget("token-1")
    assert await house.first() == "token-2"
    house.source.forget("token-1")
    assert await house.ask() == "token-2"
    assert house.endpoint.asked == 2
    assert house.source.hidden == ("token-2", "token-1")
