"""Orders, requests and routes files of every kind of wrongness: typed errors, flat memory, a server that goes on."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from tests.e2e.conftest import ENVIRONMENT, ROUTES, ask
from tests.e2e.serving import Served, serve
from tests.e2e.wire_fuzz import NASTY_TEXTS, Mutator

from trunkline import failure_of
from trunkline.v1 import (
    OVERRIDE_MODE_CLEAR,
    OVERRIDE_MODE_DRAIN,
    AdminServiceStub,
    CanaryGuard,
    GetRoutesRequest,
    GetStatusRequest,
    ListRouteVersionsRequest,
    OverrideKeyRequest,
    OverrideTargetRequest,
    PlanRoutesRequest,
    ReloadRoutesRequest,
    RollbackRoutesRequest,
)

if TYPE_CHECKING:
    from google.protobuf.message import Message as ProtoMessage

    from trunkline.v1 import AdminServiceAsyncStub

Sized = Callable[..., int]

COMPLETION: Final = "/trunkline.v1.CompletionService/"
ADMIN: Final = "/trunkline.v1.AdminService/"

SPARE = """  spare:
    protocol: openai
    base_url: {base}
    keys: [{{id: s, secret: env:TWO_C_API_KEY}}]
aliases:
"""
"""A provider that no call needs, for operators to take out of service."""

WITH_SPARE = ROUTES.replace("aliases:\n", SPARE)

TTL = Duration(seconds=1)

ORDERS: Final[dict[str, list[ProtoMessage]]] = {
    "GetRoutes": [GetRoutesRequest(), GetRoutesRequest(version=1)],
    "ListRouteVersions": [ListRouteVersionsRequest(page_size=3), ListRouteVersionsRequest(page_size=100)],
    "RollbackRoutes": [RollbackRoutesRequest(to_version=1, reason="fuzz", if_match_etag="1-x", dry_run=True)],
    "GetStatus": [GetStatusRequest()],
    "OverrideTarget": [
        OverrideTargetRequest(target="spare/model", mode=OVERRIDE_MODE_DRAIN, ttl=TTL, reason="fuzz"),
        OverrideTargetRequest(target="spare/model", mode=OVERRIDE_MODE_CLEAR),
    ],
    "OverrideKey": [
        OverrideKeyRequest(provider="spare", key_id="s", mode=OVERRIDE_MODE_DRAIN, ttl=TTL, reason="fuzz"),
    ],
    "ReloadRoutes": [
        ReloadRoutesRequest(source=ROUTES, dry_run=True, if_match_etag="1-x", reason="fuzz", request_id="r-1"),
        ReloadRoutesRequest(
            source=ROUTES,
            canary_fraction=0.5,
            guard=CanaryGuard(window=TTL, error_ratio=0.1, first_token_ratio=2.0),
            dry_run=True,
        ),
    ],
}
"""What operators say, but for what ends the server or the test: valid, to be damaged."""


def damaged(text: str, rng: random.Random) -> str:
    """Return a routes file with some of its lines or characters not as they were."""
    lines = text.splitlines(keepends=True)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines))
        line = lines[at]
        match rng.randrange(7):
            case 0:
                del lines[at]
                lines = lines or ["\n"]
            case 1:
                lines.insert(at, rng.choice(lines))
            case 2:
                lines[at] = "  " + line
            case 3:
                cut = rng.randrange(len(line))
                lines[at] = line[:cut] + rng.choice("{}[]:,&*!|>'\"%@`\t#-?\0é\u202e") + line[cut:]
            case 4:
                lines[at] = line.rstrip("\n")[: rng.randrange(len(line))] + "\n"
            case 5:
                key, colon, _ = line.partition(":")
                lines[at] = f"{key}{colon} {rng.choice(NASTY_TEXTS)[:200]}\n"
            case _:
                lines[at] = line.replace(rng.choice(line), rng.choice("019azAZ-. "))
    return "".join(lines)


def resident_kib(pid: int) -> int:
    """Return how much memory the process holds."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


async def raw_call(channel: Any, path: str, payload: bytes) -> grpc.aio.AioRpcError | None:
    """Send bytes as they are; a stream is read to its end."""
    try:
        if path.endswith(("StreamComplete", "ResumeStream")):
            async for _ in channel.unary_stream(path)(payload, timeout=20):
                pass
        else:
            await channel.unary_unary(path)(payload, timeout=20)
    except grpc.aio.AioRpcError as error:
        return error
    return None


class Damage:
    """Draws the next thing to send: where to, and what."""

    def __init__(self, document: str, rng: random.Random) -> None:
        self._document = document
        self._rng = rng
        self._calls = Mutator(rng)
        self._orders = {name: Mutator(rng, valid) for name, valid in ORDERS.items()}

    def next(self) -> tuple[str, bytes]:
        """Return an RPC's path and a payload."""
        rng = self._rng
        match rng.randrange(3):
            case 0:
                method = rng.choice(["Complete", "StreamComplete", "Explain", "ListModels", "ResumeStream"])
                return COMPLETION + method, self._calls.next()[1]
            case 1:
                method = rng.choice(list(self._orders))
                return ADMIN + method, self._orders[method].next()[1]
            case _:
                source = damaged(self._document, rng)
                # Every tenth is for good.
                order: ProtoMessage = PlanRoutesRequest(source=source)
                if rng.random() < 0.5:
                    order = ReloadRoutesRequest(source=source, dry_run=rng.random() < 0.8, reason="fuzz")
                return ADMIN + type(order).__name__.removesuffix("Request"), order.SerializeToString()


async def still_serves(running: Served, admin: AdminServiceAsyncStub, document: str) -> None:
    """Put the routes back as they were, whatever was published meanwhile, and make a call."""
    await admin.ReloadRoutes(ReloadRoutesRequest(source=document, reason="back"), timeout=20)
    await running.stub.Complete(ask(), timeout=20)


@pytest.mark.timeout(900)
async def test_everything_that_is_wrong_is_told_as_such(tmp_path: Path, sized: Sized, rng: random.Random) -> None:
    """100,000 mutated messages of callers and operators and routes files: typed errors only, memory that stays flat."""
    count = sized(full=100_000, gate=2_000)
    flags = ("--data-dir", str(tmp_path / "data"), "--log-level", "error")
    endings: dict[str, int] = {}
    weighed: list[int] = []
    async with serve(tmp_path, WITH_SPARE, *flags, environ=ENVIRONMENT) as running:
        document = WITH_SPARE.format(base=running.simulator.base_url)
        admin: AdminServiceAsyncStub = AdminServiceStub(running.admin_channel)
        damage = Damage(document, rng)
        for number in range(count):
            path, payload = damage.next()
            channel = running.admin_channel if path.startswith(ADMIN) else running.channel
            error = await raw_call(channel, path, payload)
            ending = "OK" if error is None else failure_of(error).reason or f"untyped {error.code().name}"
            endings[ending] = endings.get(ending, 0) + 1
            assert error is None or error.code() not in {
                grpc.StatusCode.UNKNOWN,
                grpc.StatusCode.INTERNAL,
                grpc.StatusCode.DEADLINE_EXCEEDED,
            }, (number, path, payload, failure_of(error))
            if number % (count // 20) == count // 20 - 1:
                await still_serves(running, admin, document)
                weighed.append(resident_kib(running.process.pid))
        running.signal()
        assert await running.ended() == 0
    mib = [kib // 1024 for kib in weighed]
    print(f"\n{count} mutated messages and documents: {endings}; resident MiB after each twentieth: {mib}")
    assert not [ending for ending in endings if ending.startswith("untyped")], endings
    assert endings["OK"] > count // 50
    assert endings["BAD_REQUEST"] > count // 10
    # The first quarter warms up: caches, bounded histories, the allocator's own.
    assert weighed[-1] <= weighed[4] * (1.1 if count == 100_000 else 1.3)
    assert not [line for line in running.log if "Traceback" in line or '"exception"' in line]
