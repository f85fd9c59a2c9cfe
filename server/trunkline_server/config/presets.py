"""Presets: what a provider's `preset` stands for, as shipped data (`presets/presets.yaml`) that is read once a process.

A preset is put under a provider's settings before anything looks at them: from there on a provider of a preset is one
that says everything itself. So every check, change and fence holds for what a preset brings as for what is written out.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from trunkline_server.config.fields import GIVEN, BaseUrl, Label
from trunkline_server.config.tree import read_tree

if TYPE_CHECKING:
    from trunkline_server.config.tree import Value

DATA: Final = files("trunkline_server") / "presets" / "presets.yaml"
"""Where they stand."""

_SECTIONS: Final = ("gate", "timeouts")
"""Settings of a preset that are mappings: what a document says in them goes before it one by one."""


class Preset(BaseModel):
    """What is known of one vendor's or program's server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    what: Annotated[str, Field(min_length=1)]
    """Its name, for people."""

    protocol: str
    """The wire protocol that it speaks."""

    wire: Annotated[str | None, GIVEN] = None
    """Which of the protocol's wires serves its models, if it is not the protocol's own."""

    base_url: BaseUrl
    """Where its API starts; for a server that companies run themselves, its usual port on this machine."""

    key: Annotated[Label | None, GIVEN] = None
    """The variable that the vendor's own tools read their key from; None: it needs no key."""

    source: BaseUrl
    """Where the facts were read."""

    as_of: date
    """The day on which that was done."""

    gate: Mapping[str, Any] = {}
    timeouts: Mapping[str, Any] = {}
    """Settings of these names."""

    quirks: Mapping[str, Any] = {}
    """In what it differs from its protocol: fields of `providers.quirks`, as plain values."""

    def brought(self) -> dict[str, Any]:
        """Return the settings of a provider that it stands for; those that say nothing are left out."""
        sections = {name: dict(getattr(self, name)) for name in _SECTIONS if getattr(self, name)}
        return {"protocol": self.protocol, "base_url": self.base_url, **sections}


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    presets: Annotated[Mapping[Label, Preset], Field(min_length=1)]


def read_presets(text: bytes) -> Mapping[str, Preset]:
    """Return the presets in a YAML text, by name. Raises ValueError, with what is wrong, for one that is not sound."""
    tree, findings = read_tree(text)
    if tree is None or findings:
        raise ValueError("; ".join(f"line {finding.line}: {finding.message}" for finding in findings))
    return _Document.model_validate(tree.value).presets


@cache
def shipped_presets() -> Mapping[str, Preset]:
    """Return the presets that come with this release."""
    return read_presets(DATA.read_bytes())


def preset_of(settings: Mapping[str, Value]) -> Preset | None:
    """Return the preset that a provider's plain settings name; None if they name none, or one that there is not."""
    name = settings.get("preset")
    return shipped_presets().get(name) if isinstance(name, str) else None


def with_preset(settings: Value) -> Value:
    """Return a provider's plain settings with what its preset brings under them; anything else as it is."""
    preset = preset_of(settings) if isinstance(settings, dict) else None
    if preset is None or not isinstance(settings, dict):
        return settings
    merged: dict[str, Value] = {**preset.brought(), **settings}
    for name in _SECTIONS:
        given, brought = settings.get(name), getattr(preset, name)
        if isinstance(given, dict) and brought:
            merged[name] = {**brought, **given}
    return merged
