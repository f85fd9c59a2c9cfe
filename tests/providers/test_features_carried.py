"""Nothing that a request asks for is lost in silence: for every adapter and every feature, whoever adds them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from tests.providers.feature_requests import Example, examples

from trunkline_server.chat.answer import Warning_
from trunkline_server.chat.features import BY_NAME, DROPPABLE, EVERYTHING, HINTS, NAMES, features_of
from trunkline_server.chat.request import ChatRequest, RoutingOptions
from trunkline_server.compile import ADAPTERS, WIRES
from trunkline_server.providers.base import Adapter, AdapterTerms, ModelTerms
from trunkline_server.providers.features import stated
from trunkline_server.routing.aliases import AliasTarget
from trunkline_server.routing.demand import Demand
from trunkline_server.routing.filters import unfit
from trunkline_server.routing.types import TargetId

MODEL = "some-model"
MAKERS = {**ADAPTERS, **{f"{protocol} {wire}": make for (protocol, wire), make in WIRES.items()}}
EXAMPLES = [name for name in examples("") if name in NAMES]


def adapter_of(name: str) -> Adapter:
    """Return the adapter of a vendor's own server, of whose model little is known."""
    protocol = name.partition(" ")[0]
    models = {MODEL: ModelTerms(max_output_tokens=8192)}
    terms = AdapterTerms(protocol, "https://api.example", models, region="eu-west-1", api_version="2024-10-21")
    return MAKERS[name](terms)


def sent(adapter: Adapter, request: ChatRequest, name: str) -> tuple[str, tuple[Warning_, ...]]:
    call = adapter.encode(request, name.partition(" ")[0], MODEL, stream=False)
    return call.path + call.body.decode(), call.warnings


def carried(adapter: Adapter, example: Example, name: str) -> bool:
    body, _ = sent(adapter, example.request, name)
    return example.is_in(body, sent(adapter, example.without, name)[0])


def told(warnings: tuple[Warning_, ...], feature: str) -> bool:
    """Return whether one of the warnings is of the field that a feature stands in."""
    field = BY_NAME[feature].field
    paths = [re.sub(r"\[\d+\]", "[]", warning.field) for warning in warnings]
    return any(path.startswith(field) or field.startswith(path) for path in paths)


@pytest.mark.parametrize("name", MAKERS)
def test_an_adapter_states_features_by_their_names(name: str) -> None:
    """No name of its own, and embeddings only by having them."""
    features = adapter_of(name).features
    assert features
    assert stated(*features) == features
    assert not features & {"embeddings"}


@pytest.mark.parametrize("feature", EXAMPLES)
@pytest.mark.parametrize("name", MAKERS)
def test_what_is_stated_is_carried(name: str, feature: str) -> None:
    """The provider is sent it, and nobody is warned; what is not stated rules the target out, by its name."""
    adapter, example = adapter_of(name), examples(name.partition(" ")[0])[feature]
    asked = features_of(example.request) | ({feature} & HINTS)
    assert feature in asked
    lacking = asked - adapter.features - HINTS
    demand = Demand(features=features_of(example.request))
    removed = unfit(AliasTarget(TargetId("p", MODEL), features=adapter.features), 0, demand)
    if lacking:
        assert removed == ("feature", f"its protocol cannot carry: {', '.join(sorted(lacking))}")
    else:
        assert removed is None
        if feature in adapter.features:
            assert carried(adapter, example, name)
            assert sent(adapter, example.request, name)[1] == ()


@pytest.mark.parametrize("feature", EXAMPLES)
@pytest.mark.parametrize("name", MAKERS)
def test_what_is_not_stated_is_told_when_it_is_left_out(name: str, feature: str) -> None:
    """By a warning with its field: where the request may drop it, for hints, and should a filter ever fail."""
    adapter, example = adapter_of(name), examples(name.partition(" ")[0])[feature]
    if feature in adapter.features:
        return
    request = replace(example.request, routing=RoutingOptions(may_drop=frozenset({EVERYTHING})))
    assert not features_of(request) & DROPPABLE
    _, warnings = sent(adapter, request, name)
    if feature in DROPPABLE | HINTS:
        assert told(warnings, feature)
    else:
        assert told(warnings, feature) or carried(adapter, example, name)


@pytest.mark.parametrize("name", MAKERS)
def test_a_conversation_keeps_its_calls_without_tools(name: str) -> None:
    """Calls and results that stand in the conversation are sent though no function is offered any more."""
    adapter = adapter_of(name)
    if "tools" in adapter.features:
        assert carried(adapter, examples(name.partition(" ")[0])["tools in the conversation"], name)


def test_every_feature_of_a_chat_request_has_an_example() -> None:
    """A feature that is added cannot be forgotten here."""
    assert set(EXAMPLES) == NAMES - {"embeddings", "embedding_dimensions"}


def test_a_misspelt_feature_is_refused_when_it_is_stated() -> None:
    """By its name."""
    with pytest.raises(ValueError, match="of these names: sead"):
        stated("seed", "sead")
