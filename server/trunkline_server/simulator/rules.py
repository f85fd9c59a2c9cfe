"""Which behaviour a request gets: the layers of a scenario and its rules, applied in order."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from trunkline_server.simulator.scenario import Fault, Rule, Scenario

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAMES = Fault.__struct_fields__
_EMPTY = Fault()


def merge(layers: Iterable[Fault]) -> Fault:
    """Return one fault out of `layers`, the later over the earlier; a `fresh` layer forgets those before it."""
    merged: dict[str, object] = {}
    for layer in layers:
        if layer is _EMPTY:
            continue
        if layer.fresh:
            merged.clear()
        for name in _NAMES:
            value = getattr(layer, name)
            if value is not None:
                merged[name] = value
    return Fault(**merged) if merged else _EMPTY  # type: ignore[arg-type]  # each value came out of its own field


class _Counted:
    """A rule, how often it matched and fired so far, and dice of its own: rules do not disturb each other."""

    __slots__ = ("fired", "matched", "random", "rule")

    def __init__(self, rule: Rule, seed: str) -> None:
        self.rule = rule
        self.random = Random(seed)  # noqa: S311 - reproducible dice, no secrets
        self.matched = 0
        self.fired = 0

    def fires(self, key: str, model: str, *, stream: bool) -> bool:
        """Count one request and say whether the rule applies to it."""
        rule = self.rule
        if (
            (rule.key is not None and rule.key != key)
            or (rule.model is not None and rule.model != model)
            or (rule.stream is not None and rule.stream != stream)
        ):
            return False
        self.matched += 1
        if rule.times is not None and self.fired >= rule.times:
            return False
        after_skip = self.matched - rule.skip
        if after_skip <= 0 or after_skip % rule.every:
            return False
        if rule.probability < 1.0 and self.random.random() >= rule.probability:
            return False
        self.fired += 1
        return True


class RuleBook:
    """A scenario made ready: merged layers are kept, so that a request costs a look-up and a walk over the rules."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._rules = [_Counted(rule, f"{scenario.seed}/rule/{index}") for index, rule in enumerate(scenario.rules)]
        self._merged: dict[tuple[str, str, int], Fault] = {}

    def counts(self) -> list[dict[str, int]]:
        """Return how often each rule, in the scenario's order, was asked and matched, and how often it fired."""
        return [{"matched": counted.matched, "fired": counted.fired} for counted in self._rules]

    def behaviour(self, key: str, model: str, *, stream: bool, own: Fault | None) -> Fault:
        """Return the merged fault of one request and count it; `own` is what its header asked for."""
        fired = -1
        for index, counted in enumerate(self._rules):
            if counted.fires(key, model, stream=stream):
                fired = index
                break
        scenario = self._scenario
        # Keys and models that the scenario does not name share one entry: the table cannot grow with the callers.
        slot = (key if key in scenario.keys else "", model if model in scenario.models else "", fired)
        merged = self._merged.get(slot)
        if merged is None:
            merged = self._merged[slot] = merge(
                (
                    scenario.default,
                    scenario.keys.get(key, _EMPTY),
                    scenario.models.get(model, _EMPTY),
                    self._rules[fired].rule.fault if fired >= 0 else _EMPTY,
                )
            )
        return merged if own is None else merge((merged, own))
