"""`trunkline presets`: the servers whose settings a routes file need not spell out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from trunkline_server.cli import exits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trunkline_server.config.presets import Preset


def presets(
    name: str | None = None,
    /,
    *,
    json_output: Annotated[bool, Parameter(name="--json", help="Print one JSON object on one line.")] = False,
) -> int:
    """List the presets of this release: what `preset: NAME` brings to a provider.

    With a NAME: all of that one, with what the server lacks and where that was
    read. Settings of the routes file go before a preset's.
    """
    from trunkline_server.config.near import NearNames
    from trunkline_server.config.presets import shipped_presets

    known = shipped_presets()
    if name is not None and name not in known:
        raise exits.UsageError(f"there is no preset of this name{NearNames().hint(name, known)}")
    chosen = known if name is None else {name: known[name]}
    if json_output:
        import json

        print(json.dumps({one: preset.model_dump(mode="json") for one, preset in chosen.items()}))
    elif name is None:
        _show_all(known)
    else:
        _show_one(name, known[name])
    return exits.OK


def _show_all(known: Mapping[str, Preset]) -> None:
    from trunkline_server.cli.tables import make_table, show

    table = make_table("preset", "what", "protocol", "base_url", "key")
    for name, preset in known.items():
        table.add_row(name, preset.what, preset.protocol, preset.base_url, preset.key or "")
    show(table)


def _show_one(name: str, preset: Preset) -> None:
    from trunkline_server.cli.tables import make_table, show

    table = make_table(name, preset.what)
    for field, value in preset.model_dump(mode="json", exclude_defaults=True, exclude={"what", "quirks"}).items():
        table.add_row(field, _plain(value))
    for field, value in preset.quirks.items():
        table.add_row(f"quirks.{field}", _plain(value))
    show(table)


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{name}: {_plain(item)}" for name, item in value.items())
    if isinstance(value, list):
        return " ".join(map(_plain, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
