"""A schedule of calls played by the clock, what became of each, and when the provider saw it."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import grpc
from tests.e2e.conftest import ask

from trunkline import failure_of
from trunkline.v1 import RoutingOptions

if TYPE_CHECKING:
    from random import Random

    from trunkline.v1 import AttemptSummary, CompletionServiceAsyncStub
    from trunkline_server.simulator.server import Simulator
    from trunkline_server.simulator.stats import RecordedRequest

ANSWER_TOKENS: Final = 1
"""What each call may be answered at most: all weigh the same in the queue."""


@dataclass(slots=True, eq=False)
class Timed:
    """One call: when it is due, what it asks for, and its story. Times without a name are of the monotonic clock."""

    due_s: float
    """After the start of the schedule."""
    text: str
    """The user's message; the provider sees it, so it is the call's name."""
    deadline_s: float = 30.0
    stream: bool = False
    token: str = ""
    """Of the caller; empty: none is sent."""
    criticality: int = 0
    began_at: float = 0.0
    ended_at: float = 0.0
    code: grpc.StatusCode | None = None
    """None: it has not ended, or was given up with the schedule."""
    reason: str = ""
    retry_after_s: float | None = None
    attempts: int = 0
    """Upstream calls that were made for it, as its books say."""
    queued_s: float = 0.0
    """How long the attempt that served it waited for slot and key, as its books say."""

    @property
    def served(self) -> bool:
        """Whether its caller got a whole answer."""
        return self.code is grpc.StatusCode.OK

    @property
    def deadline_at(self) -> float:
        """When its caller's patience ends."""
        return self.began_at + self.deadline_s

    @property
    def back_at(self) -> float:
        """When it may come back, as it was told."""
        assert self.retry_after_s is not None, f"{self.text}: {self.code} {self.reason} without a time to stay away"
        return self.ended_at + self.retry_after_s


@dataclass(slots=True)
class Schedule:
    """Plays calls: each begins when it is due, whether those before it have ended or not."""

    stub: CompletionServiceAsyncStub
    calls: Sequence[Timed]
    began_at: float = 0.0
    late_s: float = 0.0
    """By how much a call began too late, at most: more than a little, and the machine has too little time for this."""
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def offer(self) -> float:
        """Begin all calls in time; return when the last one was begun. Many of them are still under way then."""
        self.began_at = time.monotonic()
        for call in sorted(self.calls, key=lambda call: call.due_s):
            due_at = self.began_at + call.due_s
            if due_at > time.monotonic():
                await asyncio.sleep(due_at - time.monotonic())
            self.late_s = max(self.late_s, time.monotonic() - due_at)
            self._tasks.append(asyncio.ensure_future(self._make(call)))
        return time.monotonic()

    async def rest(self) -> None:
        """Wait until every call has ended."""
        await asyncio.gather(*self._tasks)

    async def give_up(self) -> None:
        """Cancel what is still under way, as a caller that loses interest does."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def lateness(self) -> str:
        """Say how well the load kept to the clock."""
        return f"begun {self.late_s * 1000:.0f} ms late at most"

    async def _make(self, call: Timed) -> None:
        request = ask(call.text, routing=RoutingOptions(criticality=call.criticality))  # type: ignore[arg-type]
        request.sampling.max_output_tokens = ANSWER_TOKENS
        metadata = (("authorization", f"Bearer {call.token}"),) if call.token else ()
        call.began_at = time.monotonic()
        attempts: Sequence[AttemptSummary] = ()
        try:
            if call.stream:
                async for frame in self.stub.StreamComplete(request, timeout=call.deadline_s, metadata=metadata):
                    if frame.HasField("end"):
                        attempts = frame.end.attempts
            else:
                attempts = (await self.stub.Complete(request, timeout=call.deadline_s, metadata=metadata)).attempts
        except grpc.aio.AioRpcError as error:
            told = failure_of(error)
            call.code, call.reason, call.retry_after_s = error.code(), told.reason, told.retry_after_s
            attempts = () if told.route_failure is None else told.route_failure.attempts
        else:
            call.code, call.queued_s = grpc.StatusCode.OK, attempts[-1].queued.ToTimedelta().total_seconds()
        call.ended_at, call.attempts = time.monotonic(), len(attempts)


def poisson(rng: Random, per_s: float, seconds: float) -> Iterator[float]:
    """Yield random times at this rate."""
    at = rng.expovariate(per_s)
    while at < seconds:
        yield at
        at += rng.expovariate(per_s)


def evenly(per_s: float, calls: int) -> Iterator[float]:
    """Yield so many times at this pace."""
    return (number / per_s for number in range(calls))


def quantile(values: Iterable[float], share: float) -> float:
    """Return the value that so much of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def remember_all(simulator: Simulator) -> deque[RecordedRequest]:
    """Have the simulator keep every request from now on, not only the last few, and return them, live."""
    kept: deque[RecordedRequest] = deque()
    simulator.stats.last_requests = kept
    return kept


def arrivals(records: Iterable[RecordedRequest]) -> dict[str, float]:
    """Return when the provider saw each call first, by the call's text."""
    seen: dict[str, float] = {}
    for record in records:
        seen.setdefault(record.json["messages"][-1]["content"], record.at_monotonic_s)
    return seen


def one_provider(
    keys: Sequence[dict[str, Any]], gate: dict[str, Any], callers: Sequence[dict[str, Any]] = ()
) -> tuple[str, dict[str, str]]:
    """Return routes with one target, and the environment with the secret `sk-ID` of each of its keys."""
    named = {key["id"]: f"ONE_{key['id'].upper()}_API_KEY" for key in keys}
    document = {
        "version": 1,
        "providers": {
            "one": {
                "protocol": "openai",
                "base_url": "BASE",
                "gate": gate,
                "keys": [{**key, "secret": f"env:{named[key['id']]}"} for key in keys],
            }
        },
        "aliases": {"default": {"tiers": [["one/primary"]]}},
        "callers": list(callers),
    }
    # JSON is YAML; the fixture fills in `{base}`, so all other braces are doubled.
    text = json.dumps(document).replace("{", "{{").replace("}", "}}").replace("BASE", "{base}")
    return text, {name: f"sk-{key}" for key, name in named.items()}
