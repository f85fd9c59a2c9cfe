"""A failed call, shown: lines for people on standard error, one JSON object for programs on standard output."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

from trunkline_server.cli import exits

if TYPE_CHECKING:
    from trunkline_server.cli.calling import CallFailedError, Way

_NEXT_STEPS: Final = {
    "STALE_ETAG": (
        "somebody published since: look at `trunkline routes show`, then plan again and give --if-match the etag "
        "that the plan names"
    ),
    "CANARY_RUNNING": "end the canary first (`trunkline routes rollback`), or wait until its window is over",
    "VERSION_NOT_FOUND": "`trunkline routes history` names the versions that are kept",
    "TARGET_NOT_FOUND": "`trunkline targets` names those there are",
    "KEY_NOT_FOUND": "`trunkline keys` names those there are",
    "PERMISSION_DENIED": "changing anything, and planning it, takes an admin with the role operator",
}
"""What to do about a refusal of an admin's, where its message alone does not say it."""


def show_failure(error: CallFailedError, server: Way, *, as_json: bool, attempts_told: bool = False) -> int:
    """Print what a failed call says; return the exit code. `attempts_told`: people have seen its attempts already."""
    if as_json:
        print(json.dumps(_plain(error)), flush=True)
    else:
        for line in failure_lines(error, server, with_attempts=not attempts_told):
            print(line, file=sys.stderr)
    return exits.FAILED


def failure_lines(error: CallFailedError, server: Way, *, with_attempts: bool = True) -> list[str]:
    """Return a failed call as lines: attempts, status and reason, wrong fields, when to come back, what to do."""
    from trunkline_server.cli.wording import attempt_line, class_name

    failure = error.failure
    lines = []
    if failure.route_failure is not None and with_attempts:
        lines += [attempt_line(attempt) for attempt in failure.route_failure.attempts]
    status = " ".join(filter(None, (failure.code.name, failure.reason)))
    if failure.route_failure is not None and (named := class_name(failure.route_failure.failure_class)):
        status += f" ({named})"
    lines.append(f"failed: {status}: {failure.message}")
    lines += [f"  {bad.field or 'request'}: {bad.description}" for bad in failure.field_violations]
    lines += [f"  {name}: {value}" for name, value in sorted(failure.metadata.items())]
    if failure.retry_after_s is not None:
        lines.append(f"  retry after: {failure.retry_after_s:g} s")
    if failure.pushback_ms is not None:
        said = "do not repeat" if failure.pushback_ms < 0 else f"repeat after {failure.pushback_ms} ms"
        lines.append(f"  grpc-retry-pushback-ms: {failure.pushback_ms} (to the caller's library: {said})")
    if hint := _hint(error, server):
        lines.append(hint)
    return lines


def _hint(error: CallFailedError, server: Way) -> str:
    """Return what the person at the shell may do about it; empty if the failure says it all."""
    failure = error.failure
    if failure.code.name == "UNAUTHENTICATED":
        given = f"the token that was given is not one of its {server.port}'" if server.token else "no token was given"
        return f"{server.server} asks for a token and {given}: use --token or {server.variable}"
    if failure.reason:
        return _NEXT_STEPS.get(failure.reason, "") if server.port == "operators" else ""
    if failure.code.name == "UNAVAILABLE":
        return f"cannot reach a server at {server.server}: is `trunkline serve` running there? (--server)"
    if failure.code.name == "UNIMPLEMENTED":
        asked = f"for {server.port}: give the address after `{server.word}`"
        return f"what answers at {server.server} is no Trunkline port {asked}"
    if failure.code.name == "DEADLINE_EXCEEDED":
        return "the time given by --timeout-s passed"
    return ""


def _plain(error: CallFailedError) -> dict[str, Any]:
    from trunkline import to_json

    failure = error.failure
    route_failure = failure.route_failure
    return {
        "code": failure.code.name,
        "reason": failure.reason,
        "message": failure.message,
        "metadata": dict(failure.metadata),
        "retry_after_s": failure.retry_after_s,
        "retry_pushback_ms": failure.pushback_ms,
        "violations": [{"field": bad.field, "description": bad.description} for bad in failure.field_violations],
        "route_failure": None if route_failure is None else json.loads(to_json(route_failure)),
    }
