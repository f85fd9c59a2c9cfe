"""The control call: `GET /_control` tells what was counted, `POST /_control` changes what the simulator does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from trunkline_server.simulator.delays import MAX_DELAY_S
from trunkline_server.simulator.errors import ScenarioError
from trunkline_server.simulator.scenario import parse_scenario

if TYPE_CHECKING:
    from trunkline_server.simulator.scenario import Scenario

CONTROL_PATH = "/_control"


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a control call; what is absent stays as it is. Carried out in the order of the fields."""

    scenario: dict[str, Any] | None = None
    """Replaces the scenario."""
    patch: dict[str, Any] | None = None
    """Merged into the scenario: objects by key, null removes, everything else is replaced."""
    seed: int | None = None
    reset: bool = False
    """Counters to zero, and the scenario's rule counts, limits and dice to their start."""
    refuse_for_s: Annotated[float, msgspec.Meta(gt=0, le=MAX_DELAY_S)] | None = None
    """Refuse new connections for so long and drop the others; bounded, since no control call could end it."""
    drop_connections: bool = False
    """Reset all connections but the one of this call."""


def read_order(body: bytes) -> Order:
    """Decode a control call. Raises ScenarioError with the field at fault."""
    try:
        return msgspec.json.decode(body, type=Order)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as failure:
        raise ScenarioError(f"{CONTROL_PATH}: {failure}") from failure


def ordered_scenario(order: Order, current: Scenario) -> Scenario | None:
    """Return the scenario that `order` wants, None if it leaves it alone. Raises ScenarioError."""
    if order.scenario is None and order.patch is None and order.seed is None and not order.reset:
        return None
    data: Any = msgspec.to_builtins(current) if order.scenario is None else order.scenario
    if order.patch is not None:
        data = _merged(data, order.patch)
    if order.seed is not None:
        data = {**data, "seed": order.seed}
    return parse_scenario(data, CONTROL_PATH)


def _merged(base: Any, patch: Any) -> Any:
    """Return `base` with a JSON merge patch (RFC 7396) applied; neither is changed."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(base) if isinstance(base, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged
