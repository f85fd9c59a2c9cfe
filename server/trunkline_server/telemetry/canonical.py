"""The canonical log line: one line for each call, with all that a question about it starts from."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from trunkline_server.telemetry.logs import Log

_MAX_NAME_CHARS = 200


@dataclass(slots=True)
class RpcRecord:
    """What is told of one call when it has ended.

    It has no field for anything that a prompt, an answer, a token or an exception said. None and 0 of what does not
    apply are left out of the line. Durations in seconds.
    """

    method: str
    started_at: float
    """Event-loop time at which the call came."""
    caller: str = ""
    peer: str = ""
    """Address and port of the other end of the connection."""
    request_id: str = ""
    model: str = ""
    """What was asked for: an alias or `provider/model`."""
    alias: str = ""
    served_by: str = ""
    """`provider/model` that answered."""
    key_id: str = ""
    route_version: int = 0
    attempts: int = 0
    failed_attempts: list[str] = field(default_factory=list)
    """The failure class of each attempt that failed, in order."""
    code: str = ""
    """The gRPC status code; empty while the call runs, and for one that its caller left."""
    reason: str = ""
    outcome: str = ""
    """COMPLETE, INCOMPLETE, FAILED, REFUSED (nothing was asked upstream), or CANCELLED (the caller left)."""
    queued_s: float | None = None
    first_frame_s: float | None = None
    frames: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    cancelled_by: str = ""
    """Who ended the call early: deadline, caller, drain, slow_reader or own_task."""


def emit(log: Log, record: RpcRecord, now: float) -> None:
    """Write the line `rpc`; `now` is the event-loop time at which the call ended."""
    if not log.is_enabled_for(logging.INFO):
        return
    fields: dict[str, object] = {
        "method": record.method,
        "request_id": record.request_id,
        "caller": record.caller,
        "peer": record.peer,
        "model": record.model[:_MAX_NAME_CHARS],
        "alias": record.alias,
        "served_by": record.served_by,
        "key_id": record.key_id,
        "route_version": record.route_version,
        "attempts": record.attempts,
        "failed_attempts": record.failed_attempts,
        "code": record.code,
        "reason": record.reason,
        "outcome": record.outcome,
        "cancelled_by": record.cancelled_by,
        "frames": record.frames,
        "bytes_in": record.bytes_in,
        "bytes_out": record.bytes_out,
    }
    line = {name: value for name, value in fields.items() if value}
    if record.queued_s is not None:
        line["queued_s"] = round(record.queued_s, 6)
    if record.first_frame_s is not None:
        line["first_frame_s"] = round(record.first_frame_s, 6)
    line["duration_s"] = round(now - record.started_at, 6)
    log.info("rpc", **line)
