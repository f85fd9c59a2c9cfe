"""Nothing that a request asks for is lost in silence: for every adapter, model and preset, whoever adds them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.providers.feature_requests import Example, examples
from tests.providers.feature_speakers import Speaker, speakers

from trunkline_server.chat.answer import Warning_
from trunkline_server.chat.features import BY_NAME, DROPPABLE, EVERYTHING, HINTS, NAMES, features_of
from trunkline_server.chat.request import RoutingOptions
from trunkline_server.providers.features import stated
from trunkline_server.routing.aliases import AliasTarget
from trunkline_server.routing.demand import Demand
from trunkline_server.routing.filters import unfit
from trunkline_server.routing.types import TargetId

SPEAKERS = {speaker.name: speaker for speaker in speakers()}
EVERY = pytest.mark.parametrize("name", SPEAKERS)
DROPPING = RoutingOptions(may_drop=frozenset({EVERYTHING}))


def features(speaker: Speaker) -> Iterator[tuple[str, Example]]:
    """Yield each feature of a chat request with its example."""
    return ((name, each) for name, each in examples(speaker.protocol).items() if name in NAMES)


def carried(speaker: Speaker, example: Example) -> bool:
    return example.is_in(speaker.sent(example.request)[0], speaker.sent(example.without)[0])


def told(warnings: tuple[Warning_, ...], feature: str) -> bool:
    """Return whether one of the warnings is of the field that a feature stands in."""
    field = BY_NAME[feature].field
    paths = [re.sub(r"\[\d+\]", "[]", warning.field) for warning in warnings]
    return any(path.startswith(field) or field.startswith(path) for path in paths)


@EVERY
def test_features_are_stated_by_their_names(name: str) -> None:
    """No name of its own, and embeddings only by having them."""
    found = SPEAKERS[name].features
    assert found
    assert stated(*found) == found
    assert "embeddings" not in found


@EVERY
def test_what_is_stated_is_carried(name: str) -> None:
    """The provider is sent it, and nobody is warned."""
    speaker = SPEAKERS[name]
    wrong = []
    for feature, example in features(speaker):
        asked = features_of(example.request) | ({feature} & HINTS)
        assert feature in asked
        if not asked <= speaker.features:
            continue
        if not carried(speaker, example):
            wrong.append(f"{feature} is not in what is sent")
        if warnings := speaker.sent(example.request)[1]:
            wrong.append(f"{feature} is warned of: {warnings}")
    assert not wrong


@EVERY
def test_what_is_not_stated_rules_the_target_out_by_its_name(name: str) -> None:
    """Unless it is a mere hint."""
    speaker = SPEAKERS[name]
    target = AliasTarget(TargetId("p", speaker.model), features=speaker.features)
    for _, example in features(speaker):
        asked = features_of(example.request)
        lacking = ", ".join(sorted(asked - speaker.features))
        because = ("feature", f"its protocol cannot carry: {lacking}") if lacking else None
        assert unfit(target, 0, Demand(features=asked)) == because


@EVERY
def test_what_is_left_out_is_told(name: str) -> None:
    """By a warning with its field: where the request may drop it, for hints, and should a filter ever fail.

    What is sent though it is not stated is left to the provider to refuse, in its own words.
    """
    speaker = SPEAKERS[name]
    wrong = []
    for feature, example in features(speaker):
        if feature in speaker.features:
            continue
        request = replace(example.request, routing=DROPPING)
        assert not features_of(request) & DROPPABLE
        _, warnings = speaker.sent(request)
        if not told(warnings, feature) and not carried(speaker, example):
            wrong.append(f"{feature} is lost in silence; warnings: {warnings}")
    assert not wrong


@EVERY
def test_a_conversation_keeps_its_calls_without_tools(name: str) -> None:
    """Calls and results that stand in the conversation are sent though no function is offered any more."""
    speaker = SPEAKERS[name]
    if "tools" in speaker.features:
        assert carried(speaker, examples(speaker.protocol)["tools in the conversation"])


def test_every_feature_of_a_chat_request_has_an_example() -> None:
    """A feature that is added cannot be forgotten here."""
    assert {name for name in examples("") if name in NAMES} == NAMES - {"embeddings", "embedding_dimensions"}


def test_a_misspelt_feature_is_refused_when_it_is_stated() -> None:
    """By its name."""
    with pytest.raises(ValueError, match="of these names: sead"):
        stated("seed", "sead")
