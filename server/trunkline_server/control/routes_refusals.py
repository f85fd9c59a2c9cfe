"""How orders about the routes are refused: each refusal with its reason, and with what to do about it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from trunkline_server.config.findings import Finding
from trunkline_server.control.types import Guard, ReloadOrder, RouteVersion
from trunkline_server.engine.frames import CallFailedError, CallFailure, FieldViolation
from trunkline_server.routing.types import Reason

MAX_REASON_BYTES = 1_024
MAX_REQUEST_ID_BYTES = 128
MAX_WINDOW_S = 86_400.0
_MAX_VIOLATIONS = 50


JUDGED = frozenset({Reason.BAD_REQUEST, Reason.CANARY_RUNNING})
"""How a reload of the file may be refused that need not be tried again by itself."""


def refuse_long_reason(reason: str) -> None:
    """Raise BAD_REQUEST for a reason that is too long to be kept."""
    _refuse(_too_long("reason", reason, MAX_REASON_BYTES))


def refuse_bad_order(order: ReloadOrder) -> None:
    """Raise BAD_REQUEST with everything that is wrong with an order as such, whatever its document."""
    found = _too_long("reason", order.reason, MAX_REASON_BYTES)
    found += _too_long("request_id", order.request_id, MAX_REQUEST_ID_BYTES)
    if not 0.0 <= order.canary_fraction < 1.0:
        found.append(FieldViolation("canary_fraction", "must be above 0 and below 1, or 0 for no canary"))
    _refuse(found + _bad_guard(order.guard))


def _bad_guard(guard: Guard) -> list[FieldViolation]:
    found = []
    if not 0.0 < guard.window_s <= MAX_WINDOW_S:
        found.append(FieldViolation("guard.window", "must be above 0 and at most a day"))
    if not 0.0 <= guard.error_ratio <= 1.0:
        found.append(FieldViolation("guard.error_ratio", "must be from 0 to 1"))
    if not (guard.first_token_ratio > 0.0 and math.isfinite(guard.first_token_ratio)):
        found.append(FieldViolation("guard.first_token_ratio", "must be a number above 0"))
    return found


def _too_long(path: str, text: str, max_bytes: int) -> list[FieldViolation]:
    size = len(text.encode(errors="surrogatepass"))
    return [FieldViolation(path, f"has {size} bytes, at most {max_bytes} are allowed")] if size > max_bytes else []


def _refuse(found: list[FieldViolation]) -> None:
    if found:
        raise bad_request(found[0].path, found[0].message, more=found[1:])


def bad_request(path: str, message: str, *, more: Sequence[FieldViolation] = ()) -> CallFailedError:
    """Return BAD_REQUEST for a field of an order."""
    violations = (FieldViolation(path, message), *more)
    return CallFailedError(CallFailure(Reason.BAD_REQUEST, f"{path}: {message}", violations=violations))


def bad_document(findings: Sequence[Finding]) -> CallFailedError:
    """Return BAD_REQUEST for a document, with its first errors; what runs was kept."""
    errors = [finding for finding in findings if finding.severity == "error"]
    told = tuple(FieldViolation(finding.path, _with_line(finding)) for finding in errors[:_MAX_VIOLATIONS])
    return CallFailedError(
        CallFailure(
            Reason.BAD_REQUEST,
            f"the document has {len(errors)} error(s), so the routes were left as they are; PlanRoutes tells them all",
            violations=told,
            violations_omitted=len(errors) - len(told),
        )
    )


def _with_line(finding: Finding) -> str:
    return finding.message if finding.line is None else f"line {finding.line}: {finding.message}"


def stale_etag(running: RouteVersion) -> CallFailedError:
    """Return STALE_ETAG: the order is based on another version than the one that runs."""
    return CallFailedError(
        CallFailure(
            Reason.STALE_ETAG,
            f"version {running.version} runs, not the one that if_match_etag names: see what changed, then try again",
            metadata={"current_version": str(running.version), "current_etag": running.etag},
        )
    )


def canary_running(version: int) -> CallFailedError:
    """Return CANARY_RUNNING: only what ends the canary is taken now."""
    return CallFailedError(
        CallFailure(
            Reason.CANARY_RUNNING,
            f"version {version} is on trial: wait for its end, reload its own document without canary_fraction to keep "
            "it, or roll back to version 0 to end it",
            metadata={"canary_version": str(version)},
        )
    )


def version_not_found(version: int) -> CallFailedError:
    """Return VERSION_NOT_FOUND; 0 is the version before the running one."""
    which = f"version {version} is not kept" if version else "there is no version before the running one"
    return CallFailedError(CallFailure(Reason.VERSION_NOT_FOUND, f"{which}: ListRouteVersions tells which are"))


def changes_pile_up(waited_s: float) -> CallFailedError:
    """Return QUEUE_TIMEOUT: another change is still under way."""
    return CallFailedError(
        CallFailure(
            Reason.QUEUE_TIMEOUT,
            f"another change of the routes was still under way after {waited_s:g} s: try again",
            retry_after_s=1.0,
        )
    )


def not_kept(why: str) -> CallFailedError:
    """Return INTERNAL: the data directory failed, and nothing was changed."""
    return CallFailedError(CallFailure(Reason.INTERNAL, f"the version can't be kept, so nothing was changed: {why}"))


def not_swapped() -> CallFailedError:
    """Return INTERNAL: the new routes could not take the place of the old ones, by a fault of ours."""
    return CallFailedError(
        CallFailure(Reason.INTERNAL, "the routes could not be swapped, so those before run on; the log says why")
    )


def damaged(why: str) -> CallFailedError:
    """Return INTERNAL: a version's document can't be read."""
    return CallFailedError(CallFailure(Reason.INTERNAL, f"the version can't be read: {why}"))
