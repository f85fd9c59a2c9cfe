"""From a name and a demand to a plan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trunkline_server.routing.aliases import (
    Alias,
    AliasPolicy,
    AliasTable,
    AliasTarget,
    ModelFacts,
    Policy,
    Tier,
    UnknownModelError,
)
from trunkline_server.routing.failures import FailureClass
from trunkline_server.routing.selection import Demand, NoEligibleTargetError, Plan, make_plan
from trunkline_server.routing.types import Caller, Reason, Refusal, TargetId

EVERYBODY = Caller("anonymous")


def target(name: str, weight: float = 1.0, facts: ModelFacts | None = None) -> AliasTarget:
    provider, _, model = name.partition("/")
    return AliasTarget(TargetId(provider, model), weight, facts=facts or ModelFacts())


def alias(*tiers: list[AliasTarget], policy: AliasPolicy | None = None) -> Alias:
    return Alias("default", tuple(Tier(tuple(members)) for members in tiers), policy or AliasPolicy())


def free(_: TargetId) -> None:
    return None


def names(plan: Plan) -> list[str]:
    return [str(candidate.target) for candidate in plan.candidates]


def test_tiers_come_in_order_and_weights_order_within() -> None:
    """The primary tier's targets share by weight; the fallback comes after all of them."""
    default = alias([target("a/m", 3), target("b/m", 1)], [target("c/m")])
    plans = [names(make_plan(default, Demand(), free)) for _ in range(4)]
    assert [plan[0] for plan in plans].count("a/m") == 3
    assert all(plan[2] == "c/m" for plan in plans)


def test_exclusions_remove_a_target_or_a_whole_provider() -> None:
    """Both forms of exclude_targets work, and each removal has its reason."""
    default = alias([target("a/m"), target("b/m"), target("b/n")])
    plan = make_plan(default, Demand(excluded=frozenset({"b"})), free)
    assert names(plan) == ["a/m"]
    assert [(str(entry.target), entry.constraint) for entry in plan.removed] == [
        ("b/m", "exclude_targets"),
        ("b/n", "exclude_targets"),
    ]
    assert names(make_plan(default, Demand(excluded=frozenset({"b/m", "a/m"})), free)) == ["b/n"]


def test_without_fallback_only_the_primary_tier_is_left() -> None:
    """allow_fallback=false removes the later tiers."""
    plan = make_plan(alias([target("a/m")], [target("b/m")]), Demand(allow_fallback=False), free)
    assert names(plan) == ["a/m"]
    assert plan.removed[0].constraint == "allow_fallback"


def test_a_known_lack_of_a_capability_removes_and_an_unknown_does_not() -> None:
    """Only a model whose capabilities are stated is filtered by them."""
    stated = ModelFacts(capabilities=frozenset({"vision"}))
    default = alias([target("a/m", facts=stated), target("b/m")])
    plan = make_plan(default, Demand(capabilities=frozenset({"tools"})), free)
    assert names(plan) == ["b/m"]
    assert plan.removed[0].detail == "the model lacks: tools"


def with_features(name: str, *features: str) -> AliasTarget:
    return replace(target(name), features=frozenset(features))


def test_a_protocol_that_lacks_a_feature_is_left_out_by_name() -> None:
    """What it cannot carry is told, sorted; a target of which nothing is known is not filtered."""
    default = alias([with_features("a/m", "seed"), with_features("b/m", "images", "seed", "tools"), target("c/m")])
    plan = make_plan(default, Demand(features=frozenset({"tools", "images"})), free)
    assert set(names(plan)) == {"b/m", "c/m"}
    assert [(entry.constraint, entry.detail) for entry in plan.removed] == [
        ("feature", "its protocol cannot carry: images, tools")
    ]


def test_a_model_that_is_named_directly_has_its_protocol_s_features() -> None:
    """A name outside all aliases is no way around them."""
    known = {"a": frozenset({"tools"})}
    table = AliasTable({}, frozenset({"a", "b"}), {}, lambda asked: known.get(asked.provider))
    demand = Demand(features=frozenset({"seed"}))
    with pytest.raises(NoEligibleTargetError) as raised:
        make_plan(table.resolve("a/m", EVERYBODY), demand, free)
    assert [entry.constraint for entry in raised.value.removed] == ["feature"]
    assert names(make_plan(table.resolve("b/m", EVERYBODY), demand, free)) == ["b/m"]


def test_what_belongs_to_one_provider_is_served_by_it_alone() -> None:
    """A file id or a provider's own tool leaves only that provider."""
    default = alias([target("a/m"), target("b/m")])
    assert names(make_plan(default, Demand(only_providers=frozenset({"b"})), free)) == ["b/m"]


def test_nobody_left_tells_each_reason() -> None:
    """A plan without candidates raises with every removal."""
    default = alias([target("a/m")], [target("b/m")])
    with pytest.raises(NoEligibleTargetError) as raised:
        make_plan(default, Demand(excluded=frozenset({"a"}), allow_fallback=False), free)
    assert [entry.constraint for entry in raised.value.removed] == ["exclude_targets", "allow_fallback"]
    assert raised.value.key_refusal is None


REJECTED = Refusal(FailureClass.KEY_REJECTED, Reason.UPSTREAM_CREDENTIALS, "all keys of a were rejected", 60.0)
EXHAUSTED = Refusal(FailureClass.KEY_EXHAUSTED, Reason.UPSTREAM_QUOTA, "all keys of a are exhausted", 300.0)
COOLING = Refusal(FailureClass.RATE_LIMITED, Reason.RATE_LIMITED, "all keys of a cool", 2.0)


@pytest.mark.parametrize(
    ("refusal", "policy", "expected"),
    [
        (REJECTED, Policy.FAIL, ["a/m", "b/m"]),
        (REJECTED, Policy.NEXT_TARGET, ["b/m"]),
        (EXHAUSTED, Policy.FAIL, ["b/m"]),
        (COOLING, Policy.FAIL, ["a/m", "b/m"]),
    ],
)
def test_keys_that_cannot_serve(refusal: Refusal, policy: Policy, expected: list[str]) -> None:
    """Exhausted keys remove a target; rejected ones only if the alias goes on; cooling ones never."""
    default = alias([target("a/m")], [target("b/m")], policy=AliasPolicy(on_key_rejected=policy))
    plan = make_plan(default, Demand(), lambda asked: refusal if asked.provider == "a" else None)
    assert names(plan) == expected
    failing_fast = refusal is REJECTED and policy is Policy.FAIL
    assert (plan.candidates[0].rejected is refusal) is failing_fast


class TestNames:
    """Who may use which name."""

    table = AliasTable(
        {"default": alias([target("a/m")]), "fast": alias([target("b/n")])},
        frozenset({"a", "b"}),
        {"a/known": ModelFacts()},
    )

    def test_an_alias_and_a_direct_model(self) -> None:
        """Without callers every alias and every model of a known provider resolves."""
        assert self.table.resolve("default", EVERYBODY).name == "default"
        direct = self.table.resolve("a/anything/at-all", EVERYBODY)
        assert direct.name == ""
        assert direct.tiers[0].members[0].target == TargetId("a", "anything/at-all")

    @pytest.mark.parametrize("model", ["defualt", "", "x/m", "a/", "/m"])
    def test_unknown_names(self, model: str) -> None:
        """What names nothing is refused, with near names where there are any."""
        with pytest.raises(UnknownModelError) as raised:
            self.table.resolve(model, EVERYBODY)
        assert ("default" in raised.value.near) is (model == "defualt")

    def test_what_is_not_allowed_is_as_unknown_as_what_is_not_there(self) -> None:
        """A caller sees and reaches only its own aliases and models."""
        caller = Caller("c", frozenset({"fast"}), frozenset({"a/m"}))
        assert self.table.names_for(caller) == ["fast", "a/m"]
        assert self.table.resolve("a/m", caller).tiers[0].members[0].target == TargetId("a", "m")
        for model in ("default", "a/known", "b/n"):
            with pytest.raises(UnknownModelError) as raised:
                self.table.resolve(model, caller)
            assert set(raised.value.near) <= {"fast", "a/m"}

    def test_everybody_sees_aliases_then_models(self) -> None:
        """The list has each alias and each model that is known of."""
        assert self.table.names_for(EVERYBODY) == ["default", "fast", "a/known", "a/m", "b/n"]

    @pytest.mark.parametrize("typo", ["defualt", "default2", "a/model-77-instrct", "model-777-instruct"])
    def test_near_names_are_found_among_many(self, typo: str) -> None:
        """A typo finds its name among a thousand, although not each of them is compared letter by letter."""
        models = frozenset(f"a/model-{number}-instruct" for number in range(1000))
        table = AliasTable({"default": alias([target("a/m")])}, frozenset({"a"}), {})
        with pytest.raises(UnknownModelError) as raised:
            table.resolve(typo, Caller("c", None, models))
        meant = {"def": "default", "a/m": "a/model-77-instruct", "mod": "a/model-777-instruct"}[typo[:3]]
        assert meant in raised.value.near
