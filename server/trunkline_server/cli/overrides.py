"""`trunkline keys` and `trunkline targets`: how they are, and an operator's word on one of them, for a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import App, Parameter

from trunkline_server.cli import durations, exits
from trunkline_server.cli.admin_call import DEFAULT_ADMIN, Admin, ask
from trunkline_server.cli.durations import parse_duration, validate_duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from trunkline.v1 import GetStatusResponse, OverrideKeyResponse, OverrideTargetResponse
    from trunkline_server.cli.status_tables import StatusTable

_LONGEST_S: Final = 7 * 24 * 3600

_FOR_BOTH: Final = {
    "drain": "Give it no new call until the time is over; those in flight end.",
    "disable": "The same as drain, and meant to last.",
    "clear": "Take back what was said before.",
}
_FOR_TARGETS: Final = {
    "force-open": "Open its circuit: calls go elsewhere, as after an outage.",
    "force-closed": "Close its circuit, whatever happens.",
}

Key = Annotated[str, Parameter(name="KEY", help="PROVIDER/KEY: the provider's name and the key's id.")]
Reason = Annotated[str, Parameter(help="Why; kept in the audit log.")]
Target = Annotated[str, Parameter(name="TARGET", help="PROVIDER/MODEL.")]


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """How long an operator's word holds, and why it is given."""

    ttl: Annotated[
        str, Parameter(validator=validate_duration, help="How long it holds, such as 30s, 10m or 2h; at most 7d.")
    ]
    reason: Annotated[str, Parameter(help="Why; shown beside it, and kept in the audit log.")] = ""


def keys_app() -> App:
    """Return `trunkline keys` with its sub-commands."""
    app = App(name="keys", help="Show how keys are, or take one out of service for a time. Secrets are nowhere.")
    app.default(_list_keys)
    for name, told in _FOR_BOTH.items():
        app.command(_command(name, Key, _override_key), name=name, help=told)
    return app


def targets_app() -> App:
    """Return `trunkline targets` with its sub-commands."""
    app = App(name="targets", help="Show how targets are, or take one out of service for a time.")
    app.default(_list_targets)
    for name, told in {**_FOR_BOTH, **_FOR_TARGETS}.items():
        app.command(_command(name, Target, _override_target), name=name, help=told)
    return app


def _list_keys(*, admin: Admin = DEFAULT_ADMIN) -> int:
    """Show how keys are; with --json the whole status, in which they are `keys`."""
    return _list(admin, lambda tables: tables[1])


def _list_targets(*, admin: Admin = DEFAULT_ADMIN) -> int:
    """Show how targets are; with --json the whole status, in which they are `targets`."""
    return _list(admin, lambda tables: tables[0])


def _list(admin: Admin, pick: Callable[[list[StatusTable]], StatusTable]) -> int:
    from trunkline.v1 import GetStatusRequest

    def show(response: GetStatusResponse) -> None:
        from trunkline_server.cli.screen import print_table
        from trunkline_server.cli.status_tables import tables

        table = pick(tables(response))
        print_table(table.columns, table.rows)

    return ask(admin, lambda stub: stub.GetStatus, GetStatusRequest(), show)


def _command(name: str, kind: object, order: Callable[[str, str, str | None, str, Admin], int]) -> Callable[..., int]:
    """Return the function of a sub-command; only taking a word back takes no time to live."""

    def with_ttl(what: str, /, *, word: Word, admin: Admin = DEFAULT_ADMIN) -> int:
        return order(name, what, word.ttl, word.reason, admin)

    def without_ttl(what: str, /, *, reason: Reason = "", admin: Admin = DEFAULT_ADMIN) -> int:
        return order(name, what, None, reason, admin)

    command: Callable[..., int] = without_ttl if name == "clear" else with_ttl
    command.__annotations__["what"] = kind
    return command


def _override_key(name: str, what: str, ttl: str | None, reason: str, admin: Admin) -> int:
    from trunkline.v1 import OverrideKeyRequest, OverrideMode

    provider, slash, key_id = what.partition("/")
    if not (provider and slash and key_id):
        raise exits.UsageError("KEY must be PROVIDER/KEY, as `trunkline keys` names them")
    request = OverrideKeyRequest(
        provider=provider, key_id=key_id, mode=OverrideMode.Value(_mode_name(name)), reason=reason
    )
    if ttl is not None:
        request.ttl.FromNanoseconds(_nanoseconds(ttl))
    return ask(admin, lambda stub: stub.OverrideKey, request, lambda response: _say(f"key {what}", response))


def _override_target(name: str, what: str, ttl: str | None, reason: str, admin: Admin) -> int:
    from trunkline.v1 import OverrideMode, OverrideTargetRequest

    provider, slash, model = what.partition("/")
    if not (provider and slash and model):
        raise exits.UsageError("TARGET must be PROVIDER/MODEL, as `trunkline targets` names them")
    request = OverrideTargetRequest(target=what, mode=OverrideMode.Value(_mode_name(name)), reason=reason)
    if ttl is not None:
        request.ttl.FromNanoseconds(_nanoseconds(ttl))
    return ask(admin, lambda stub: stub.OverrideTarget, request, lambda response: _say(f"target {what}", response))


def _mode_name(name: str) -> str:
    return "OVERRIDE_MODE_" + name.upper().replace("-", "_")


def _nanoseconds(ttl: str) -> int:
    ttl_s = parse_duration(ttl)
    if ttl_s > _LONGEST_S:
        raise exits.UsageError("--ttl is at most 7d: what is to last longer belongs in the routes file")
    return round(ttl_s * 1e9)


def _say(what: str, response: OverrideKeyResponse | OverrideTargetResponse) -> None:
    from trunkline_server.cli.admin_wording import exact, override_text

    if not response.HasField("override"):
        print(f"{what}: nothing is said of it any more")
        return
    told = override_text(response.override, durations.now())
    print(f"{what}: {told} (until {exact(response.override.until)})")
