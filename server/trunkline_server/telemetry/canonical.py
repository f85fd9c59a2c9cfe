"""The canonical log line: one line for each call, with all that a question about it starts from.

It is encoded from its record directly, with the fields of every other line in front: this is the one line that every
call pays for.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import islice

import msgspec

from trunkline_server.telemetry.logs import Log

CANCELLED = "CANCELLED"
"""The outcome of a call that its caller left, and of one that ended a stream."""
DETACHED = "DETACHED"
"""The outcome of a call whose stream goes on without it."""
_MAX_NAME_CHARS = 200
_MAX_ENTRIES = 8


class RpcRecord(msgspec.Struct, omit_defaults=True):
    """What is told of one call when it has ended.

    It has no field for anything that a prompt, an answer, a token or an exception said. What does not apply is left
    out of the line. Durations in seconds.
    """

    method: str
    event: str = ""
    level: str = ""
    timestamp: datetime | None = None
    request_id: str = ""
    caller: str = ""
    peer: str = ""
    """Address and port of the other end of the connection."""
    model: str = ""
    """What was asked for: an alias or `provider/model`."""
    alias: str = ""
    served_by: str = ""
    """`provider/model` that answered."""
    key_id: str = ""
    route_version: int = 0
    attempts: int = 0
    failed_attempts: list[str] = msgspec.field(default_factory=list)
    """The failure class of each attempt that failed, in order."""
    whys: list[str] = msgspec.field(default_factory=list)
    """Why each attempt was made, in order, where there was more than one."""
    not_made: list[str] = msgspec.field(default_factory=list)
    """Attempts that might have been made and were not, each with its reason; see `bounded`."""
    breaks: int = 0
    """How many attempts broke after content was sent."""
    on_break: str = ""
    """What was done after the last of them."""
    stream_id: str = ""
    """Of a stream that was resumed or ended by ResumeStream, or that its reader left while it could be resumed."""
    resumed: bool = False
    """Whether the call is a ResumeStream."""
    code: str = ""
    """The gRPC status code: for a call that its caller left, what grpc made of that."""
    reason: str = ""
    outcome: str = ""
    """COMPLETE, INCOMPLETE, FAILED, REFUSED (nothing was asked upstream), CANCELLED (the caller left, or ended the
    stream), or DETACHED (only this reader's call ended, the stream goes on)."""
    cancelled_by: str = ""
    """Who ended the call early: deadline, caller, drain, slow_reader or own_task."""
    queued_s: float | None = None
    first_frame_s: float | None = None
    duration_s: float = 0.0
    frames: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


def bounded(entries: Iterable[str]) -> list[str]:
    """Return the first 8 texts, each cut at 200 characters: what a line of the log has room for."""
    return [entry[:_MAX_NAME_CHARS] for entry in islice(entries, _MAX_ENTRIES)]


_ENCODER = msgspec.json.Encoder()


def emit(log: Log, record: RpcRecord, duration_s: float) -> None:
    """Write the line `rpc` of a call that took `duration_s`."""
    if not log.is_enabled_for(logging.INFO):
        return
    record.event = "rpc"
    record.level = "info"
    record.timestamp = datetime.now(UTC)
    record.model = record.model[:_MAX_NAME_CHARS]
    record.duration_s = round(duration_s, 6)
    log.write_line(_ENCODER.encode(record))
