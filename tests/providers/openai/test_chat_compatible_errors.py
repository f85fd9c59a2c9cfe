"""Errors of servers that speak chat completions: each by the table of its preset."""

from __future__ import annotations

import json

import pytest
from tests.providers.openai.compatible_errors import COMPATIBLE, Compatible
from tests.providers.openai.documented_statuses import DOCUMENTED

from trunkline_server.config.presets import shipped_presets
from trunkline_server.providers.base import AdapterTerms, AttemptError
from trunkline_server.providers.openai import OpenAIAdapter
from trunkline_server.providers.quirks import read_quirks
from trunkline_server.routing.failures import FailureClass


def adapter_of(preset: str) -> OpenAIAdapter:
    return OpenAIAdapter(AdapterTerms(preset, quirks=read_quirks(shipped_presets()[preset].quirks)))


@pytest.mark.parametrize("row", COMPATIBLE, ids=[f"{row.preset} {row.status}" for row in COMPATIBLE])
def test_each_compatible_error_has_its_class(row: Compatible) -> None:
    """A vendor's own words and its own use of a status decide, with the adapter that its preset makes."""
    failure = adapter_of(row.preset).classify(row.status, {}, json.dumps(row.body).encode())
    assert failure.failure_class is row.expected


@pytest.mark.parametrize("preset", DOCUMENTED)
def test_each_documented_status_has_its_class(preset: str) -> None:
    """Without telling words, what the vendor's page says of a status decides."""
    _, statuses = DOCUMENTED[preset]
    adapter = adapter_of(preset)
    body = json.dumps({"error": {"message": "as documented", "code": None}}).encode()
    found = {status: adapter.classify(status, {}, body).failure_class for status in statuses}
    assert found == statuses


@pytest.mark.parametrize("preset", sorted({row.preset for row in COMPATIBLE}))
def test_every_status_of_its_own_has_a_golden_body(preset: str) -> None:
    """A status that means something else at a server has an example that decides by it."""
    own = read_quirks(shipped_presets()[preset].quirks).statuses
    shown = {row.status for row in COMPATIBLE if row.preset == preset}
    assert own.keys() <= shown


def test_every_preset_with_statuses_has_golden_errors() -> None:
    """No preset changes what a status means without an example."""
    with_statuses = {name for name, preset in shipped_presets().items() if preset.quirks.get("statuses")}
    assert with_statuses <= {row.preset for row in COMPATIBLE}


def test_the_words_of_a_validating_framework_are_shown() -> None:
    """A refusal that is a list of details tells the first, and where in the body it is."""
    row = next(row for row in COMPATIBLE if row.status == 422 and row.preset == "mistral")
    failure = adapter_of("mistral").classify(422, {}, json.dumps(row.body).encode())
    assert failure.upstream_text == "Extra inputs: body.max_completion_tokens"


@pytest.mark.parametrize("body", [{"detail": []}, {"detail": [7]}, {"message": {"detail": {}}}, {"detail": [{}]}])
def test_details_of_any_shape_are_only_a_body(body: object) -> None:
    """What looks like a list of details and is none has no words."""
    assert adapter_of("mistral").classify(422, {}, json.dumps(body).encode()).upstream_text is None


def test_a_status_of_its_own_holds_inside_an_answer_too() -> None:
    """An error under a 200 whose body names the status is read by the same table."""
    adapter = adapter_of("openrouter")
    body = json.dumps({"error": {"code": 503, "message": "no provider"}}).encode()
    with pytest.raises(AttemptError) as caught:
        adapter.decode_answer(200, {}, body)
    assert caught.value.failure.failure_class is FailureClass.OVERLOADED
