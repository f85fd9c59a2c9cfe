"""What is known of a target's health, shared by all requests: its circuit, its provider's retry budget, its times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trunkline_server.routing.budget import RetryBudget
from trunkline_server.routing.circuit import Circuit
from trunkline_server.routing.latency import Latency
from trunkline_server.routing.load import Load
from trunkline_server.routing.types import TargetId


@dataclass(frozen=True, slots=True)
class Health:
    """One target's. None: nobody keeps it, and nothing is held against the target."""

    circuit: Circuit | None = None
    budget: RetryBudget | None = None
    """Its provider's: shared by all of the provider's targets."""
    latency: Latency | None = None
    load: Load | None = None


HEALTHY = Health()

HealthOf = Callable[[TargetId], Health]
"""Asked for a target: what is known of its health."""


def all_healthy(_: TargetId) -> Health:
    """Know nothing against anybody."""
    return HEALTHY
