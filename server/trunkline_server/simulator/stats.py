"""What the simulator counts, and what it remembers of the last requests, for tests to look at."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

import msgspec

REMEMBERED = 64
"""So many requests and cancellations are kept."""

REMEMBERED_BODY_BYTES = 256 * 1024
"""Of a longer body only this much is kept, and it has no `json`."""

MAX_NAMES = 1000
"""Models and keys beyond this many different ones are counted together as `(other)`."""


class RecordedRequest(msgspec.Struct, kw_only=True):
    """One request as it arrived, and how it was answered so far."""

    number: int
    """Counts from 1 since the start or the last reset."""
    at_monotonic_s: float
    method: str
    path: str
    query: str
    """Without its question mark."""
    raw_headers: Mapping[str, str]
    body: bytes
    body_bytes: int
    """Length of the whole body."""
    protocol: str = ""
    """The dialect that it is in; empty while its body is read."""
    model: str = ""
    key: str = ""
    status: int | None = None
    """What was answered; None: nothing yet, or reset before a byte."""
    chunks_sent: int = 0
    """Content chunks that were written so far."""
    went_on_after_bytes: int | None = None
    """So many bytes of the answer's text were in the request already, and it went on from there; None: it is whole."""
    ended: str | None = None
    """None: in flight; else `answered`, `broken` (by a fault), `cancelled` (the client left), `stopped` (we dropped the
    connection), `failed` (a bug of the simulator)."""

    @property
    def headers(self) -> dict[str, str]:
        """Request headers, names in lower case."""
        return {name.lower(): value for name, value in self.raw_headers.items()}

    @property
    def json(self) -> Any:
        """Return the decoded body, or None if it was no JSON or longer than what is kept."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def as_dict(self) -> dict[str, Any]:
        """Return what `GET /_control` shows."""
        return {
            "number": self.number,
            "at_monotonic_s": self.at_monotonic_s,
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "headers": self.headers,
            "json": self.json,
            "body_bytes": self.body_bytes,
            "protocol": self.protocol,
            "model": self.model,
            "key": self.key,
            "status": self.status,
            "chunks_sent": self.chunks_sent,
            "went_on_after_bytes": self.went_on_after_bytes,
            "ended": self.ended,
        }


class Cancelled(msgspec.Struct, frozen=True, kw_only=True):
    """A request whose client went away before its answer was done."""

    number: int
    model: str
    key: str
    chunks_sent: int
    after_s: float
    """From the request's arrival to the end of its connection."""
    at_monotonic_s: float
    """`time.monotonic()` of this machine when the connection's end was seen."""


class Stats:
    """Counters since the start or the last reset; `connections` and `in_flight` are of this moment."""

    def __init__(self) -> None:
        self.connections = 0
        self.in_flight = 0
        self.reset()

    def reset(self) -> None:
        """Set all counters to zero; what is in flight and connected stays, and the peak starts from there."""
        self.requests = 0
        self.by_model: Counter[str] = Counter()
        self.by_key: Counter[str] = Counter()
        self.by_status: Counter[int] = Counter()
        self.peak_in_flight = self.in_flight
        self.connections_opened = 0
        self.broken = 0
        self.cancelled = 0
        self.last_cancel_monotonic_s: float | None = None
        self.cancels: deque[Cancelled] = deque(maxlen=REMEMBERED)
        self.last_requests: deque[RecordedRequest] = deque(maxlen=REMEMBERED)

    def begin(self, method: str, path: str, query: str, headers: Mapping[str, str]) -> RecordedRequest:
        """Count and remember a request that has arrived; `end` must follow exactly once."""
        self.requests += 1
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        record = RecordedRequest(
            number=self.requests,
            at_monotonic_s=time.monotonic(),
            method=method,
            path=path,
            query=query,
            raw_headers=headers,
            body=b"",
            body_bytes=0,
        )
        self.last_requests.append(record)
        return record

    def got_body(self, record: RecordedRequest, body: bytes) -> None:
        """Remember the body of a request, up to a bound."""
        record.body_bytes = len(body)
        record.body = body[:REMEMBERED_BODY_BYTES]

    def identified(self, record: RecordedRequest, *, key: str | None = None, model: str | None = None) -> None:
        """Count a request under its key or its model, as soon as that is known."""
        if key is not None:
            record.key = key
            _count(self.by_key, key)
        if model is not None:
            record.model = model
            _count(self.by_model, model)

    def answered(self, record: RecordedRequest, status: int) -> None:
        """Count the status of an answer, when its first byte goes out."""
        record.status = status
        self.by_status[status] += 1

    def end(self, record: RecordedRequest, ended: str) -> None:
        """Count the end of a request; `ended` is one of the words of RecordedRequest.ended."""
        self.in_flight -= 1
        record.ended = ended
        if ended == "broken":
            self.broken += 1
        elif ended == "cancelled":
            now_s = time.monotonic()
            self.cancelled += 1
            self.last_cancel_monotonic_s = now_s
            self.cancels.append(
                Cancelled(
                    number=record.number,
                    model=record.model,
                    key=record.key,
                    chunks_sent=record.chunks_sent,
                    after_s=now_s - record.at_monotonic_s,
                    at_monotonic_s=now_s,
                )
            )

    def as_dict(self) -> dict[str, Any]:
        """Return what `GET /_control` shows."""
        return {
            "requests": self.requests,
            "by_model": dict(self.by_model),
            "by_key": dict(self.by_key),
            "by_status": {str(status): count for status, count in self.by_status.items()},
            "in_flight": self.in_flight,
            "peak_in_flight": self.peak_in_flight,
            "connections": self.connections,
            "connections_opened": self.connections_opened,
            "broken": self.broken,
            "cancelled": self.cancelled,
            "last_cancel_monotonic_s": self.last_cancel_monotonic_s,
            "cancels": [msgspec.to_builtins(cancel) for cancel in self.cancels],
            "last_requests": [record.as_dict() for record in self.last_requests],
        }


def _count(counter: Counter[str], name: str) -> None:
    counter[name if name in counter or len(counter) < MAX_NAMES else "(other)"] += 1
