"""Keys, tokens and prompts are planted everywhere, and searched for in everything that operators are shown or left."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from tests.e2e.conftest import ask
from tests.e2e.serving import rest_of, serve
from tests.e2e.test_security import KEYS, PROMPT, TOKEN, error, wire_text

from trunkline import to_json
from trunkline.v1 import (
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
    WatchRoutesRequest,
    WatchStatusRequest,
)

if TYPE_CHECKING:
    from google.protobuf.message import Message as ProtoMessage

    from trunkline.v1 import AdminServiceAsyncStub

ADMIN_TOKEN: Final = "canary-admin-token-0815"  # noqa: S105  a test's own
VIEWER_TOKEN: Final = "canary-viewer-token-1234"  # noqa: S105  a test's own
ROTATED: Final = "canary rotated secret of a file 99"
CANARIES: Final = (*KEYS.values(), TOKEN, ADMIN_TOKEN, VIEWER_TOKEN, ROTATED, PROMPT, "canary-pasted")
AS_ADMIN: Final = (("authorization", f"Bearer {ADMIN_TOKEN}"),)


def digest(token: str) -> str:
    """Return what the routes file has in a token's place."""
    return hashlib.sha256(token.encode()).hexdigest()


ROUTES: Final = f"""
version: 1
providers:
  one:
    protocol: openai
    base_url: {{base}}
    keys:
      - {{{{id: a, secret: env:ONE_A_API_KEY}}}}
      - {{{{id: b, secret: env:ONE_B_API_KEY}}}}
      - {{{{id: f, secret: file:rotating.key}}}}
aliases:
  default: {{{{tiers: [[{{{{target: one/model}}}}]]}}}}
callers:
  - {{{{id: checkout, token_sha256: {digest(TOKEN)}, aliases: [default], models: [one/model]}}}}
admins:
  - {{{{id: oncall, token_sha256: {digest(ADMIN_TOKEN)}, role: operator}}}}
  - {{{{id: looker, token_sha256: {digest(VIEWER_TOKEN)}, role: viewer}}}}
"""


def pasted(document: str) -> list[str]:
    """Return documents into which somebody pasted a secret where it does not belong, or that are broken beside one."""
    key = KEYS["ONE_A_API_KEY"]
    return [
        document.replace("secret: env:ONE_A_API_KEY", f"secret: {key}"),
        document.replace("secret: env:ONE_A_API_KEY", f"secret: env:{key}"),
        document.replace("secret: env:ONE_A_API_KEY", f"secret: file:{key}"),
        document.replace("secret: env:ONE_A_API_KEY", f"sekret: {key}, secret: env:ONE_A_API_KEY"),
        document.replace("{id: a,", f"{{id: '{key}', weight: '{key}',"),
        document.replace(digest(TOKEN), TOKEN),
        document.replace("role: viewer", f"role: {ADMIN_TOKEN}"),
        document.replace("protocol: openai", f"protocol: {key}"),
        document.replace("providers:", f"{key}: 1\nproviders:", 1),
        document.replace("version: 1", f"version: [{key}", 1),
        f"{PROMPT}: [",
    ]


async def everything_operators_see(
    admin: AdminServiceAsyncStub, document: str
) -> tuple[list[ProtoMessage], list[grpc.aio.AioRpcError]]:
    """Give every order and ask every question; return all answers and errors."""
    weightier = document.replace("{id: b,", "{id: b, weight: 5,")
    ttl = Duration(seconds=60)
    said: list[ProtoMessage] = []
    errors: list[grpc.aio.AioRpcError] = []
    orders: list[Any] = [
        admin.GetRoutes(GetRoutesRequest(), metadata=AS_ADMIN),
        admin.PlanRoutes(PlanRoutesRequest(source=weightier), metadata=AS_ADMIN),
        admin.PlanRoutes(PlanRoutesRequest(source=weightier.replace(digest(TOKEN), "0" * 64)), metadata=AS_ADMIN),
        *(admin.PlanRoutes(PlanRoutesRequest(source=source), metadata=AS_ADMIN) for source in pasted(document)),
        *(admin.ReloadRoutes(ReloadRoutesRequest(source=source), metadata=AS_ADMIN) for source in pasted(document)),
        admin.ReloadRoutes(ReloadRoutesRequest(source=weightier, reason="more of b"), metadata=AS_ADMIN),
        admin.OverrideTarget(
            OverrideTargetRequest(target="one/model", mode=OVERRIDE_MODE_DRAIN, ttl=ttl), metadata=AS_ADMIN
        ),
        admin.OverrideKey(
            OverrideKeyRequest(provider="one", key_id=KEYS["ONE_A_API_KEY"], mode=OVERRIDE_MODE_DRAIN, ttl=ttl),
            metadata=AS_ADMIN,
        ),
        admin.GetStatus(GetStatusRequest(), metadata=AS_ADMIN),
        admin.RollbackRoutes(RollbackRoutesRequest(reason="back"), metadata=AS_ADMIN),
        admin.ReloadRoutes(
            ReloadRoutesRequest(source=weightier, canary_fraction=0.5, guard=CanaryGuard()), metadata=AS_ADMIN
        ),
        admin.GetRoutes(GetRoutesRequest(), metadata=AS_ADMIN),
        admin.ListRouteVersions(ListRouteVersionsRequest(), metadata=AS_ADMIN),
        admin.GetStatus(GetStatusRequest(), metadata=(("authorization", f"Bearer not-{ADMIN_TOKEN}"),)),
        admin.ReloadRoutes(ReloadRoutesRequest(), metadata=(("authorization", f"Bearer {VIEWER_TOKEN}"),)),
    ]
    for order in orders:
        try:
            said.append(await order)
        except grpc.aio.AioRpcError as raised:
            errors.append(raised)
    for watch in (
        admin.WatchRoutes(WatchRoutesRequest(after_version=1), metadata=AS_ADMIN),
        admin.WatchStatus(WatchStatusRequest(), metadata=AS_ADMIN),
    ):
        said.append(await anext(aiter(watch)))
        watch.cancel()
    return said, errors


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
async def test_no_secret_in_anything_that_operators_see(tmp_path: Path, level: str) -> None:
    """No answer, error, plan, status, metric, line of the log or of the audit, and no file of the history has one."""
    data = tmp_path / "data"
    (tmp_path / "rotating.key").write_text("canary first secret of a file 11\n", encoding="utf-8")
    shown: dict[str, str] = {}
    async with serve(tmp_path, ROUTES, "--data-dir", str(data), "--log-level", level, environ=KEYS) as running:
        admin: AdminServiceAsyncStub = AdminServiceStub(running.admin_channel)
        document = ROUTES.format(base=running.simulator.base_url)
        for status in (401, 429, 500):
            running.simulator.configure({"default": error(status, f"no: {PROMPT} {TOKEN}")})
            await rest_of(running.stub.StreamComplete(ask(PROMPT), metadata=(("authorization", f"Bearer {TOKEN}"),)))
        (tmp_path / "rotating.key").write_text(ROTATED + "\n", encoding="utf-8")
        (tmp_path / "routes.yaml").write_text(pasted(document)[0], encoding="utf-8")
        said, errors = await everything_operators_see(admin, document)
        assert len(said) >= 20
        assert len(errors) >= 13
        shown["answers"] = "\n".join([*map(to_json, said), *map(str, said)])
        shown["errors"] = "\n".join(map(wire_text, errors))
        shown["metrics"] = (await running.get("/metrics"))[1]
        assert "trunkline_routes_rejections" in shown["metrics"]
        running.signal()
        assert await running.ended() == 0
    shown["log"] = "".join(running.log)
    shown["standard output"] = "".join(running.out)
    for path in await asyncio.to_thread(lambda: [each for each in data.rglob("*") if each.is_file()]):
        shown[f"{path.relative_to(tmp_path)}"] = (await asyncio.to_thread(path.read_bytes)).decode("utf-8", "replace")
    assert "data/audit.jsonl" in shown
    assert "data/history" in shown
    leaks = [
        f"{canary!r} in {where}"
        for where, text in shown.items()
        for canary in (*CANARIES, "canary first secret")
        if canary in text
    ]
    assert leaks == []
