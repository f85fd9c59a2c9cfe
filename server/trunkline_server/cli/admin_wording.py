"""The admin contract's messages as short text for people: versions, canaries, overrides, refused documents."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from trunkline.v1 import OverrideMode, RouteFinding, RouteVersion
from trunkline_server.cli.columns import plain, shortened
from trunkline_server.cli.durations import ago, span_text
from trunkline_server.cli.routes_file import counted

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.timestamp_pb2 import Timestamp

    from trunkline.v1 import CanaryStatus, Override, RejectedRoutes

_NANO = 1_000_000_000


def unix_s(moment: Timestamp) -> float:
    """Return a time in Unix seconds."""
    return moment.seconds + moment.nanos / _NANO


def span_s(duration: Duration) -> float:
    """Return a duration in seconds."""
    return duration.seconds + duration.nanos / _NANO


def exact(moment: Timestamp) -> str:
    """Return a time as `2026-11-23T10:00:00Z`."""
    return datetime.fromtimestamp(moment.seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def when(moment: Timestamp, now_s: float) -> str:
    """Return a time seen from another: `3 min ago`."""
    return ago(unix_s(moment), now_s)


def percent(share: float) -> str:
    """Return a share as `12.5 %`."""
    return f"{100 * share:.3g} %"


def state_text(version: RouteVersion) -> str:
    """Return what became of a version: `running`, `rolled back`."""
    return RouteVersion.State.Name(version.state).removeprefix("STATE_").lower().replace("_", " ")


def origin_text(version: RouteVersion) -> str:
    """Return where a version's document came from: `reload`, `version 3`."""
    if version.rolled_back_to:
        return f"version {version.rolled_back_to}"
    return RouteVersion.Origin.Name(version.origin).removeprefix("ORIGIN_").lower()


def by_text(version: RouteVersion, now_s: float) -> str:
    """Return when a version was published, by whom and why: `published 3 min ago by oncall: more to gemini`."""
    by = f" by {plain(version.published_by)}" if version.published_by else ""
    why = f": {plain(version.reason)}" if version.reason else ""
    return f"published {when(version.published, now_s)}{by}{why}"


def version_line(version: RouteVersion, now_s: float) -> str:
    """Return a version in a line: number, etag, state, origin, when, by whom, why."""
    facts = f"{state_text(version)}, from {origin_text(version)}, {by_text(version, now_s)}"
    return f"version {version.version} (etag {plain(version.etag)}): {facts}"


def canary_line(canary: CanaryStatus, now_s: float) -> str:
    """Return a canary in a line: its share, what failed on either side, when its window is over."""
    tally = f"{canary.failed} of {canary.calls} calls failed"
    base = f"{canary.base_failed} of {canary.base_calls} beside it"
    over = f"window over {when(canary.ends, now_s)}"
    return f"canary: version {canary.version} has {percent(canary.fraction)}: {tally}, {base}; {over}"


def guard_text(canary: CanaryStatus) -> str:
    """Return when a canary is taken back: `above 5 % failed, or 2 times the first-token time`."""
    limits = []
    if canary.guard.HasField("error_ratio"):
        limits.append(f"above {percent(canary.guard.error_ratio)} failed")
    if canary.guard.HasField("first_token_ratio"):
        limits.append(f"above {canary.guard.first_token_ratio:g} times the first-token time")
    return " or ".join(limits)


def rejected_line(rejected: RejectedRoutes, now_s: float) -> str:
    """Return a refused document in a line: when, who gave it, the first of what is wrong."""
    number = len(rejected.findings) + rejected.omitted
    first = f": {finding_text(rejected.findings[0])}" if rejected.findings else ""
    told = counted(number, "finding")
    return f"last rejected: {when(rejected.at, now_s)}, from {plain(rejected.by)}, {told}{first}"


def finding_text(finding: RouteFinding) -> str:
    """Return a finding without its file: `line 12: error: callers[0].id: what is wrong [code]`."""
    line = f"line {finding.line}: " if finding.line else ""
    return line + _finding_body(finding)


def finding_line(finding: RouteFinding, source: str) -> str:
    """Return a finding as `trunkline check` prints it: `routes.yaml:12: error: callers[0].id: … [code]`."""
    place = f"{source}:{finding.line}" if finding.line else source
    return f"{place}: {_finding_body(finding)}"


def _finding_body(finding: RouteFinding) -> str:
    severity = RouteFinding.Severity.Name(finding.severity).removeprefix("SEVERITY_").lower()
    # "not built yet: callers[0].…" names its path itself.
    path = "" if not finding.path or finding.code == "not_built" else f"{finding.path}: "
    return plain(f"{severity}: {path}{finding.message} [{finding.code}]")


def mode_text(mode: OverrideMode.ValueType) -> str:
    """Return what an operator said: `drain`, `force open`."""
    return OverrideMode.Name(mode).removeprefix("OVERRIDE_MODE_").lower().replace("_", " ")


def override_text(override: Override, now_s: float) -> str:
    """Return an operator's word with how long it holds, who said it and why; cut to what a table's cell may hold."""
    left = span_text(unix_s(override.until) - now_s)
    by = f" by {plain(override.by)}" if override.by else ""
    why = f": {plain(override.reason)}" if override.reason else ""
    return f"{mode_text(override.mode)} for {left}{by}{shortened(why, 200)}"
