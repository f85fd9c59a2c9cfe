"""Admin requests from their bytes. Decoding is validation: all is well with what comes out, or all violations are told.

What a routes document says is not looked at here; only that it is no larger than one may be.
"""

from __future__ import annotations

import math
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message

from trunkline import v1 as pb
from trunkline_server.config.tree import MAX_BYTES as MAX_SOURCE_BYTES
from trunkline_server.control.types import Guard, OverrideMode, OverrideOrder, ReloadOrder, RollbackOrder
from trunkline_server.rpc.decode import MAX_REQUEST_ID_BYTES
from trunkline_server.rpc.violations import InvalidRequestError, Violations

MAX_REASON_BYTES = 1024
MAX_NAME_BYTES = 256
"""For providers, models and ids of keys."""
MAX_ETAG_BYTES = 128
MAX_PAGE_TOKEN_BYTES = 256
MAX_PAGE_SIZE = 100
DEFAULT_PAGE_SIZE = 50
MAX_FIRST_TOKEN_RATIO = 1000.0
DAY_S = 86_400.0
MAX_TTL_S = 7 * DAY_S
MIN_EVERY_S, MAX_EVERY_S, DEFAULT_EVERY_S = 0.1, 60.0, 1.0

_NANOS = 1_000_000_000
_MODES = {pb.OverrideMode.Value(f"OVERRIDE_MODE_{each.value}"): each for each in OverrideMode}
_FOR_TARGETS = frozenset({OverrideMode.FORCE_OPEN, OverrideMode.FORCE_CLOSED})
_NO_MODE = OverrideMode.CLEAR
"""Stands in for a mode that is none, until that is told."""

_M = TypeVar("_M", bound=Message)


def parse(kind: type[_M], raw: bytes) -> _M:
    """Return the message in `raw`. Raises InvalidRequestError if it is none of this kind."""
    try:
        return kind.FromString(raw)
    except DecodeError:
        raise InvalidRequestError(f"not a valid {kind.DESCRIPTOR.name} message") from None


def decode_plan(raw: bytes) -> tuple[bytes | None, str]:
    """Return the document, None for the routes file, and the etag to compare with. Raises InvalidRequestError."""
    request = parse(pb.PlanRoutesRequest, raw)
    found = Violations()
    source = _source(request, found)
    _check_text(request.base_etag, "base_etag", MAX_ETAG_BYTES, found)
    found.raise_if_any()
    return source, request.base_etag


def decode_reload(raw: bytes) -> ReloadOrder:
    """Return the order in a serialized ReloadRoutesRequest. Raises InvalidRequestError."""
    request = parse(pb.ReloadRoutesRequest, raw)
    found = Violations()
    source = _source(request, found)
    _check_text(request.if_match_etag, "if_match_etag", MAX_ETAG_BYTES, found)
    _check_text(request.reason, "reason", MAX_REASON_BYTES, found)
    _check_id(request.request_id, found)
    fraction = request.canary_fraction
    if not (fraction == 0 or 0 < fraction < 1):
        found.add("canary_fraction", "must be above 0 and below 1; 0 publishes for all traffic at once")
    guard = _guard(request.guard, found) if request.HasField("guard") else Guard()
    if request.HasField("guard") and fraction == 0:
        found.add("guard", "guards a canary: give canary_fraction too")
    found.raise_if_any()
    return ReloadOrder(
        source=source,
        if_match_etag=request.if_match_etag,
        dry_run=request.dry_run,
        reason=request.reason,
        request_id=request.request_id,
        canary_fraction=fraction,
        guard=guard,
    )


def decode_rollback(raw: bytes) -> RollbackOrder:
    """Return the order in a serialized RollbackRoutesRequest. Raises InvalidRequestError."""
    request = parse(pb.RollbackRoutesRequest, raw)
    found = Violations()
    _check_text(request.if_match_etag, "if_match_etag", MAX_ETAG_BYTES, found)
    _check_text(request.reason, "reason", MAX_REASON_BYTES, found)
    found.raise_if_any()
    return RollbackOrder(request.to_version, request.if_match_etag, request.reason, request.dry_run)


def decode_list_versions(raw: bytes) -> tuple[int, str]:
    """Return how many versions are wanted, and from which page on. Raises InvalidRequestError."""
    request = parse(pb.ListRouteVersionsRequest, raw)
    found = Violations()
    if request.page_size > MAX_PAGE_SIZE:
        found.add("page_size", f"must be at most {MAX_PAGE_SIZE}; 0: {DEFAULT_PAGE_SIZE}")
    _check_text(request.page_token, "page_token", MAX_PAGE_TOKEN_BYTES, found)
    found.raise_if_any()
    return request.page_size or DEFAULT_PAGE_SIZE, request.page_token


def decode_watch_status(raw: bytes) -> float:
    """Return how often the status is wanted, in seconds. Raises InvalidRequestError."""
    request = parse(pb.WatchStatusRequest, raw)
    if not request.HasField("every"):
        return DEFAULT_EVERY_S
    found = Violations()
    every_s = _seconds(request.every)
    if not MIN_EVERY_S <= every_s <= MAX_EVERY_S:
        found.add("every", f"must be a duration from {MIN_EVERY_S} s to {MAX_EVERY_S:.0f} s")
    found.raise_if_any()
    return every_s


def decode_override_target(raw: bytes) -> OverrideOrder:
    """Return the order in a serialized OverrideTargetRequest. Raises InvalidRequestError."""
    request = parse(pb.OverrideTargetRequest, raw)
    found = Violations()
    # A model's own name may hold slashes; a provider's does not.
    provider, _, model = request.target.partition("/")
    if not provider or not model or len(request.target.encode()) > MAX_NAME_BYTES:
        found.add("target", f"must be provider/model, at most {MAX_NAME_BYTES} bytes")
    mode = _mode(request.mode, found)
    return _override(provider, model, mode, request, found)


def decode_override_key(raw: bytes) -> OverrideOrder:
    """Return the order in a serialized OverrideKeyRequest. Raises InvalidRequestError."""
    request = parse(pb.OverrideKeyRequest, raw)
    found = Violations()
    for name in ("provider", "key_id"):
        value = getattr(request, name)
        if not value or len(value.encode()) > MAX_NAME_BYTES:
            found.add(name, f"must be 1 to {MAX_NAME_BYTES} bytes")
    mode = _mode(request.mode, found)
    if mode in _FOR_TARGETS:
        found.add("mode", f"{mode.value} is for targets only: a key has no circuit")
    return _override(request.provider, request.key_id, mode, request, found)


def decode_drain(raw: bytes) -> tuple[float | None, str]:
    """Return the grace in seconds, None: the process's own, and the reason. Raises InvalidRequestError."""
    request = parse(pb.DrainRequest, raw)
    found = Violations()
    grace_s = _seconds(request.grace) if request.HasField("grace") else None
    if grace_s is not None and not 0 <= grace_s <= DAY_S:
        found.add("grace", "must be a duration from 0 to a day")
    _check_text(request.reason, "reason", MAX_REASON_BYTES, found)
    found.raise_if_any()
    return grace_s, request.reason


def _source(request: pb.PlanRoutesRequest | pb.ReloadRoutesRequest, found: Violations) -> bytes | None:
    """Return the document's bytes; None: the routes file is to be read."""
    if not request.HasField("source"):
        return None
    source = request.source.encode()
    if len(source) > MAX_SOURCE_BYTES:
        found.add("source", f"must be at most {MAX_SOURCE_BYTES} bytes")
    return source


def _guard(guard: pb.CanaryGuard, found: Violations) -> Guard:
    """Return the guard of a canary; what is not set is as usual."""
    usual = Guard()
    window_s = _seconds(guard.window) if guard.HasField("window") else usual.window_s
    if not 0 < window_s <= DAY_S:
        found.add("guard.window", "must be a duration above 0, at most a day")
    error_ratio = guard.error_ratio if guard.HasField("error_ratio") else usual.error_ratio
    if not 0 <= error_ratio <= 1:
        found.add("guard.error_ratio", "must be from 0 to 1")
    first_token_ratio = guard.first_token_ratio if guard.HasField("first_token_ratio") else usual.first_token_ratio
    if not 0 < first_token_ratio <= MAX_FIRST_TOKEN_RATIO:
        found.add("guard.first_token_ratio", f"must be above 0, at most {MAX_FIRST_TOKEN_RATIO:.0f}")
    return Guard(window_s, error_ratio, first_token_ratio)


def _mode(number: pb.OverrideMode.ValueType, found: Violations) -> OverrideMode:
    """Return what is said of a target or a key."""
    mode = _MODES.get(number)
    if mode is None:
        found.add("mode", f"must be one of {', '.join(map(pb.OverrideMode.Name, _MODES))}")
        return _NO_MODE
    return mode


def _override(
    provider: str,
    name: str,
    mode: OverrideMode,
    request: pb.OverrideTargetRequest | pb.OverrideKeyRequest,
    found: Violations,
) -> OverrideOrder:
    """Return the order, once ttl and reason are looked at too. Raises InvalidRequestError."""
    ttl_s = None
    if request.mode != pb.OVERRIDE_MODE_CLEAR:
        ttl_s = _seconds(request.ttl) if request.HasField("ttl") else 0.0
        if not 0 < ttl_s <= MAX_TTL_S:
            found.add("ttl", "must be a duration above 0, at most 7 days: an override ends by itself")
    _check_text(request.reason, "reason", MAX_REASON_BYTES, found)
    found.raise_if_any()
    return OverrideOrder(provider, name, mode, ttl_s, request.reason)


def _seconds(duration: Duration) -> float:
    """Return a time in seconds; NaN, which is in no range, for what is no well-formed Duration."""
    seconds, nanos = duration.seconds, duration.nanos
    if abs(nanos) >= _NANOS or seconds * nanos < 0:
        return math.nan
    return seconds + nanos / _NANOS


def _check_text(text: str, path: str, max_bytes: int, found: Violations) -> None:
    if len(text.encode()) > max_bytes:
        found.add(path, f"must be at most {max_bytes} bytes")


def _check_id(request_id: str, found: Violations) -> None:
    """Note an id that does not belong into logs."""
    if len(request_id) > MAX_REQUEST_ID_BYTES or not (request_id.isascii() and request_id.isprintable()):
        found.add("request_id", f"must be at most {MAX_REQUEST_ID_BYTES} bytes of printable ASCII")
