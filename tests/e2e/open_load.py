"""Open-loop load: calls begin by the clock, whether those before them have ended or not, and the books of each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import grpc

from trunkline import failure_of

if TYPE_CHECKING:
    from trunkline.v1 import AttemptSummary, CompleteRequest, CompletionServiceAsyncStub

IN_FLIGHT_MOST: Final = 1000
"""More calls at a time are a pile-up that the drill is about to fail with, not load."""
CALL_TIMEOUT_S: Final = 10.0


@dataclass(slots=True)
class Offered:
    """One call: when it began, how it ended, and what was sent upstream for it."""

    stream: bool
    began_at: float
    took_s: float = 0.0
    code: grpc.StatusCode = grpc.StatusCode.OK
    targets: tuple[str, ...] = ()
    """Of its attempts, in order, as `provider/model`."""

    @property
    def succeeded(self) -> bool:
        """Whether its caller got a whole answer."""
        return self.code is grpc.StatusCode.OK


@dataclass(slots=True)
class OpenLoad:
    """Offers `per_s` calls a second, every other one a stream. Each call's books are complete after `rest`."""

    stub: CompletionServiceAsyncStub
    request: Callable[[int], CompleteRequest]
    per_s: float
    metadata: tuple[tuple[str, str], ...] = ()
    calls: list[Offered] = field(default_factory=list)
    """All calls, in the order in which they began."""
    late_s: float = 0.0
    """By how much a call began too late, at most: more than a little, and the machine has too little time for this."""
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _under_way: int = 0

    async def offer(self, seconds: float) -> list[Offered]:
        """Begin the calls of so many seconds, and return them; the last ones are still under way then."""
        first = len(self.calls)
        began_at = time.monotonic()
        for number in range(round(seconds * self.per_s)):
            # A loop that was held up begins what is overdue at once: the load does not give way.
            due_at = began_at + number / self.per_s
            await asyncio.sleep(due_at - time.monotonic())
            self.late_s = max(self.late_s, time.monotonic() - due_at)
            assert self._under_way < IN_FLIGHT_MOST, f"{self._under_way} calls are under way, {self.lateness}"
            self._begin()
        return self.calls[first:]

    @property
    def lateness(self) -> str:
        """Say how well the load kept to the clock."""
        return f"begun {self.late_s * 1000:.0f} ms late at most"

    async def rest(self) -> None:
        """Wait until every call has ended."""
        await asyncio.gather(*self._tasks)

    def _begin(self) -> None:
        number = len(self.calls)
        call = Offered(stream=number % 2 == 1, began_at=time.monotonic())
        self.calls.append(call)
        self._under_way += 1
        self._tasks.append(asyncio.ensure_future(self._make(self.request(number), call)))

    async def _make(self, request: CompleteRequest, call: Offered) -> None:
        try:
            attempts = await (self._streamed(request) if call.stream else self._whole(request))
        except grpc.aio.AioRpcError as error:
            call.code = error.code()
            told = failure_of(error).route_failure
            attempts = () if told is None else told.attempts
        finally:
            self._under_way -= 1
        call.took_s = time.monotonic() - call.began_at
        call.targets = tuple(f"{each.target.provider}/{each.target.model}" for each in attempts)

    async def _whole(self, request: CompleteRequest) -> Sequence[AttemptSummary]:
        return (await self.stub.Complete(request, timeout=CALL_TIMEOUT_S, metadata=self.metadata)).attempts

    async def _streamed(self, request: CompleteRequest) -> Sequence[AttemptSummary]:
        attempts: Sequence[AttemptSummary] = ()
        async for frame in self.stub.StreamComplete(request, timeout=CALL_TIMEOUT_S, metadata=self.metadata):
            if frame.HasField("end"):
                attempts = frame.end.attempts
        return attempts


def succeeded(calls: Iterable[Offered]) -> float:
    """Return the share of calls that succeeded."""
    ended = [call.succeeded for call in calls]
    return sum(ended) / len(ended)


def attempts_at(target: str, calls: Iterable[Offered]) -> int:
    """Return how often a target was called for these calls."""
    return sum(call.targets.count(target) for call in calls)


def attempts_for(calls: Iterable[Offered]) -> int:
    """Return how many upstream calls were made for these calls."""
    return sum(len(call.targets) for call in calls)


def quantile_ms(calls: Iterable[Offered], percent: int) -> float:
    """Return how long `percent` of these calls took at most, in milliseconds."""
    took_s = sorted(call.took_s for call in calls)
    return took_s[-(-len(took_s) * percent // 100) - 1] * 1000
