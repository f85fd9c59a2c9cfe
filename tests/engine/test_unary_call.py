"""A call with one answer on a scripted upstream: timers, classes, what is told and what is left behind."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from tests.engine.scripted import Said, World, forever, pause

from trunkline_server.chat.message import MediaPart, Message, Role
from trunkline_server.chat.request import ChatRequest, ReasoningEffort, Sampling
from trunkline_server.engine import attempt, encoding
from trunkline_server.engine.endpoint import Timeouts
from trunkline_server.engine.frames import CallFailedError, CompletedCall
from trunkline_server.providers.base import WireCall
from trunkline_server.providers.openai import OpenAIAdapter
from trunkline_server.providers.transport.base import BrokenBodyError, ConnectError, TransportError
from trunkline_server.routing.aliases import AliasPolicy, ModelFacts, Policy
from trunkline_server.routing.events import Why
from trunkline_server.routing.failures import FailureClass
from trunkline_server.routing.gate import GateLimits
from trunkline_server.routing.key_pool import KeySpec
from trunkline_server.routing.types import Reason

ONCE = AliasPolicy(max_attempts=1)


async def complete(world: World, **fields: Any) -> CompletedCall:
    return await world.engine.complete(world.request(**fields), world.scope())


async def failure_of(world: World, **fields: Any) -> CallFailedError:
    with pytest.raises(CallFailedError) as raised:
        await complete(world, **fields)
    assert world.held == 0
    return raised.value


async def test_an_answer_tells_what_it_gave() -> None:
    """The attempt's summary has the bytes of its content, its usage and its times."""
    world = World()
    response = world.upstream.answers(Said.WHOLE)
    done = await complete(world)
    (summary,) = done.attempts
    assert summary.bytes_emitted == len("hello")
    assert summary.usage == done.answer.usage
    assert (summary.why, summary.failure, summary.first_token_s, summary.queued_s) == (Why.FIRST, None, None, 0.0)
    assert response.closed
    assert world.held == 0


@pytest.mark.parametrize(
    ("facts", "sampling", "least_s"),
    [
        (ModelFacts(), Sampling(), 0.05),
        (ModelFacts(response_s=0.2), Sampling(), 0.2),
        (ModelFacts(), Sampling(reasoning_effort=ReasoningEffort.LOW), 0.15),
        (ModelFacts(response_s=0.1), Sampling(reasoning_max_tokens=10), 0.3),
        (ModelFacts(), Sampling(reasoning_effort=ReasoningEffort.NONE), 0.05),
    ],
)
async def test_how_long_an_answer_may_take(facts: ModelFacts, sampling: Sampling, least_s: float) -> None:
    """The provider's response_s, the model's own before it, and three times that if the model is to think."""
    world = World(timeouts=Timeouts(response_s=0.05), policy=ONCE, facts=facts)
    world.upstream.answers(forever)
    began_at = time.monotonic()
    error = await failure_of(world, sampling=sampling)
    assert error.failure.failure_class is FailureClass.FIRST_TOKEN_TIMEOUT
    assert least_s <= time.monotonic() - began_at < least_s + 2


async def test_the_timer_runs_to_the_last_byte() -> None:
    """A body that trickles in is not done with its head."""
    world = World(timeouts=Timeouts(response_s=0.1), policy=ONCE)
    world.upstream.answers(*(pause(0.03), b" ") * 20, Said.WHOLE)
    assert (await failure_of(world)).failure.failure_class is FailureClass.FIRST_TOKEN_TIMEOUT


async def test_an_error_is_classified_although_its_body_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The status decides after two seconds at most; the rest of the deadline belongs to the next attempt."""
    monkeypatch.setattr(attempt, "ERROR_BODY_S", 0.05)
    world = World(policy=ONCE)
    response = world.upstream.answers(b'{"error": ', forever, status=429)
    assert (await failure_of(world)).failure.failure_class is FailureClass.RATE_LIMITED
    assert response.closed


@pytest.mark.parametrize(
    ("raised", "failure_class"),
    [
        (ConnectError("no", phase="tcp"), FailureClass.CONNECT),
        (TransportError("no"), FailureClass.PROTOCOL),
    ],
)
async def test_a_transport_that_fails(raised: TransportError, failure_class: FailureClass) -> None:
    """What a transport raises becomes a class, and nothing else."""
    world = World(policy=ONCE)
    world.upstream.scripts.append(raised)
    assert (await failure_of(world)).failure.failure_class is failure_class


async def test_the_last_status_is_that_of_the_last_response() -> None:
    """A call that ends without a response still tells the status of the response before."""
    world = World(policy=AliasPolicy(max_attempts=2))
    world.upstream.answers(b"", status=503)
    world.upstream.scripts.append(ConnectError("no", phase="tcp"))
    failure = (await failure_of(world)).failure
    assert failure.last_http_status == 503
    assert len(failure.attempts) == 2
    assert failure.reason is Reason.UPSTREAM_EXHAUSTED


async def test_the_time_to_stay_away_is_when_a_key_can_serve_again() -> None:
    """Two keys cool for 2 and 60 s: the caller is told 2 s, whichever of them failed last."""
    for order in (("2", "60"), ("60", "2")):
        world = World(policy=AliasPolicy(max_attempts=2))
        for seconds in order:
            world.upstream.answers(b"", status=429, **{"retry-after": seconds})
        failure = (await failure_of(world)).failure
        assert failure.reason is Reason.RATE_LIMITED
        assert failure.retry_after_s == pytest.approx(2.0, abs=0.5)


async def test_a_refusal_that_no_time_will_change_names_none() -> None:
    """A model that no key may serve is not said to be there in a second."""
    world = World()
    world.upstream.answers(Said.WHOLE)
    world.pool.reconfigure([KeySpec(key, 1.0, models=("other",)) for key in ("a", "b")])
    failure = (await failure_of(world)).failure
    assert failure.reason is Reason.MODEL_UNAVAILABLE
    assert failure.retry_after_s is None


class EncodingError(RuntimeError):
    """A defect while encoding."""


class FaultyEncoder(OpenAIAdapter):
    """An adapter that cannot encode."""

    def encode(self, request: ChatRequest, provider: str, model: str, *, stream: bool) -> WireCall:
        raise EncodingError(provider, model, stream, request.model)


@pytest.mark.parametrize("heavy", [False, True])
async def test_a_defect_while_encoding_leaks_nothing(monkeypatch: pytest.MonkeyPatch, *, heavy: bool) -> None:
    """On the loop or beside it: the defect comes out, slot and key are free."""
    monkeypatch.setattr(encoding, "HEAVY_BYTES", -1 if heavy else 1 << 20)
    world = World(adapter=FaultyEncoder())
    with pytest.raises(EncodingError):
        await complete(world)
    assert world.held == 0


class SlowEncoder(OpenAIAdapter):
    """Takes its time."""

    def encode(self, request: ChatRequest, provider: str, model: str, *, stream: bool) -> WireCall:
        time.sleep(0.2)
        return super().encode(request, provider, model, stream=stream)


@pytest.mark.parametrize("by", ["caller", "deadline"])
async def test_a_call_that_ends_while_it_is_encoded_holds_nothing(by: str) -> None:
    """Encoding beside the loop cannot be stopped, but slot and key are given back at once, and nothing is sent."""
    world = World(adapter=SlowEncoder())
    world.upstream.answers(Said.WHOLE)
    picture = MediaPart("image/png", data=bytes(encoding.HEAVY_BYTES + 1))
    request = ChatRequest("default", (Message(Role.USER, (picture,)),), "r1")
    task = asyncio.ensure_future(world.engine.complete(request, world.scope(0.05 if by == "deadline" else None)))
    await asyncio.sleep(0.02)
    assert world.held > 0
    if by == "caller":
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        with pytest.raises(CallFailedError, match="DEADLINE"):
            await task
    assert world.held == 0
    await asyncio.sleep(0.3)
    assert world.upstream.sent == []


async def test_a_deadline_ends_a_backoff_or_rules_it_out() -> None:
    """A retry that fits no more is not waited for: the provider's failure is told at once."""
    world = World()
    world.upstream.answers(b"", status=503, **{"retry-after": "5"})
    began_at = time.monotonic()
    with pytest.raises(CallFailedError) as raised:
        await world.engine.complete(world.request(), world.scope(1.0))
    assert time.monotonic() - began_at < 0.5
    assert raised.value.failure.reason is Reason.UPSTREAM_EXHAUSTED
    assert world.held == 0


@pytest.mark.parametrize("ended_by", ["abort", "cancel", "deadline"])
async def test_a_call_that_ends_in_its_backoff(ended_by: str) -> None:
    """It holds nothing while it waits, and its end comes at once."""
    world = World(policy=AliasPolicy(max_attempts=2))
    world.upstream.answers(b"", status=503, **{"retry-after": "20"})
    scope = world.scope(30.0)
    task = asyncio.ensure_future(world.engine.complete(world.request(), scope))
    while world.held or not world.upstream.sent:  # noqa: ASYNC110  the transport has no event, and the test a time limit
        await asyncio.sleep(0.001)
    began_at = time.monotonic()
    if ended_by == "cancel":
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        reason = Reason.SERVER_DRAINING if ended_by == "abort" else Reason.DEADLINE
        scope.abort(reason)
        with pytest.raises(CallFailedError, match=reason.value):
            await task
    assert time.monotonic() - began_at < 1.0
    assert world.held == 0


async def test_candidates_that_were_passed_over_are_told_as_skipped() -> None:
    """The keys of the first target cool: the second serves, and the route says why."""
    world = World(models=(("m", "n"),), gate=GateLimits(max_in_flight=5))
    world.upstream.answers(b"", status=429, **{"retry-after": "60"})
    world.upstream.answers(b"", status=429, **{"retry-after": "60"})
    world.upstream.answers(Said.WHOLE)
    first = await complete(world)
    assert [entry.why for entry in first.attempts] == [Why.FIRST, Why.KEY_WALK, Why.FAILOVER]
    assert first.route.skipped == ()
    answers = [await complete(world) for _ in range(2)]
    assert all(len(answer.attempts) == 1 for answer in answers)
    # Weighted turns: one of the two began at the cooling target.
    skipped = [entry for answer in answers for entry in answer.route.skipped]
    assert [(entry.target.model, entry.reason) for entry in skipped] == [("m", "RATE_LIMITED")]


@pytest.mark.parametrize("policy", list(Policy))
async def test_keys_that_are_all_rejected(policy: Policy) -> None:
    """Each key is asked once; then the call fails fast, each time alike, or goes to the next target."""
    world = World(models=(("m",), ("n",)), policy=AliasPolicy(on_key_rejected=policy))
    world.upstream.answers(b"", status=401)
    for sent in (2, 2):
        failure = (await failure_of(world)).failure
        assert failure.reason is Reason.UPSTREAM_CREDENTIALS
        assert len(world.upstream.sent) == sent
        # The time of the probe, whether this call found the keys rejected or got them rejected.
        assert failure.retry_after_s is not None
        assert 50 < failure.retry_after_s < 70


async def test_a_body_that_breaks_is_tried_again() -> None:
    """Nothing was committed: a truncated answer is invisible but for its summary."""
    world = World()
    broken = world.upstream.answers(Said.WHOLE[:20], BrokenBodyError("lost"))
    world.upstream.answers(Said.WHOLE)
    done = await complete(world)
    assert done.attempts[0].failure is not None
    assert done.attempts[0].failure.failure_class is FailureClass.TRUNCATED
    assert broken.closed
