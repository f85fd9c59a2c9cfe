"""One request asked both ways: what Explain says of it, and how it then goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from trunkline import failure_of
from trunkline.v1 import AttemptSummary, CompleteRequest, RouteExplanation, RouteInfo, Usage

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateway

    from trunkline import CallFailure

Candidate = RouteExplanation.Candidate


@dataclass(frozen=True)
class Routed:
    """How a request went, and what Explain had said of it just before."""

    explained: dict[str, Candidate]
    """By `provider/model`, in Explain's order."""
    route: RouteInfo
    attempts: list[AttemptSummary]
    usage: Usage
    warnings: dict[str, str]
    """Codes with the fields that they concern."""

    @property
    def served(self) -> str:
        """Who served, as `provider/model`."""
        return name_of(self.route.served_by)

    @property
    def order(self) -> list[str]:
        """Who may serve by Explain, in order."""
        return order_of(self.explained)


def name_of(target: Any) -> str:
    return f"{target.provider}/{target.model}"


def order_of(explained: dict[str, Candidate]) -> list[str]:
    return [name for name, candidate in explained.items() if candidate.eligible]


async def explain(running: Gateway, request: CompleteRequest, **call: Any) -> dict[str, Candidate]:
    """Return Explain's candidates by `provider/model`; their order must be that of their numbers, those out behind."""
    explanation = await running.stub.Explain(request, **call)
    places = [candidate.order for candidate in explanation.candidates if candidate.order]
    assert places == list(range(1, len(places) + 1))
    for candidate in explanation.candidates:
        assert candidate.eligible == (not candidate.removed_because)
    return {name_of(candidate.target): candidate for candidate in explanation.candidates}


async def routed(running: Gateway, request: CompleteRequest, *, stream: bool = False, **call: Any) -> Routed:
    """Explain a request, then make it; the first attempt goes to whom Explain put first."""
    explained = await explain(running, request, **call)
    if stream:
        frames, error = await running.frames(request, **call)
        assert error is None
        end, warnings = frames[-1].end, frames[0].started.warnings
        found = Routed(explained, end.route, list(end.attempts), end.usage, {w.code: w.field for w in warnings})
    else:
        response = await running.stub.Complete(request, **call)
        told = {warning.code: warning.field for warning in response.warnings}
        found = Routed(explained, response.route, list(response.attempts), response.usage, told)
    assert name_of(found.attempts[0].target) == found.order[0]
    return found


async def refused(running: Gateway, request: CompleteRequest, **call: Any) -> CallFailure:
    """Return how a request fails that has to."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await running.stub.Complete(request, **call)
    return failure_of(raised.value)


async def until(holds: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait for what the gateway's inside comes to without telling anybody."""
    async with asyncio.timeout(timeout_s):
        while not holds():  # noqa: ASYNC110  a queue tells nobody who came
            await asyncio.sleep(0.002)
