"""What GetStatus says, as rows for `status`, `targets`, `keys` and `top`; what is in trouble is coloured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from trunkline_server.cli.admin_wording import (
    canary_line,
    override_text,
    rejected_line,
    span_s,
    unix_s,
    version_line,
    when,
)
from trunkline_server.cli.columns import Columns, Row
from trunkline_server.cli.durations import span_text

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration

    from trunkline.v1 import (
        GateStatus,
        GetStatusResponse,
        KeyStatus,
        RecentFailover,
        TargetStatus,
        WorkerStatus,
    )

_TROUBLE: Final = {
    "OPEN": "red",
    "HALF_OPEN": "yellow",
    "RAMPING": "yellow",
    "COOLING": "yellow",
    "QUARANTINED": "red",
    "DRAINING": "dim",
    "DISABLED": "dim",
    "REMOVED": "dim",
}
_UNKNOWN: Final = "-"


@dataclass(frozen=True, slots=True)
class StatusTable:
    """One table of a status."""

    name: str
    """What its rows are: `target`, `key`, `gate`, `process`, `failover`."""
    columns: Columns
    rows: tuple[Row, ...]


def facts(status: GetStatusResponse) -> list[str]:
    """Return what stands above the tables: the version that runs, a canary, the last refused document."""
    now_s = unix_s(status.at)
    lines = [f"routes {version_line(status.routes, now_s)}"]
    if status.HasField("canary"):
        lines.append(canary_line(status.canary, now_s))
    if status.HasField("last_rejected"):
        lines.append(rejected_line(status.last_rejected, now_s))
    return lines


def tables(status: GetStatusResponse) -> list[StatusTable]:
    """Return every table; the one of failovers only if there were any."""
    all_of_them = [targets(status), keys(status), gates(status), _processes(status)]
    return [*all_of_them, failovers(status)] if status.failovers else all_of_them


def targets(status: GetStatusResponse) -> StatusTable:
    """Return the table of targets."""
    columns = Columns(
        ("target", "circuit", "in flight", "ok", "calls/min", "p50", "p95", "aliases", "override"),
        right=frozenset({"in flight", "ok", "calls/min", "p50", "p95"}),
        cut=("aliases", "override", "target"),
        left_out=("aliases", "p95"),
    )
    now_s = unix_s(status.at)
    return StatusTable("target", columns, tuple(_target_row(target, now_s) for target in status.targets))


def keys(status: GetStatusResponse) -> StatusTable:
    """Return the table of keys."""
    columns = Columns(
        ("key", "state", "ends", "in flight", "requests left", "tokens left", "weight", "group", "override"),
        right=frozenset({"in flight", "requests left", "tokens left", "weight"}),
        cut=("group", "override", "key"),
        left_out=("group", "weight"),
    )
    now_s = unix_s(status.at)
    return StatusTable("key", columns, tuple(_key_row(key, now_s) for key in status.keys))


def gates(status: GetStatusResponse) -> StatusTable:
    """Return the table of gates."""
    columns = Columns(
        ("gate", "in flight", "limit", "queued", "queue"),
        right=frozenset({"in flight", "limit", "queued", "queue"}),
        cut=("gate",),
    )
    return StatusTable("gate", columns, tuple(map(_gate_row, status.gates)))


def failovers(status: GetStatusResponse) -> StatusTable:
    """Return the table of the last failovers, the newest first."""
    columns = Columns(("failover", "asked for", "from", "to", "why"), cut=("asked for", "to", "from", "why"))
    now_s = unix_s(status.at)
    return StatusTable("failover", columns, tuple(_failover_row(failover, now_s) for failover in status.failovers))


def _processes(status: GetStatusResponse) -> StatusTable:
    figures = ("process", "pid", "in flight", "routes")
    columns = Columns(("process", "pid", "phase", "in flight", "routes", "started"), right=frozenset(figures))
    now_s = unix_s(status.at)
    return StatusTable("process", columns, tuple(_process_row(worker, now_s) for worker in status.workers))


def _target_row(target: TargetStatus, now_s: float) -> Row:
    cells = (
        f"{target.provider}/{target.model}",
        _word(target.circuit),
        str(target.in_flight),
        f"{100 * target.success_ratio:.1f} %" if target.HasField("success_ratio") else _UNKNOWN,
        str(target.attempts),
        _milliseconds(target.first_token_p50) if target.HasField("first_token_p50") else _UNKNOWN,
        _milliseconds(target.first_token_p95) if target.HasField("first_token_p95") else _UNKNOWN,
        " ".join(target.aliases),
        override_text(target.override, now_s) if target.HasField("override") else "",
    )
    return Row(cells, _TROUBLE.get(target.circuit, "cyan" if target.HasField("override") else ""))


def _key_row(key: KeyStatus, now_s: float) -> Row:
    cap = f"/{key.max_in_flight}" if key.HasField("max_in_flight") else ""
    cells = (
        f"{key.provider}/{key.key_id}",
        _word(key.state),
        f"in {span_text(unix_s(key.until) - now_s)}" if key.HasField("until") else "",
        f"{key.in_flight}{cap}",
        str(key.headroom_requests) if key.HasField("headroom_requests") else _UNKNOWN,
        str(key.headroom_tokens) if key.HasField("headroom_tokens") else _UNKNOWN,
        f"{key.weight:g}",
        key.quota_group,
        override_text(key.override, now_s) if key.HasField("override") else "",
    )
    return Row(cells, _TROUBLE.get(key.state, "cyan" if key.HasField("override") else ""))


def _gate_row(gate: GateStatus) -> Row:
    full = gate.queued > 0
    cells = (gate.provider, str(gate.in_flight), str(gate.limit), str(gate.queued), str(gate.queue))
    return Row(cells, "yellow" if full else "")


def _failover_row(failover: RecentFailover, now_s: float) -> Row:
    at = when(failover.at, now_s)
    # `from` is a word of Python's own.
    left = str(getattr(failover, "from"))
    return Row((at, failover.model, left, failover.to or "nobody", failover.failure_class))


def _process_row(worker: WorkerStatus, now_s: float) -> Row:
    cells = (
        str(worker.worker),
        str(worker.pid),
        worker.phase,
        str(worker.in_flight),
        str(worker.route_version),
        when(worker.started, now_s),
    )
    return Row(cells, "yellow" if worker.phase == "draining" else "")


def _word(state: str) -> str:
    return state.lower().replace("_", " ") or "none"


def _milliseconds(duration: Duration) -> str:
    return f"{1000 * span_s(duration):.0f} ms"
