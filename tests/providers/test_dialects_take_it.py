"""What an adapter sends is what its vendor takes, by the dialect's checks: every request that it states to carry."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from tests.providers.any_conversation import conversations
from tests.providers.feature_requests import examples
from tests.providers.feature_speakers import Speaker, speakers

from trunkline_server.chat.features import features_of
from trunkline_server.chat.request import ChatRequest
from trunkline_server.providers.base import AdapterTerms, ModelTerms
from trunkline_server.simulator.dialect import Received
from trunkline_server.simulator.dialects import DIALECTS, dialect_of
from trunkline_server.simulator.failure import RefusedError, Reply
from trunkline_server.simulator.scenario import Scenario

AZURE_VERSION = "2025-04-01-preview"
THEIR_OWN = {"provider_tools", "assistant_media"}
"""Features of which the examples are made up, so that no vendor would take them."""


def with_terms(speaker: Speaker) -> Speaker:
    """Return a speaker whose adapter is made as for its vendor's own service."""
    protocol = speaker.protocol
    version = AZURE_VERSION if protocol == "azure_openai" else None
    base_url = f"https://api.example{DIALECTS[protocol].base_path}"
    models = {speaker.model: ModelTerms(max_output_tokens=8192)}
    terms = AdapterTerms(protocol, base_url, models, region="eu-west-1", api_version=version)
    return replace(speaker, adapter=type(speaker.adapter)(terms))  # type: ignore[call-arg]  # every adapter is made so


SPEAKERS = {each.name: with_terms(each) for each in speakers() if not each.name.startswith("preset ")}
EVERY = pytest.mark.parametrize("name", SPEAKERS)


def refused(speaker: Speaker, request: ChatRequest, *, stream: bool) -> str:
    """Return the vendor's words of refusal for what the adapter makes of a request; empty if it takes it."""
    call = speaker.adapter.encode(request, speaker.protocol, speaker.model, stream=stream)
    parts = urlsplit(DIALECTS[speaker.protocol].base_path + call.path)
    received = Received(
        method="POST",
        path=unquote(parts.path),
        raw_path=f"{parts.path}?{parts.query}",
        query=dict(parse_qsl(parts.query)),
        headers=call.headers,
        body=call.body,
    )
    dialect = dialect_of(received)
    assert dialect.name == speaker.protocol
    try:
        job = dialect.read(received, Scenario())
    except RefusedError as refusal:
        return f"{refusal.reply.body.decode()} for {call.body[:2000].decode()}"
    assert not isinstance(job, Reply)
    assert (job.ask.model, job.ask.stream) == (speaker.model, stream)
    return ""


@EVERY
def test_every_feature_is_sent_as_its_vendor_takes_it(name: str) -> None:
    """No example of a feature that an adapter states is refused by the dialect."""
    speaker = SPEAKERS[name]
    wrong = {}
    for feature, example in examples(speaker.protocol).items():
        if feature in THEIR_OWN:
            continue
        for request in (example.request, example.without):
            if features_of(request) <= speaker.features and (words := refused(speaker, request, stream=False)):
                wrong[feature] = words
    assert not wrong, "\n".join(f"{feature}: {words}" for feature, words in wrong.items())


@EVERY
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(request=conversations())
def test_any_conversation_is_sent_as_its_vendor_takes_it(name: str, request: ChatRequest) -> None:
    """Foreign ids and thinking, empty texts, instructions anywhere, results in any order: nothing is refused."""
    speaker = SPEAKERS[name]
    if features_of(request) <= speaker.features:
        assert not refused(speaker, request, stream=True)
