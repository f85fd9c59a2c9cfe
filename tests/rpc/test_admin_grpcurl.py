"""`grpcurl` against the admin port: every RPC by reflection, with no files of ours in its hands."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.rpc.admin_room import serving_admin
from tests.rpc.test_roles import ADMINS, OPERATOR, VIEWER

SERVICE = "trunkline.v1.AdminService"
PERMISSION_DENIED, UNAUTHENTICATED = 64 + 7, 64 + 16
"""grpcurl exits with 64 + the status code."""

CALLS: dict[str, tuple[dict[str, Any], str]] = {
    "GetRoutes": ({"version": 7}, "document"),
    "PlanRoutes": ({"source": "version: 1"}, "changes"),
    "ReloadRoutes": (
        {"source": "version: 1", "canary_fraction": 0.1, "guard": {"window": "30s", "error_ratio": 0.1}},
        "version",
    ),
    "RollbackRoutes": ({"to_version": "3"}, "version"),
    "ListRouteVersions": ({"page_size": 5}, "versions"),
    "GetStatus": ({}, "targets"),
    "OverrideTarget": ({"target": "a/b", "mode": "OVERRIDE_MODE_DRAIN", "ttl": "600s"}, "override"),
    "OverrideKey": ({"provider": "a", "key_id": "b", "mode": "OVERRIDE_MODE_DISABLE", "ttl": "60s"}, "override"),
    "Drain": ({"grace": "5s"}, "in_flight"),
}
WATCHES = {"WatchRoutes": "bookmark", "WatchStatus": "status"}

Find = Callable[[str], str]


async def grpcurl(path: str, *arguments: str) -> tuple[int, str]:
    """Run grpcurl without encryption; return how it exited, and all that it said."""
    process = await asyncio.create_subprocess_exec(
        path, "-plaintext", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), 30)
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode or 0, out.decode()


def as_admin(token: str) -> tuple[str, str]:
    return "-H", f"authorization: Bearer {token}"


@pytest.mark.parametrize("method", CALLS)
async def test_grpcurl_calls_every_rpc(program: Find, method: str) -> None:
    """Each RPC with one answer is called by its name and JSON alone."""
    data, told = CALLS[method]
    async with serving_admin(admins=ADMINS) as served:
        code, out = await grpcurl(
            program("grpcurl"), *as_admin(OPERATOR), "-d", json.dumps(data), served.address, f"{SERVICE}/{method}"
        )
    assert code == 0, out
    assert told in json.loads(out)
    assert len(served.room.asked) == 1


@pytest.mark.parametrize("method", WATCHES)
async def test_grpcurl_watches(program: Find, method: str) -> None:
    """A watch is read until the deadline that grpcurl was given."""
    async with serving_admin(admins=ADMINS) as served:
        _, out = await grpcurl(
            program("grpcurl"), *as_admin(VIEWER), "-max-time", "1", served.address, f"{SERVICE}/{method}"
        )
    assert WATCHES[method] in out
    assert "DeadlineExceeded" in out


async def test_grpcurl_finds_the_service_and_its_methods(program: Find) -> None:
    """Reflection lists the admin service with all of its RPCs to every admin, health with it, and to nobody else."""
    async with serving_admin(admins=ADMINS) as served:
        path = program("grpcurl")
        _, services = await grpcurl(path, *as_admin(VIEWER), served.address, "list")
        _, methods = await grpcurl(path, *as_admin(VIEWER), served.address, "list", SERVICE)
        refused, _ = await grpcurl(path, served.address, "list")
    assert {SERVICE, "grpc.health.v1.Health", "grpc.channelz.v1.Channelz"} <= set(services.split())
    assert set(methods.split()) == {f"{SERVICE}.{name}" for name in (*CALLS, *WATCHES)}
    assert refused != 0


@pytest.mark.parametrize(
    ("headers", "told", "expected"),
    [((), "Unauthenticated", UNAUTHENTICATED), (as_admin(VIEWER), "PermissionDenied", PERMISSION_DENIED)],
)
async def test_grpcurl_shows_who_may_not(program: Find, headers: tuple[str, ...], told: str, expected: int) -> None:
    """A refusal reaches the shell as its status, with the reason in its details."""
    async with serving_admin(admins=ADMINS) as served:
        # Reflection with a token of its own, so that it is the call that is refused.
        reflecting = ("-reflect-header", f"authorization: Bearer {VIEWER}")
        rpc = tuple(part.replace("-H", "-rpc-header") for part in headers)
        code, out = await grpcurl(program("grpcurl"), *reflecting, *rpc, served.address, f"{SERVICE}/Drain")
    assert code == expected, out
    assert told in out
