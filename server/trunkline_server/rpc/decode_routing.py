"""The request's wishes about routing. Unset, zero, false, empty and UNSPECIFIED ask for nothing."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration

from trunkline import v1 as pb
from trunkline_server.chat.features import DROPPABLE, EVERYTHING
from trunkline_server.chat.request import RoutingOptions
from trunkline_server.routing.aliases import FALLBACK_MODELS_MAX
from trunkline_server.routing.types import Criticality, OnBreak
from trunkline_server.rpc.violations import Violations

MAX_STICKY_KEY_BYTES = 256
MAX_ENTRIES = 256
MAX_ENTRY_BYTES = 256
_NANOS = 1_000_000_000
_MAX_DURATION_S = 315_576_000_000

_DURATIONS = ("max_first_token", "max_token_gap", "heartbeat", "usage_every")
_CRITICALITY = {pb.Criticality.Value(f"CRITICALITY_{each.name}"): each for each in Criticality}
_ON_BREAK = {pb.OnBreak.Value(f"ON_BREAK_{each.value}"): each for each in OnBreak}
_LISTS = ("require_capabilities", "allow_regions", "exclude_targets")


def decode_routing(routing: pb.RoutingOptions, found: Violations) -> RoutingOptions:
    """Return the options; what is wrong in their form is noted in `found`."""
    _check(routing, found)
    is_set = routing.HasField
    return RoutingOptions(
        max_attempts=routing.max_attempts or None,
        allow_fallback=routing.allow_fallback if is_set("allow_fallback") else True,
        exclude_targets=frozenset(routing.exclude_targets),
        on_break=_ON_BREAK.get(routing.on_break),
        max_first_token_s=_seconds(routing.max_first_token),
        max_token_gap_s=_seconds(routing.max_token_gap),
        allow_hedge=routing.allow_hedge if is_set("allow_hedge") else None,
        detachable=routing.detachable,
        heartbeat_s=_seconds(routing.heartbeat),
        announce_early=routing.announce_early,
        usage_every_s=_seconds(routing.usage_every),
        # A name that stands twice would be tried once anyway: its first place counts.
        fallback_models=tuple(dict.fromkeys(routing.fallback_models)),
        sticky_key=routing.sticky_key or None,
        criticality=_CRITICALITY.get(routing.criticality),
        max_cost_nanousd=routing.max_cost_nanousd if routing.HasField("max_cost_nanousd") else None,
        require_capabilities=frozenset(routing.require_capabilities),
        allow_regions=frozenset(routing.allow_regions),
        may_drop=frozenset(routing.may_drop),
    )


def _seconds(duration: Duration) -> float | None:
    """Return a time in seconds; None where it is 0 or unset, which asks for nothing."""
    return duration.seconds + duration.nanos / _NANOS or None


def _check(routing: pb.RoutingOptions, found: Violations) -> None:
    """Note what is wrong in the form of any option."""
    if len(routing.fallback_models) > FALLBACK_MODELS_MAX:
        found.add("routing.fallback_models", f"must have at most {FALLBACK_MODELS_MAX} entries")
    else:
        _check_entries(routing.fallback_models, "routing.fallback_models", found)
    for name in _LISTS:
        _check_entries(getattr(routing, name), f"routing.{name}", found)
    _check_may_drop(routing.may_drop, found)
    if len(routing.sticky_key.encode()) > MAX_STICKY_KEY_BYTES:
        found.add("routing.sticky_key", f"must be at most {MAX_STICKY_KEY_BYTES} bytes")
    if routing.criticality not in pb.Criticality.values():
        found.add("routing.criticality", f"unknown value {routing.criticality}")
    if routing.on_break not in pb.OnBreak.values():
        found.add("routing.on_break", f"unknown value {routing.on_break}")
    if routing.max_attempts < 0:
        found.add("routing.max_attempts", "must be at least 1")
    if routing.max_cost_nanousd < 0:
        found.add("routing.max_cost_nanousd", "must not be negative")
    for name in _DURATIONS:
        duration = getattr(routing, name)
        if not (0 <= duration.seconds <= _MAX_DURATION_S and 0 <= duration.nanos < _NANOS):
            found.add(f"routing.{name}", "must be a duration that is not negative")


def _check_may_drop(names: Sequence[str], found: Violations) -> None:
    """Note what cannot be dropped: a misspelt name would cost the request its targets, and nobody would see why."""
    if len(names) > MAX_ENTRIES:
        found.add("routing.may_drop", f"must have at most {MAX_ENTRIES} entries")
        return
    for index, name in enumerate(names):
        if name not in DROPPABLE and name != EVERYTHING:
            found.add(f"routing.may_drop[{index}]", "must be `*` or one of: " + ", ".join(sorted(DROPPABLE)))
            return


def _check_entries(entries: Sequence[str], path: str, found: Violations) -> None:
    """Note lists that are too long, and entries that name nothing."""
    if len(entries) > MAX_ENTRIES:
        found.add(path, f"must have at most {MAX_ENTRIES} entries")
        return
    for index, entry in enumerate(entries):
        if not entry or len(entry.encode()) > MAX_ENTRY_BYTES:
            found.add(f"{path}[{index}]", f"must be 1 to {MAX_ENTRY_BYTES} bytes")
