from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc import aio
from tests.rpc.admin_room import EVENTS, VERSION, FakeRoom, serving_admin
from tests.rpc.conftest import failure_of, read_until_failure, told, until

from trunkline import v1 as pb
from trunkline_server.config.findings import Finding
from trunkline_server.control.types import (
    Bookmark,
    Guard,
    OverrideMode,
    OverrideOrder,
    Rejection,
    ReloadOrder,
    RollbackOrder,
    RoutesEvent,
)
from trunkline_server.engine.frames import CallFailedError, CallFailure, FieldViolation
from trunkline_server.routing.types import Reason
from trunkline_server.rpc.codes import STATUS_OF_REASON
from trunkline_server.rpc.encode_admin import MAX_REJECTED_FINDINGS, rejection_pb

EMPTY = {
    "GetRoutes": pb.GetRoutesRequest(),
    "PlanRoutes": pb.PlanRoutesRequest(),
    "ReloadRoutes": pb.ReloadRoutesRequest(),
    "RollbackRoutes": pb.RollbackRoutesRequest(),
    "ListRouteVersions": pb.ListRouteVersionsRequest(),
    "GetStatus": pb.GetStatusRequest(),
    "OverrideTarget": pb.OverrideTargetRequest(target="a/b", mode=pb.OVERRIDE_MODE_CLEAR),
    "OverrideKey": pb.OverrideKeyRequest(provider="a", key_id="b", mode=pb.OVERRIDE_MODE_CLEAR),
    "Drain": pb.DrainRequest(),
}


async def test_get_routes_tells_version_document_rejection_and_canary() -> None:
    """GetRoutes asks for the version that it was given, and every field of the answer arrives."""
    async with serving_admin() as served:
        got = await served.stub.GetRoutes(pb.GetRoutesRequest(version=7))
    assert served.room.asked == [("get_routes", 7)]
    version = got.version
    assert (version.version, version.etag, version.sha256) == (7, "e-7", "ab" * 32)
    assert version.published.ToNanoseconds() == 1_700_000_000_500_000_000
    assert (version.published_by, version.peer, version.reason) == ("oncall", "127.0.0.1:9", "more weight")
    assert version.origin == pb.RouteVersion.ORIGIN_ROLLBACK
    assert version.state == pb.RouteVersion.STATE_RUNNING
    assert version.rolled_back_to == 3
    assert got.document == "version: 1\n"
    assert got.last_rejected.by == "file"
    assert [finding.severity for finding in got.last_rejected.findings] == [
        pb.RouteFinding.SEVERITY_ERROR,
        pb.RouteFinding.SEVERITY_WARNING,
    ]
    assert (got.canary.version, got.canary.fraction, got.canary.base_failed) == (8, 0.25, 4)
    assert got.canary.guard.window.ToTimedelta().total_seconds() == 30


async def test_plan_tells_findings_changes_and_traffic() -> None:
    """PlanRoutes hands the document over as bytes, and answers with findings, changes and shares."""
    async with serving_admin() as served:
        plan = await served.stub.PlanRoutes(pb.PlanRoutesRequest(source="ä", base_etag="e-1"))
    assert served.room.asked == [("plan", "ä".encode(), "e-1")]
    assert plan.valid
    assert not plan.no_op
    assert [(finding.line, finding.code) for finding in plan.findings] == [(9, "unused_model"), (0, "unknown_target")]
    assert (plan.changes[0].op, plan.changes[0].before, plan.changes[0].after) == (pb.RouteChange.OP_REPLACE, "3", "5")
    assert (plan.traffic[0].alias, plan.traffic[0].share, plan.traffic[0].recent_calls) == ("default", 0.1, 20)
    assert (plan.base_version, plan.base_etag) == (7, "e-7")


async def test_a_sensitive_change_shows_no_values() -> None:
    """The values of a sensitive change stay off the wire even if the control room gave them."""
    async with serving_admin() as served:
        plan = await served.stub.PlanRoutes(pb.PlanRoutesRequest())
    assert plan.changes[1].sensitive
    assert b"planted" not in plan.SerializeToString()


async def test_reload_hands_over_the_whole_order_and_who_gives_it() -> None:
    """ReloadRoutes passes every setting on, with the admin's id and the address of its end of the connection."""
    guard = pb.CanaryGuard(window=Duration(seconds=90), error_ratio=0.0, first_token_ratio=1.5)
    request = pb.ReloadRoutesRequest(
        source="x",
        if_match_etag="e-7",
        dry_run=True,
        reason="why",
        request_id="r-9",
        canary_fraction=0.5,
        guard=guard,
    )
    async with serving_admin() as served:
        done = await served.stub.ReloadRoutes(request)
    ((_, order, actor),) = served.room.asked
    assert order == ReloadOrder(b"x", "e-7", True, "why", "r-9", 0.5, Guard(90.0, 0.0, 1.5))  # noqa: FBT003  the record's own order
    assert actor.id == "anonymous"
    assert actor.peer.startswith("127.0.0.1:")
    assert done.no_op
    assert done.dry_run
    assert done.version.version == 7
    assert [finding.code for finding in done.findings] == ["unused_model"]
    assert done.canary.calls == 40


async def test_a_reload_without_a_source_reads_the_file() -> None:
    """No source is told from an empty one, and the defaults are those of the control room."""
    async with serving_admin() as served:
        await served.stub.ReloadRoutes(pb.ReloadRoutesRequest())
        await served.stub.ReloadRoutes(pb.ReloadRoutesRequest(source=""))
    assert [asked[1] for asked in served.room.asked] == [ReloadOrder(), ReloadOrder(source=b"")]


async def test_rollback_and_list_pass_their_settings_on() -> None:
    """RollbackRoutes and ListRouteVersions ask for what they were given, and 50 versions where no size is given."""
    async with serving_admin() as served:
        back = await served.stub.RollbackRoutes(
            pb.RollbackRoutesRequest(to_version=3, if_match_etag="e", reason="w", dry_run=True)
        )
        page = await served.stub.ListRouteVersions(pb.ListRouteVersionsRequest())
        await served.stub.ListRouteVersions(pb.ListRouteVersionsRequest(page_size=100, page_token="t"))  # noqa: S106  names a page
    asked = served.room.asked
    assert asked[0][1] == RollbackOrder(3, "e", "w", dry_run=True)
    assert (back.version.version, back.ended_canary, back.dry_run) == (7, 8, True)
    assert asked[1:] == [("list_versions", 50, ""), ("list_versions", 100, "t")]
    assert ([version.version for version in page.versions], page.next_page_token) == ([7], "next")


async def test_overrides_and_drain_pass_their_settings_on() -> None:
    """A target is cut at its first slash, times become seconds, and what holds afterwards is told."""
    ttl = Duration(seconds=600, nanos=500_000_000)
    async with serving_admin() as served:
        held = await served.stub.OverrideTarget(
            pb.OverrideTargetRequest(target="a/b/c", mode=pb.OVERRIDE_MODE_FORCE_OPEN, ttl=ttl, reason="w")
        )
        cleared = await served.stub.OverrideKey(EMPTY["OverrideKey"])
        drained = await served.stub.Drain(pb.DrainRequest(grace=Duration(seconds=0), reason="w"))
        await served.stub.Drain(pb.DrainRequest())
    asked = served.room.asked
    assert asked[0][1] == OverrideOrder("a", "b/c", OverrideMode.FORCE_OPEN, 600.5, "w")
    assert held.override.mode == pb.OVERRIDE_MODE_DRAIN
    assert held.override.until.seconds == 1_700_000_600
    assert asked[1][1] == OverrideOrder("a", "b", OverrideMode.CLEAR)
    assert not cleared.HasField("override")
    assert [call[1:3] for call in asked[2:]] == [(0.0, "w"), (None, "")]
    assert (drained.in_flight, drained.ends.seconds) == (5, 1_700_000_100)


async def test_status_tells_unknown_from_zero() -> None:
    """Figures that are not known are unset, and those that are zero are set."""
    async with serving_admin() as served:
        status = await served.stub.GetStatus(pb.GetStatusRequest())
    busy, idle = status.targets
    assert (busy.success_ratio, busy.in_flight, busy.attempts) == (0.98, 3, 50)
    assert busy.first_token_p95.ToTimedelta().total_seconds() == 1.5
    assert busy.override.reason == "it is slow"
    assert not idle.HasField("success_ratio")
    assert not idle.HasField("first_token_p50")
    cooling, free = status.keys
    assert cooling.HasField("headroom_requests")
    assert (cooling.headroom_requests, cooling.headroom_tokens, cooling.max_in_flight) == (0, 12, 5)
    assert cooling.until.seconds == 1_700_000_009
    assert not free.HasField("headroom_requests")
    assert not free.HasField("until")
    assert (status.gates[0].limit, status.gates[0].queue, status.gates[0].queued) == (200, 500, 1)
    assert (status.workers[0].pid, status.workers[0].phase) == (4711, "ready")
    assert getattr(status.failovers[0], "from") == "openai/gpt"
    assert status.failovers[0].to == "openai/idle"


async def test_a_watch_of_the_routes_tells_every_kind_of_event() -> None:
    """WatchRoutes writes the control room's events in order, and its generator is closed when the reader leaves."""
    async with serving_admin() as served:
        call = served.stub.WatchRoutes(pb.WatchRoutesRequest(after_version=5))
        events = [await call.read() for _ in EVENTS]
        call.cancel()
        await asyncio.wait_for(served.room.closed.wait(), 10)
        (line,) = await served.log.next_of("rpc")
    assert served.room.asked == [("watch_routes", 5)]
    assert [event.WhichOneof("event") for event in events] == [
        "bookmark",
        "applied",
        "rejected",
        "rolled_back",
        "bookmark",
    ]
    assert events[1].applied.fraction == 0.25
    assert (events[3].rolled_back.version, events[3].rolled_back.by) == (8, "guard")
    assert events[3].rolled_back.to.version == VERSION.version
    assert not events[0].bookmark.missed
    assert events[4].bookmark.missed
    assert (line["frames"], line["cancelled_by"]) == (len(EVENTS), "caller")
    assert line["first_frame_s"] >= 0


async def test_a_watch_of_the_status_tells_it_again_and_again() -> None:
    """WatchStatus tells the status at once, and after each interval."""
    async with serving_admin() as served:
        call = served.stub.WatchStatus(pb.WatchStatusRequest(every=Duration(nanos=100_000_000)))
        seen = [await asyncio.wait_for(call.read(), 10) for _ in range(3)]
        call.cancel()
    assert [each.status.routes.version for each in seen] == [7, 7, 7]
    assert served.room.statuses >= 3


async def test_a_watcher_that_does_not_read_is_cut_off_and_stalls_nobody() -> None:
    """One that reads nothing ends as ABORTED, SLOW_READER after the write timeout, while others get their events."""
    big = Rejection(1.0, "file", "", (Finding("error", "x" * 1000, 1, "c", "y" * 1000),) * MAX_REJECTED_FINDINGS)

    async def flood(_after: int) -> AsyncGenerator[RoutesEvent, None]:
        while True:
            yield big
            await asyncio.sleep(0)

    async with serving_admin(FakeRoom(events=flood), write_timeout_s=0.3) as served:
        stalled = served.stub.WatchRoutes(pb.WatchRoutesRequest())
        await stalled.read()
        other = aio.insecure_channel(served.address, options=[("grpc.use_local_subchannel_pool", 1)])
        reading: Any = pb.AdminServiceStub(other).WatchRoutes(pb.WatchRoutesRequest())
        async with asyncio.timeout(10):
            while not served.log.of("rpc"):
                assert (await reading.read()).WhichOneof("event") == "rejected"
        (line,) = served.log.of("rpc")
        assert (line["code"], line["reason"]) == ("ABORTED", "SLOW_READER")
        error = await read_until_failure(stalled, [])
        reading.cancel()
        await other.close()
    assert told(error).reason == "SLOW_READER"


async def test_watches_end_with_the_server_and_say_so() -> None:
    """A drain does not wait for watches: they end at once as UNAVAILABLE, SERVER_DRAINING with RetryInfo."""
    async with serving_admin() as served:
        calls = [served.stub.WatchRoutes(pb.WatchRoutesRequest()), served.stub.WatchStatus(pb.WatchStatusRequest())]
        for call in calls:
            await call.read()
        async with asyncio.timeout(10):
            await served.server.drain(0.0)
        for call in calls:
            failure = told(await read_until_failure(call, []))
            assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")
            assert failure.retry_delay_s is not None


@pytest.mark.parametrize("method", EMPTY)
async def test_what_the_room_refuses_is_a_status_with_details(method: str) -> None:
    """Every RPC ends with the reason, the metadata and the violations that the control room raised."""
    violations = (FieldViolation("source", "line 3: no"),)
    failure = CallFailure(Reason.STALE_ETAG, "changed", metadata={"etag": "e-9"}, violations=violations)
    async with serving_admin(FakeRoom(failure=CallFailedError(failure))) as served:
        got = await failure_of(getattr(served.stub, method)(EMPTY[method]))
    assert (got.code, got.reason, got.message) == (STATUS_OF_REASON[Reason.STALE_ETAG], "STALE_ETAG", "changed")
    assert got.metadata["etag"] == "e-9"
    assert got.violations == ["source"]


async def test_a_watch_that_the_room_refuses_is_a_status() -> None:
    """A watch that fails before its first message has no messages, only the status."""
    failure = CallFailure(Reason.VERSION_NOT_FOUND, "gone")
    async with serving_admin(FakeRoom(failure=CallFailedError(failure))) as served:
        with pytest.raises(aio.AioRpcError) as caught:
            await served.stub.WatchRoutes(pb.WatchRoutesRequest()).read()
        with pytest.raises(aio.AioRpcError) as caught_status:
            await served.stub.WatchStatus(pb.WatchStatusRequest()).read()
    assert told(caught.value).reason == told(caught_status.value).reason == "VERSION_NOT_FOUND"


async def test_a_watch_that_ends_by_itself_ends_well() -> None:
    """A watch whose generator ends is OK: it has no end frame to miss."""

    async def short(_after: int) -> AsyncGenerator[RoutesEvent, None]:
        yield Bookmark(1.0, 1, "e")

    async with serving_admin(FakeRoom(events=short)) as served:
        call = served.stub.WatchRoutes(pb.WatchRoutesRequest())
        assert len([event async for event in call]) == 1
        assert await call.code() is grpc.StatusCode.OK


async def test_a_defect_tells_nobody_its_text() -> None:
    """An exception that nobody expected is INTERNAL with an id, and its text is nowhere."""
    async with serving_admin(FakeRoom(failure=ZeroDivisionError("a secret thought"))) as served:
        got = await failure_of(served.stub.GetRoutes(pb.GetRoutesRequest()))
        await served.log.next_of("rpc")
    assert got.code is grpc.StatusCode.INTERNAL
    assert "secret" not in got.message + served.log.everything()


async def test_all_findings_that_do_not_fit_are_counted() -> None:
    """A refusal with a thousand findings keeps its trailers below 4 KB and says how many were left out."""
    violations = tuple(FieldViolation(f"aliases.a{index}.tiers", "x" * 200) for index in range(1000))
    failure = CallFailure(Reason.BAD_REQUEST, "x" * 5000, violations=violations)
    async with serving_admin(FakeRoom(failure=CallFailedError(failure))) as served:
        got = await failure_of(served.stub.ReloadRoutes(pb.ReloadRoutesRequest(source="x")))
    assert got.size < 4096
    assert int(got.metadata["omitted"]) + len(got.violations) == 1000


def test_a_rejection_tells_its_errors_first_and_counts_the_rest() -> None:
    """Only so many findings of a refused document are told, the errors before the warnings."""
    findings = [Finding("warning", str(index), 1, "w", "") for index in range(MAX_REJECTED_FINDINGS + 5)]
    findings.append(Finding("error", "last", 1, "e", ""))
    message = rejection_pb(Rejection(1.0, "file", "", tuple(findings)))
    assert len(message.findings) == MAX_REJECTED_FINDINGS
    assert message.findings[0].path == "last"
    assert message.omitted == 6


async def test_an_admin_call_is_one_line_in_the_log() -> None:
    """The canonical line has method, admin, peer, code, the request's id and the version, and never the document."""
    async with serving_admin() as served:
        await served.stub.ReloadRoutes(pb.ReloadRoutesRequest(source="planted", request_id="r-1", reason="planted"))
        (line,) = await served.log.next_of("rpc")
    assert line["method"] == "/trunkline.v1.AdminService/ReloadRoutes"
    assert (line["caller"], line["code"], line["request_id"], line["route_version"]) == ("anonymous", "OK", "r-1", 7)
    assert line["peer"].startswith("127.0.0.1:")
    assert "planted" not in served.log.everything()


async def test_who_leaves_during_a_reload_cancels_only_the_wait() -> None:
    """A caller that leaves ends its call; what the control room does about that is told to it by cancellation."""
    async with serving_admin(FakeRoom(hold=asyncio.Event())) as served:
        call = served.stub.ReloadRoutes(pb.ReloadRoutesRequest())
        await until(lambda: bool(served.room.asked))
        call.cancel()
        await asyncio.wait_for(served.room.closed.wait(), 10)
        (line,) = await served.log.next_of("rpc")
    assert line["cancelled_by"] == "caller"


@pytest.mark.parametrize("method", [*EMPTY, "WatchRoutes", "WatchStatus"])
async def test_bytes_that_are_no_message_are_the_callers_fault(method: str) -> None:
    """Each RPC answers bytes that are no message of its kind with INVALID_ARGUMENT, BAD_REQUEST."""
    async with serving_admin() as served:
        path = f"/trunkline.v1.AdminService/{method}"
        if method.startswith("Watch"):
            call = served.channel.unary_stream(path)(b"\xff\xff").read()
        else:
            call = served.channel.unary_unary(path)(b"\xff\xff")
        got = await failure_of(call)
    assert (got.code, got.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_REQUEST")
    assert served.room.asked == []
