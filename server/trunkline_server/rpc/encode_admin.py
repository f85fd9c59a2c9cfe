"""Versions, plans, changes of routes and their events as the bytes of their messages."""

from __future__ import annotations

from itertools import islice

from google.protobuf.timestamp_pb2 import Timestamp

from trunkline import v1 as pb
from trunkline_server.config.findings import Finding
from trunkline_server.control.types import (
    Applied,
    Bookmark,
    CanaryState,
    Change,
    ChangeOp,
    Guard,
    Origin,
    Override,
    OverrideMode,
    Plan,
    Rejection,
    Reloaded,
    RolledBack,
    RoutesEvent,
    RoutesView,
    RouteVersion,
    TakenBack,
    VersionPage,
    VersionState,
)
from trunkline_server.rpc.bounded_text import cut_utf8
from trunkline_server.rpc.encode_route import duration_pb, fill_timestamp

MAX_TEXT_BYTES = 1024
"""For names, reasons and messages; whoever made them keeps to less."""
MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
MAX_REJECTED_FINDINGS = 100
"""Of a refused document; PlanRoutes tells all."""
_MAX_UINT32 = 2**32 - 1
_MAX_UINT64 = 2**64 - 1
_LAST_TIMESTAMP_S = 253_402_300_799.0
"""The end of the year 9999, the last that a Timestamp knows."""

_ORIGIN = {each: pb.RouteVersion.Origin.Value(f"ORIGIN_{each.value}") for each in Origin}
_STATE = {each: pb.RouteVersion.State.Value(f"STATE_{each.value}") for each in VersionState}
_OP = {each: pb.RouteChange.Op.Value(f"OP_{each.value}") for each in ChangeOp}
_MODE = {each: pb.OverrideMode.Value(f"OVERRIDE_MODE_{each.value}") for each in OverrideMode}
_SEVERITY = {
    "error": pb.RouteFinding.SEVERITY_ERROR,
    "warning": pb.RouteFinding.SEVERITY_WARNING,
}


def encode_view(view: RoutesView) -> bytes:
    """Return the serialized GetRoutesResponse."""
    return pb.GetRoutesResponse(
        version=version_pb(view.version),
        document=cut_utf8(view.document, MAX_DOCUMENT_BYTES),
        last_rejected=None if view.last_rejected is None else rejection_pb(view.last_rejected),
        canary=None if view.canary is None else canary_pb(view.canary),
    ).SerializeToString()


def encode_plan(plan: Plan) -> bytes:
    """Return the serialized PlanRoutesResponse."""
    return pb.PlanRoutesResponse(
        valid=plan.valid,
        no_op=plan.no_op,
        findings=map(_finding_pb, plan.findings),
        changes=map(_change_pb, plan.changes),
        traffic=[
            pb.TrafficShift(
                alias=text(shift.alias),
                share=shift.share,
                recent_calls=uint64(shift.recent_calls),
                share_of_all=shift.share_of_all,
            )
            for shift in plan.traffic
        ],
        base_version=plan.base.version,
        base_etag=plan.base.etag,
    ).SerializeToString()


def encode_reloaded(done: Reloaded) -> bytes:
    """Return the serialized ReloadRoutesResponse."""
    return pb.ReloadRoutesResponse(
        version=version_pb(done.version),
        no_op=done.no_op,
        dry_run=done.dry_run,
        findings=map(_finding_pb, done.findings),
        canary=None if done.canary is None else canary_pb(done.canary),
    ).SerializeToString()


def encode_rolled_back(done: RolledBack) -> bytes:
    """Return the serialized RollbackRoutesResponse."""
    return pb.RollbackRoutesResponse(
        version=version_pb(done.version), ended_canary=done.ended_canary, dry_run=done.dry_run
    ).SerializeToString()


def encode_page(page: VersionPage) -> bytes:
    """Return the serialized ListRouteVersionsResponse."""
    return pb.ListRouteVersionsResponse(
        versions=map(version_pb, page.versions), next_page_token=page.next_page_token
    ).SerializeToString()


def encode_event(event: RoutesEvent) -> bytes:
    """Return the serialized WatchRoutesResponse."""
    message = pb.WatchRoutesResponse(at=timestamp_pb(event.at))
    match event:
        case Applied():
            message.applied.version.CopyFrom(version_pb(event.version))
            message.applied.fraction = event.fraction
        case Rejection():
            message.rejected.CopyFrom(rejection_pb(event))
        case TakenBack():
            taken = message.rolled_back
            taken.version = event.version
            taken.to.CopyFrom(version_pb(event.to))
            taken.by, taken.reason = text(event.by), text(event.reason)
        case Bookmark():
            message.bookmark.SetInParent()
            message.bookmark.version = event.version
            message.bookmark.etag = event.etag
            message.bookmark.missed = event.missed
    return message.SerializeToString()


def version_pb(version: RouteVersion) -> pb.RouteVersion:
    """Return who published what, when and why."""
    return pb.RouteVersion(
        version=version.version,
        etag=version.etag,
        sha256=version.sha256,
        published=timestamp_pb(version.published_at),
        published_by=text(version.published_by),
        peer=text(version.peer),
        reason=text(version.reason),
        origin=_ORIGIN[version.origin],
        state=_STATE[version.state],
        rolled_back_to=version.rolled_back_to,
    )


def rejection_pb(rejection: Rejection) -> pb.RejectedRoutes:
    """Return a document that was refused, with its first findings, errors before warnings."""
    findings = sorted(rejection.findings, key=lambda finding: finding.severity != "error")
    return pb.RejectedRoutes(
        at=timestamp_pb(rejection.at),
        by=text(rejection.by),
        sha256=rejection.sha256,
        findings=map(_finding_pb, islice(findings, MAX_REJECTED_FINDINGS)),
        omitted=rejection.omitted + max(0, len(findings) - MAX_REJECTED_FINDINGS),
    )


def canary_pb(canary: CanaryState) -> pb.CanaryStatus:
    """Return a canary that runs."""
    return pb.CanaryStatus(
        version=canary.version,
        fraction=canary.fraction,
        guard=_guard_pb(canary.guard),
        ends=timestamp_pb(canary.ends_at),
        calls=canary.calls,
        failed=canary.failed,
        base_calls=canary.base_calls,
        base_failed=canary.base_failed,
    )


def override_pb(override: Override) -> pb.Override:
    """Return an operator's word that holds."""
    return pb.Override(
        mode=_MODE[override.mode],
        until=timestamp_pb(override.until),
        by=text(override.by),
        reason=text(override.reason),
    )


def encode_override_target(held: Override | None) -> bytes:
    """Return the serialized OverrideTargetResponse; None: nothing is said of the target any more."""
    return pb.OverrideTargetResponse(override=None if held is None else override_pb(held)).SerializeToString()


def encode_override_key(held: Override | None) -> bytes:
    """Return the serialized OverrideKeyResponse; None: nothing is said of the key any more."""
    return pb.OverrideKeyResponse(override=None if held is None else override_pb(held)).SerializeToString()


def encode_drain(in_flight: int, ends_at: float) -> bytes:
    """Return the serialized DrainResponse; `ends_at` in Unix seconds."""
    return pb.DrainResponse(in_flight=uint32(in_flight), ends=timestamp_pb(ends_at)).SerializeToString()


def timestamp_pb(unix_s: float) -> Timestamp:
    """Return a time; what a Timestamp does not know becomes the nearest that it does."""
    timestamp = Timestamp()
    fill_timestamp(timestamp, min(max(unix_s, 0.0), _LAST_TIMESTAMP_S))
    return timestamp


def text(value: str) -> str:
    """Return a text as it may be sent: bounded, and without what protobuf does not know."""
    return cut_utf8(value, MAX_TEXT_BYTES)


def uint32(value: int) -> int:
    """Return a count as a uint32 can say it."""
    return min(max(value, 0), _MAX_UINT32)


def uint64(value: int) -> int:
    """Return a count as a uint64 can say it."""
    return min(max(value, 0), _MAX_UINT64)


def _guard_pb(guard: Guard) -> pb.CanaryGuard:
    return pb.CanaryGuard(
        window=duration_pb(guard.window_s),
        error_ratio=guard.error_ratio,
        first_token_ratio=guard.first_token_ratio,
    )


def _finding_pb(finding: Finding) -> pb.RouteFinding:
    return pb.RouteFinding(
        severity=_SEVERITY[finding.severity],
        path=text(finding.path),
        line=uint32(finding.line or 0),
        code=finding.code,
        message=text(finding.message),
    )


def _change_pb(change: Change) -> pb.RouteChange:
    """Return a difference; the values of one that is sensitive are left out here too, whatever they hold."""
    return pb.RouteChange(
        op=_OP[change.op],
        path=text(change.path),
        before="" if change.sensitive else text(change.before),
        after="" if change.sensitive else text(change.after),
        sensitive=change.sensitive,
    )
