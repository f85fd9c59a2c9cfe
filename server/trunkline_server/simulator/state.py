"""What all requests to one simulator share: the scenario made ready, limits, dice and counters."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from trunkline_server.simulator.capacity import KeyLimits
from trunkline_server.simulator.rules import RuleBook
from trunkline_server.simulator.stats import MAX_NAMES, Stats

if TYPE_CHECKING:
    from trunkline_server.simulator.scenario import Scenario


class State:
    """A scenario at work. A new scenario starts with fresh rule counts, limits and dice; counters go on."""

    def __init__(self, scenario: Scenario) -> None:
        self.stats = Stats()
        self.use(scenario)

    def use(self, scenario: Scenario) -> None:
        """Take over `scenario`; requests in flight finish as they began."""
        self.scenario = scenario
        self.rules = RuleBook(scenario)
        self.random = Random(f"{scenario.seed}/delay")  # noqa: S311 - reproducible dice, no secrets
        self._limits: dict[str, KeyLimits] = {}

    def limits(self, key: str) -> KeyLimits | None:
        """Return what `key` may do, if anything bounds it."""
        limits = self._limits.get(key)
        if limits is None:
            capacity = self.scenario.key_capacity.get(key, self.scenario.capacity)
            if capacity is None:
                return None
            if len(self._limits) >= MAX_NAMES:
                # Any key may be accepted: an endless series of new ones shares the last place.
                key = "(other)"
            limits = self._limits.setdefault(key, KeyLimits(capacity))
        return limits
