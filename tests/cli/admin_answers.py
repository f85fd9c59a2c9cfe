"""Answers of an admin port for the tests of the command line, and the time at which they were true."""

from __future__ import annotations

from trunkline import v1 as pb

NOW_S = 1_800_000_000
"""2027-01-15T08:00:00Z."""


def version(number: int = 8, *, at_s: int = NOW_S - 180, **said: object) -> pb.RouteVersion:
    """Return a version that was published three minutes ago."""
    facts: dict[str, object] = {
        "version": number,
        "etag": f"v{number}-0123456789ab",
        "sha256": "ab" * 32,
        "published_by": "oncall",
        "origin": pb.RouteVersion.ORIGIN_RELOAD,
        "state": pb.RouteVersion.STATE_RUNNING,
        **said,
    }
    made = pb.RouteVersion(**facts)  # type: ignore[arg-type]
    made.published.seconds = at_s
    return made


def finding(path: str = "aliases.default", line: int = 12, *, warning: bool = False) -> pb.RouteFinding:
    """Return something that is wrong with a document."""
    severity = pb.RouteFinding.SEVERITY_WARNING if warning else pb.RouteFinding.SEVERITY_ERROR
    return pb.RouteFinding(severity=severity, path=path, line=line, code="unknown_field", message="no such field: x")


def rejected() -> pb.RejectedRoutes:
    """Return a document that was refused a minute ago."""
    made = pb.RejectedRoutes(by="file", sha256="cd" * 32, findings=[finding()], omitted=2)
    made.at.seconds = NOW_S - 60
    return made


def canary() -> pb.CanaryStatus:
    """Return a canary with a twentieth of the calls."""
    made = pb.CanaryStatus(version=9, fraction=0.05, calls=40, failed=1, base_calls=800, base_failed=4)
    made.guard.error_ratio = 0.02
    made.guard.first_token_ratio = 1.5
    made.ends.seconds = NOW_S + 30
    return made


def status() -> pb.GetStatusResponse:
    """Return the status of a server with something of everything."""
    made = pb.GetStatusResponse(routes=version(), canary=canary(), last_rejected=rejected())
    made.at.seconds = NOW_S
    well = made.targets.add(
        provider="openai",
        model="gpt-4o-mini",
        aliases=["default", "fast"],
        circuit="CLOSED",
        in_flight=12,
        attempts=840,
    )
    well.success_ratio = 0.998
    well.first_token_p50.FromMilliseconds(312)
    well.first_token_p95.FromMilliseconds(1200)
    ill = made.targets.add(provider="anthropic", model="claude-haiku", aliases=["default"], circuit="OPEN")
    ill.override.mode = pb.OVERRIDE_MODE_DRAIN
    ill.override.until.seconds = NOW_S + 600
    ill.override.by, ill.override.reason = "oncall", "their status page"
    key = made.keys.add(
        provider="openai", key_id="team-a", state="ACTIVE", in_flight=3, quota_group="org-1", weight=3,
        max_in_flight=50, headroom_requests=480, headroom_tokens=150000,
    )  # fmt: skip
    assert key.HasField("max_in_flight")
    cooling = made.keys.add(provider="anthropic", key_id="main", state="COOLING", weight=1)
    cooling.until.seconds = NOW_S + 42
    made.gates.add(provider="openai", in_flight=12, limit=200, queue=500)
    made.gates.add(provider="anthropic", in_flight=10, limit=10, queued=7, queue=500)
    worker = made.workers.add(pid=4711, phase="ready", in_flight=12, route_version=8)
    worker.started.seconds = NOW_S - 7200
    failover = made.failovers.add(model="default", to="openai/gpt-4o-mini", failure_class="SERVER_ERROR")
    setattr(failover, "from", "anthropic/claude-haiku")
    failover.at.seconds = NOW_S - 5
    return made
