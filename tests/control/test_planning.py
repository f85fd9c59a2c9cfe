"""A plan says what a document would do, and does nothing of it."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from trunkline_server.config.load import parse
from trunkline_server.config.routes import LoadedRoutes
from trunkline_server.config.secret import Secret
from trunkline_server.control.fence import check_wire
from trunkline_server.control.planning import Planner
from trunkline_server.control.routes_reading import RoutesFile
from trunkline_server.control.routes_refusals import version_not_found
from trunkline_server.control.traffic import RecentTraffic
from trunkline_server.control.types import Plan, RouteVersion
from trunkline_server.engine.frames import CallFailedError
from trunkline_server.engine.outcome import CallOutcome
from trunkline_server.routing.types import Reason

RUNNING = b"""\
version: 1
providers:
  openai:
    protocol: openai
    base_url: https://api.openai.com/v1
    keys: [{id: a, secret: "env:PLANTED_API_KEY"}]
  local: {protocol: openai, base_url: "http://localhost:1"}
aliases: {default: {tiers: [[{target: openai/m, weight: 1}]]}}
"""
SPLIT = RUNNING.replace(b"{target: openai/m, weight: 1}", b"openai/m, local/m")
OLD = RUNNING.replace(b"openai/m", b"local/m")


def record(version: int, raw: bytes) -> RouteVersion:
    return RouteVersion(version, f"etag-{version}", hashlib.sha256(raw).hexdigest(), 0.0, "file")


class House:
    """Routes that run, an older version, and the file."""

    name = "routes.yaml"

    def __init__(self, on_file: bytes | None = RUNNING, *, open_gate: bool = False) -> None:
        self.on_file = on_file
        self.versions = {"etag-1": (record(1, OLD), OLD), "etag-2": (record(2, RUNNING), RUNNING)}
        self.versions["etag-0"] = (record(3, b"version: 2"), b"version: 2")
        self.running = record(2, RUNNING)
        document = parse(RUNNING, name="x").document
        assert document is not None
        secrets = {("openai", "a"): Secret("sk-planted")}
        self.routes = LoadedRoutes(document, secrets, self.running.sha256, ())
        self.traffic = RecentTraffic()
        self.planner = Planner(self, RoutesFile(self), self.traffic, fence=None if open_gate else check_wire)

    async def base(self, etag: str) -> tuple[RouteVersion, bytes]:
        if (etag or "etag-2") not in self.versions:
            raise version_not_found(7)
        return self.versions[etag or "etag-2"]

    def read(self) -> bytes:
        if self.on_file is None:
            raise FileNotFoundError
        return self.on_file


async def plan(source: bytes | None, base: str = "", *, open_gate: bool = False) -> Plan:
    return await House(open_gate=open_gate).planner.plan(source, base)


def codes(found: Plan) -> list[tuple[str, str]]:
    return [(finding.severity, finding.code) for finding in found.findings]


async def test_the_running_document_is_a_no_op() -> None:
    """The same bytes change nothing, and are compared with the running version."""
    found = await plan(RUNNING)
    assert (found.valid, found.no_op, found.changes) == (True, True, ())
    assert [shift.share for shift in found.traffic] == [0.0]
    assert found.base.etag == "etag-2"


async def test_a_document_comes_with_changes_and_the_traffic_that_moves() -> None:
    """Changes by path, and shares by weights and recent calls."""
    house = House()
    for alias in ("default", "default", "", ""):
        house.traffic.take(
            CallOutcome(2, alias, "m", "", streams=False, failed=False, first_content_s=None, attempts=())
        )
    found = await house.planner.plan(SPLIT, "")
    assert (found.valid, found.no_op) == (True, False)
    assert [change.path for change in found.changes] == ["aliases.default.tiers[0].targets[local/m]"]
    (shift,) = found.traffic
    assert (shift.share, shift.recent_calls, shift.share_of_all) == (0.5, 2, 0.25)


async def test_a_bad_document_has_all_its_findings_and_nothing_else() -> None:
    """Errors make a plan invalid; they are its answer, not its failure."""
    found = await plan(RUNNING + b"weihgt: 1\nserver: {write_timeout_s: 0}\n")
    assert not found.valid
    assert (found.changes, found.traffic) == ((), ())
    assert {code for severity, code in codes(found) if severity == "error"} == {"unknown_field", "out_of_range"}


async def test_what_the_fence_refuses_is_no_valid_plan() -> None:
    """A plan of a document over the wire tells what a reload of it would be refused for."""
    found = await plan(RUNNING.replace(b"api.openai.com", b"evil.example"))
    assert not found.valid
    assert ("error", "remote_destination") in codes(found)
    assert found.changes == ()


async def test_a_secret_that_is_not_loaded_is_not_looked_up_but_warned_of() -> None:
    """Where the wire may bring references, one that nobody uses yet is a warning at its line."""
    found = await plan(RUNNING.replace(b"PLANTED", b"UNSET"), open_gate=True)
    assert found.valid
    (warning,) = [finding for finding in found.findings if finding.code == "secret_not_loaded"]
    assert (warning.severity, warning.line, warning.path) == ("warning", 6, "providers.openai.keys[0].secret")
    assert "UNSET" not in repr(found)


async def test_without_a_source_the_file_is_planned() -> None:
    """The file may name secrets that are new; it is not fenced in."""
    house = House(RUNNING.replace(b"PLANTED", b"NEXT"))
    found = await house.planner.plan(None, "")
    assert found.valid
    assert [change.path for change in found.changes] == ["providers.openai.keys[a].secret"]
    assert ("warning", "secret_not_loaded") in codes(found)


async def test_a_file_that_cannot_be_read_is_a_finding() -> None:
    """A missing file is told as what is wrong with it."""
    found = await House(None).planner.plan(None, "")
    assert not found.valid
    assert codes(found) == [("error", "unreadable_file")]


async def test_a_plan_may_be_based_on_an_older_version() -> None:
    """Changes and traffic are then those from the older document; no-op still means the running one."""
    found = await plan(RUNNING, "etag-1")
    assert found.base.version == 1
    assert found.no_op
    assert [shift.share for shift in found.traffic] == [1.0]
    assert [change.op.value for change in found.changes] == ["REMOVE", "ADD"]


@pytest.mark.parametrize("etag", ["etag-9", "etag-0"])
async def test_a_base_that_is_not_kept_or_no_longer_understood_is_not_found(etag: str) -> None:
    """An unknown etag, and a document that this release refuses, are VERSION_NOT_FOUND."""
    with pytest.raises(CallFailedError) as caught:
        await plan(RUNNING, etag)
    assert caught.value.failure.reason is Reason.VERSION_NOT_FOUND


async def test_many_plans_at_once_all_come() -> None:
    """Plans wait for each other, and are the same as alone."""
    planner = House().planner
    found = await asyncio.gather(*(planner.plan(SPLIT, "") for _ in range(8)))
    assert all(one == found[0] for one in found)


async def test_a_plan_holds_no_secret() -> None:
    """Neither secrets nor references are in what is told or in any repr of it."""
    found = await plan(SPLIT + b"server: {write_timeout_s: 1}\n")
    assert found.valid
    assert "PLANTED" not in repr(found)
    assert "sk-planted" not in repr(found)
