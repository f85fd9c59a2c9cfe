"""How everything is at one moment: targets, keys, gates, this process. Collected anew each time it is asked for."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from trunkline_server.control.overrides import KeyId, Overrides
from trunkline_server.control.running import Running
from trunkline_server.control.status_books import StatusBooks
from trunkline_server.control.types import (
    CanaryState,
    GateState,
    KeyState,
    Rejection,
    RouteVersion,
    Status,
    TargetState,
    WorkerState,
)
from trunkline_server.engine.provider import LiveProvider
from trunkline_server.routing.clock import Clock
from trunkline_server.routing.key_spec import KeyView
from trunkline_server.routing.types import TargetId

_MEDIAN = 50.0
_P95 = 95.0


@dataclass(frozen=True, slots=True)
class Sources:
    """What a status is put together from. `routes` and `canary` are the publisher's; `phase` is the process's."""

    running: Running
    books: StatusBooks
    overrides: Overrides
    routes: Callable[[], RouteVersion]
    canary: Callable[[], CanaryState | None]
    last_rejected: Callable[[], Rejection | None]
    phase: Callable[[], str]
    """`ready` or `draining`."""
    in_flight: Callable[[], int]
    """Calls that this process serves."""
    started_at: float
    """Unix seconds."""
    clock: Clock = time.monotonic
    unix_clock: Callable[[], float] = time.time


def collect(sources: Sources) -> Status:
    """Return how everything is. O(targets + keys); secrets are nowhere near."""
    providers = sources.running.providers
    return Status(
        at=sources.unix_clock(),
        routes=sources.routes(),
        targets=_targets(sources, providers),
        keys=_keys(sources, providers),
        gates=tuple(_gate(name, provider) for name, provider in providers.items()),
        workers=(_worker(sources),),
        failovers=sources.books.failovers(),
        canary=sources.canary(),
        last_rejected=sources.last_rejected(),
    )


def _targets(sources: Sources, providers: Mapping[str, LiveProvider]) -> tuple[TargetState, ...]:
    """Return every target that an alias names, and those besides of which an operator said something."""
    named = {target: aliases for target, aliases in sources.running.targets.items() if aliases}
    named.update({target: () for target in sources.overrides.targets if target not in named})
    return tuple(
        _target(sources, target, aliases, providers[target.provider])
        for target, aliases in named.items()
        if target.provider in providers
    )


def _target(sources: Sources, target: TargetId, aliases: tuple[str, ...], provider: LiveProvider) -> TargetState:
    health = provider.health_of(target.model)
    attempts, success_ratio = sources.books.of(target)
    first_content = None if health.latency is None else health.latency.first_content
    return TargetState(
        target.provider,
        target.model,
        aliases,
        "" if health.circuit is None else health.circuit.state.value,
        0 if health.load is None else health.load.in_flight,
        attempts,
        success_ratio,
        None if first_content is None else first_content.quantile(_MEDIAN),
        None if first_content is None else first_content.quantile(_P95),
        sources.overrides.of(target),
    )


def _keys(sources: Sources, providers: Mapping[str, LiveProvider]) -> tuple[KeyState, ...]:
    # What the pool tells in its own clock's time becomes a time that others can read.
    ahead_s = sources.unix_clock() - sources.clock()
    return tuple(
        _key(sources, name, view, ahead_s) for name, provider in providers.items() for view in provider.pool.states()
    )


def _key(sources: Sources, provider: str, view: KeyView, ahead_s: float) -> KeyState:
    override = sources.overrides.of(KeyId(provider, view.id))
    until = None if view.until is None else view.until + ahead_s
    return KeyState(
        provider,
        view.id,
        view.status.value,
        until if override is None else override.until,
        view.in_flight,
        view.max_in_flight,
        None if view.room_requests is None else math.floor(view.room_requests),
        None if view.room_tokens is None else math.floor(view.room_tokens),
        view.quota_group or "",
        view.weight,
        override,
    )


def _gate(name: str, provider: LiveProvider) -> GateState:
    gate = provider.desk.gate
    return GateState(name, gate.in_flight, gate.limit, gate.waiting, gate.limits.queue)


def _worker(sources: Sources) -> WorkerState:
    return WorkerState(
        0, os.getpid(), sources.phase(), sources.in_flight(), sources.running.version, sources.started_at
    )
