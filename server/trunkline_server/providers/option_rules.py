"""Which provider options a caller may pass: rules of one vendor, judged alike for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trunkline_server.providers.base import OptionFinding


@dataclass(frozen=True, slots=True)
class OptionRules:
    """The keys of one vendor's body that are not a caller's to pass. Every other key passes: the provider judges it."""

    machine: frozenset[str]
    """Refused whatever the operator allows: another value would break routing, decoding or accounting."""
    typed: Mapping[str, str]
    """Keys that have a typed field of the request, and that field."""
    costly: Mapping[str, str]
    """Keys that raise cost, and how."""

    def check(self, keys: Iterable[str], allowed: frozenset[str]) -> list[OptionFinding]:
        """Return a finding for each key that is not the caller's to pass.

        A key with a typed field and a key that raises cost pass if `allowed` names them; then the option goes before
        the typed field. Those of `machine` are refused even if `allowed` names them.
        """
        return [finding for key in keys if (finding := self.finding(key, key, allowed)) is not None]

    def finding(self, path: str, key: str, allowed: frozenset[str]) -> OptionFinding | None:
        """Return what is wrong with one key, which stands at `path` of the options; None if nothing is."""
        if key in self.machine:
            return OptionFinding(path, "written by the gateway itself; it cannot be allowed")
        if key in allowed:
            return None
        if key in self.typed:
            return OptionFinding(path, f"has a field of its own in the request: {self.typed[key]}")
        if key in self.costly:
            return OptionFinding(path, f"raises cost, since {self.costly[key]}; not allowed to this caller")
        return None
