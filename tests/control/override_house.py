"""Running routes to say something of: real providers, put together from a document, on a clock that stands."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trunkline_server.compile import prepare
from trunkline_server.config.routes import LoadedRoutes, parse_routes
from trunkline_server.config.secrets import SecretResolver
from trunkline_server.control.audit import Audit
from trunkline_server.control.overrides import Overrides
from trunkline_server.control.running import Running
from trunkline_server.control.status_books import StatusBooks
from trunkline_server.control.types import Actor, Override, OverrideMode, OverrideOrder
from trunkline_server.engine.outcome import AttemptOutcome, CallOutcome
from trunkline_server.engine.provider import LiveProvider
from trunkline_server.live import LiveRoutes
from trunkline_server.routing.clock import ManualClock

ROUTES = """
version: 1
providers:
  one:
    protocol: openai
    base_url: http://127.0.0.1:9/v1
    keys:
      - {id: a, secret: env:A_API_KEY, requests_per_minute: 600, tokens_per_minute: 6000, quota_group: org}
      - {id: b, secret: env:B_API_KEY, weight: 3, max_in_flight: 4}
    gate: {max_in_flight: 2, queue: 8}
  two: {protocol: openai, base_url: "http://127.0.0.1:9"}
models:
  one/bare: {context_tokens: 10}
aliases:
  default: {tiers: [{targets: [one/m, two/m]}]}
  cheap: {tiers: [{targets: [one/small]}, {targets: [one/m]}]}
"""
UNIX_S = 1_800_000_000.0
ALICE = Actor("alice", "127.0.0.1:5")


class Lines:
    """A log that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def say(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    debug = info = warning = error = say

    def is_enabled_for(self, level: int) -> bool:
        return level >= 0

    def write_line(self, line: bytes) -> None:
        raise AssertionError(line)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for a condition, for 5 s at most."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110  what is waited for tells nobody
            await asyncio.sleep(0.002)


def called(*attempts: AttemptOutcome, model: str = "default") -> CallOutcome:
    """Return a call that made these attempts, the last of which decides how it ended."""
    failed = not attempts or attempts[-1].failure_class is not None
    return CallOutcome(
        1, "", model, "shop", streams=False, failed=failed, first_content_s=None, attempts=tuple(attempts)
    )


@dataclass
class House:
    """Everything that overrides and a status look at. To be made on the event loop."""

    directory: Path
    clock: ManualClock = field(default_factory=lambda: ManualClock(5000.0))
    log: Lines = field(default_factory=Lines)

    def __post_init__(self) -> None:
        first = prepare(self.loaded(ROUTES))
        self.live = LiveRoutes(first, 1, clock=self.clock, rng=random.Random(1))
        self.running = Running(self.live.snapshots)
        self.books = StatusBooks(clock=self.clock, unix_clock=self.unix)
        self.audit = Audit(self.directory, self.log)
        self.overrides = Overrides(
            self.running,
            self.audit,
            self.log,
            seen=self.books.seen,
            clock=self.clock,
            unix_clock=self.unix,
        )
        self.live.provider_listeners.append(self.overrides.provider_changed)
        self.live.listeners.append(lambda _: self.overrides.reapply())

    def unix(self) -> float:
        return UNIX_S + self.clock()

    def loaded(self, text: str, **secrets: str) -> LoadedRoutes:
        known = {"A_API_KEY": "sk-canary-aaaaaaaa", "B_API_KEY": "sk-canary-bbbbbbbb"} | secrets
        return parse_routes(text, SecretResolver(self.directory, frozenset(), known), name="test")

    def publish(self, text: str, version: int = 2, **secrets: str) -> None:
        self.live.publish(prepare(self.loaded(text, **secrets)), version)

    def provider(self, name: str) -> LiveProvider:
        return self.running.providers[name]

    async def target(self, name: str, mode: OverrideMode, ttl_s: float | None = 60.0) -> Override | None:
        return await self.overrides.override_target(_order(name, mode, ttl_s), ALICE)

    async def key(self, name: str, mode: OverrideMode, ttl_s: float | None = 60.0) -> Override | None:
        return await self.overrides.override_key(_order(name, mode, ttl_s), ALICE)

    def audit_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.directory / "audit.jsonl").read_text().splitlines()]


def _order(name: str, mode: OverrideMode, ttl_s: float | None) -> OverrideOrder:
    provider, _, subject = name.partition("/")
    return OverrideOrder(provider, subject, mode, ttl_s, "because")
