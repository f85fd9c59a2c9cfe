"""The fallback models that a request names, and what a reload of the table keeps."""

from __future__ import annotations

import pytest
from tests.routing.plan_house import PlanHouse, member, names

from trunkline_server.routing.aliases import (
    FALLBACK_MODELS_MAX,
    Alias,
    AliasPolicy,
    AliasTable,
    ModelFacts,
    Strategy,
    Tier,
    UnknownModelError,
)
from trunkline_server.routing.selection import Demand
from trunkline_server.routing.types import Caller

EVERYBODY = Caller("anonymous")


def alias(name: str, *tiers: list[str], policy: AliasPolicy | None = None) -> Alias:
    built = tuple(Tier(tuple(member(target) for target in tier), Strategy.WEIGHTED) for tier in tiers)
    return Alias(name, built, policy or AliasPolicy())


def table() -> AliasTable:
    aliases = [
        alias("default", ["a/m"], ["b/m"], policy=AliasPolicy(max_attempts=7)),
        alias("cheap", ["b/m", "c/m"], ["a/m"], ["d/m"]),
    ]
    return AliasTable({entry.name: entry for entry in aliases}, frozenset("abcde"), {"e/known": ModelFacts()})


HOUSE = PlanHouse([[member(f"{name}/m") for name in "abcd"]])


def planned(models: list[str], demand: Demand | None = None) -> list[str]:
    names_table = table()
    extended = names_table.with_fallbacks(names_table.resolve("default", EVERYBODY), models, EVERYBODY)
    return names(HOUSE.plan(demand, extended))


def test_their_tiers_follow_in_order_and_nobody_is_there_twice() -> None:
    """An alias brings all of its tiers, a model is a tier; what the plan has already is not repeated."""
    assert planned([]) == ["a/m", "b/m"]
    assert planned(["cheap"]) == ["a/m", "b/m", "c/m", "d/m"]
    assert planned(["e/known", "cheap", "e/known"]) == ["a/m", "b/m", "e/known", "c/m", "d/m"]
    assert planned(["default"]) == ["a/m", "b/m"]


def test_the_request_s_alias_keeps_its_policy_and_what_it_learned() -> None:
    """The alias that was asked for decides how the request is moved."""
    names_table = table()
    own = names_table.resolve("default", EVERYBODY)
    extended = names_table.with_fallbacks(own, ["cheap"], EVERYBODY)
    assert extended.name == "default"
    assert extended.policy == own.policy
    assert extended.outputs is own.outputs
    plan = HOUSE.plan(None, extended)
    assert [candidate.tier for candidate in plan.candidates] == [0, 1, 2, 4]
    assert len(plan.alias.tiers) == 5


def test_they_are_filtered_like_all_others() -> None:
    """What the request excludes stays out, and without fallback none of them comes in."""
    assert planned(["cheap"], Demand(excluded=frozenset({"c"}))) == ["a/m", "b/m", "d/m"]
    assert planned(["cheap"], Demand(allow_fallback=False)) == ["a/m"]


def test_borrowed_tiers_share_by_the_weights_of_their_alias() -> None:
    """A tier of which nothing is repeated takes its turns as it does for its own requests."""
    names_table = AliasTable({"one": alias("one", ["a/m"]), "two": alias("two", ["b/m", "c/m"])}, frozenset("abc"), {})
    extended = names_table.with_fallbacks(names_table.resolve("one", EVERYBODY), ["two"], EVERYBODY)
    seconds = [names(HOUSE.plan(None, extended))[1] for _ in range(10)]
    assert seconds.count("b/m") == 5


@pytest.mark.parametrize("model", ["defualt", "x/m", "default", "b/m"])
def test_what_the_caller_may_not_use_is_unknown_and_the_field_is_told(model: str) -> None:
    """As for the model itself; the error says which of the names it is."""
    caller = Caller("c", frozenset({"cheap"}), frozenset({"a/m"}))
    names_table = table()
    with pytest.raises(UnknownModelError) as raised:
        names_table.with_fallbacks(names_table.resolve("cheap", caller), ["a/m", model], caller)
    assert raised.value.model == model
    assert raised.value.field == "routing.fallback_models[1]"
    assert set(raised.value.near) <= {"cheap", "a/m"}


def test_there_is_an_end_to_them() -> None:
    """More names than the contract allows are a mistake of whoever let them in."""
    names_table = table()
    own = names_table.resolve("default", EVERYBODY)
    models = ["e/known"] * (FALLBACK_MODELS_MAX + 1)
    assert len(names_table.with_fallbacks(own, models[1:], EVERYBODY).tiers) == 2 + FALLBACK_MODELS_MAX
    with pytest.raises(ValueError, match="8 fallback models, not 9"):
        names_table.with_fallbacks(own, models, EVERYBODY)


def test_a_reload_keeps_what_was_learned_of_answers() -> None:
    """Aliases and known models of the same name go on; answers on their way are learned from on both sides."""
    old, new = table(), table()
    before, direct = old.resolve("default", EVERYBODY), old.resolve("e/known", EVERYBODY)
    for _ in range(19):
        before.outputs.book(10)
        direct.outputs.book(20)
    new.take_over(old)
    before.outputs.book(10)
    direct.outputs.book(20)
    assert new.resolve("default", EVERYBODY).outputs.p95 == 10
    assert new.resolve("e/known", EVERYBODY).outputs.p95 == 20
    assert new.resolve("cheap", EVERYBODY).outputs.p95 == 1000


def test_names_that_somebody_made_up_are_not_remembered() -> None:
    """Only models of which facts are known keep the length of their answers."""
    names_table = table()
    for number in range(100):
        names_table.resolve(f"e/{number}", EVERYBODY)
    one, other = (names_table.resolve("e/made-up", EVERYBODY).outputs for _ in range(2))
    assert one is not other
    assert names_table._direct_outputs == {}
