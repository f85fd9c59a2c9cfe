"""Routes under control in a test: a server that only writes down what it is told, a file in memory, time by hand."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trunkline_server.config.pause import Pause
from trunkline_server.config.routes import LoadedRoutes
from trunkline_server.config.secrets import SecretResolver
from trunkline_server.control.audit import Audit
from trunkline_server.control.routes import RoutesControl
from trunkline_server.control.routes_reading import Fence
from trunkline_server.control.store import Store
from trunkline_server.control.store_disk import Disk
from trunkline_server.control.types import Actor, ReloadOrder, RoutesEvent
from trunkline_server.engine.outcome import CallOutcome

ADMIN = Actor("alice", "127.0.0.1:1000")
START_S = 1_700_000_000.0
SECRET = "sk-canary-4f9a8b7c6d5e4f3a"  # noqa: S105  it is to be found nowhere

_TEXT = """\
version: 1
providers:
  openai:
    protocol: openai
    base_url: https://api.openai.com/v1
    keys: [{{id: a, secret: "env:OPENAI_API_KEY", weight: {weight}}}]
aliases: {{default: {{tiers: [[openai/gpt-4o-mini]]}}}}
"""
BAD = b"version: 1\nproviders: {}\naliases: {default: {tiers: [[openai/x]]}}\nweihgt: 1\n"


def document(weight: int) -> bytes:
    return _TEXT.format(weight=weight).encode()


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


class FakeLive:
    """The running server: what is prepared is the document's hash."""

    def __init__(self) -> None:
        self.published: list[tuple[str, int]] = []
        self.trial: tuple[str, int, float] | None = None
        self.fails = False

    def prepare(self, routes: LoadedRoutes, pause: Pause) -> str:  # noqa: ARG002  as `Live` has it
        return routes.sha256

    def publish(self, prepared: str, version: int) -> None:
        if self.fails:
            raise RuntimeError("a fault of ours")
        self.published.append((prepared, version))
        self.trial = None

    def begin_trial(self, prepared: str, version: int, fraction: float) -> None:
        self.trial = prepared, version, fraction

    def end_trial(self) -> None:
        self.trial = None

    @property
    def running(self) -> tuple[str, int]:
        return self.published[-1]


class FakeSource:
    """The routes file; None: it can't be read."""

    name = "routes.yaml"

    def __init__(self, raw: bytes | None) -> None:
        self.raw = raw

    def read(self) -> bytes:
        if self.raw is None:
            raise PermissionError(13, "Permission denied")
        return self.raw


class Lines:
    """The log."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, dict[str, Any]]] = []

    def _say(self, level: str, event: str, fields: dict[str, Any]) -> None:
        self.said.append((level, event, fields))

    def debug(self, event: str, **fields: Any) -> None:
        self._say("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._say("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._say("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._say("error", event, fields)

    def is_enabled_for(self, level: int) -> bool:
        return level >= 0

    def write_line(self, line: bytes) -> None:
        self.said.append(("line", line.decode(), {}))

    def of(self, event: str) -> list[dict[str, Any]]:
        return [fields for _, said, fields in self.said if said == event]


class HandTime:
    """Time that a test moves: a clock, and sleeps that end when it has passed them."""

    def __init__(self) -> None:
        self.now_s = START_S
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        event = asyncio.Event()
        self._sleepers.append((self.now_s + seconds, event))
        await event.wait()

    def advance(self, seconds: float) -> None:
        self.now_s += seconds
        for until, event in self._sleepers:
            if until <= self.now_s:
                event.set()


@dataclass
class House:
    """A process: a second one on the same directory is a restart."""

    source: FakeSource
    directory: Path | None = None
    fence: Fence | None = None
    environ: dict[str, str] = field(default_factory=lambda: {"OPENAI_API_KEY": SECRET})
    disk: Disk = field(default_factory=Disk)
    time: HandTime = field(default_factory=HandTime)

    def __post_init__(self) -> None:
        self.live = FakeLive()
        self.lines = Lines()
        self.heard: list[RoutesEvent] = []
        self.store = Store(self.directory, self.disk)
        self.audit = Audit(self.directory, self.lines, clock=self.time, disk=self.disk)
        self.control: RoutesControl[str] = RoutesControl(
            self.live,
            self.store,
            self.source,
            SecretResolver(Path("/nonexistent"), frozenset(), self.environ),
            audit=self.audit,
            log=self.lines,
            fence=self.fence,
            clock=self.time,
            sleep=self.time.sleep,
            on_event=self.heard.append,
        )

    async def close(self) -> None:
        await self.control.aclose()
        self.store.close()

    async def send(self, raw: bytes | None, **order: Any) -> int:
        """Reload as an admin; return the version."""
        return (await self.control.reload(ReloadOrder(raw, **order), ADMIN)).version.version


async def started(raw: bytes | None = None, **settings: Any) -> House:
    house = House(FakeSource(document(1) if raw is None else raw), **settings)
    await house.control.start()
    return house


async def until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Wait until something is so; what it depends on happens in threads and tasks of the loop."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  what is waited for has no event of its own
            await asyncio.sleep(0.001)


def outcome(version: int, *, failed: bool = False, first_content_s: float | None = None) -> CallOutcome:
    return CallOutcome(
        version,
        "default",
        "default",
        "anonymous",
        streams=first_content_s is not None,
        failed=failed,
        first_content_s=first_content_s,
        attempts=(),
    )
