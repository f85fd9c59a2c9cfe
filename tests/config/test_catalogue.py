"""The shipped catalogue is sound, dated and sourced, and a routes file goes over it field by field."""

from __future__ import annotations

from datetime import UTC, date, datetime
from urllib.parse import urlsplit

import pytest

from trunkline_server.config.built import CAPABILITIES
from trunkline_server.config.catalogue import (
    UNKNOWN,
    facts_of,
    named_models,
    overridden,
    read_catalogue,
    shipped_catalogue,
)
from trunkline_server.config.load import parse
from trunkline_server.config.model import ModelFacts, RoutesDocument

ENTRIES = [
    (f"{name}: {model}", vendor, facts)
    for name, vendor in shipped_catalogue().vendors.items()
    for model, facts in vendor.models.items()
]
SMALL = """\
vendors:
  v: {hosts: [h], as_of: 2026-01-02, source: "https://s", prices: "https://p", models: {m: {context_tokens: 5}}}
"""


def document(text: str) -> RoutesDocument:
    parsed = parse(text, name="routes.yaml").document
    assert parsed is not None
    return parsed


def test_the_vendors_of_the_wellknown_protocols_are_there() -> None:
    """Each with models; no host and no protocol is claimed by two."""
    vendors = shipped_catalogue().vendors
    assert {"openai", "anthropic", "google", "cohere", "mistral", "deepseek", "xai", "groq"} <= set(vendors)
    hosts = [host for vendor in vendors.values() for host in vendor.hosts]
    protocols = [vendor.protocol for vendor in vendors.values() if vendor.protocol]
    assert len(set(hosts)) == len(hosts)
    assert len(set(protocols)) == len(protocols)
    assert set(protocols) == {"openai", "anthropic", "gemini", "cohere", "bedrock"}
    assert all(host == host.lower() and "/" not in host for host in hosts)


def test_every_vendor_is_dated_and_sourced() -> None:
    """A day that has been, and two https addresses; an entry of another source has both of its own."""
    for vendor in shipped_catalogue().vendors.values():
        assert date(2026, 1, 1) <= vendor.as_of <= datetime.now(UTC).date()
        assert urlsplit(vendor.source).scheme == urlsplit(vendor.prices).scheme == "https"
        for model in vendor.models.values():
            assert (model.as_of is None) == (model.source is None)
            assert model.as_of is None or date(2026, 1, 1) <= model.as_of <= datetime.now(UTC).date()


@pytest.mark.parametrize(("vendor", "facts"), [entry[1:] for entry in ENTRIES], ids=[entry[0] for entry in ENTRIES])
def test_every_entry_is_sane(vendor: object, facts: ModelFacts) -> None:
    """Windows hold the longest answer, output costs no less than input, both prices or none, known capabilities.

    Vectors are no output: theirs costs nothing.
    """
    assert vendor is not None
    assert facts.model_fields_set - {"as_of", "source"}
    embeds = "embeddings" in (facts.capabilities or ())
    if facts.context_tokens is not None:
        assert (500 if embeds else 4_000) <= facts.context_tokens <= 10_000_000
        assert facts.max_output_tokens is None or 1_000 <= facts.max_output_tokens <= facts.context_tokens
    prices = (facts.input_usd_per_million, facts.output_usd_per_million)
    assert (prices[0] is None) == (prices[1] is None)
    if prices[0] is not None and prices[1] is not None:
        assert 0 < prices[0] <= 1_000
        assert prices[1] == 0 if embeds else prices[0] <= prices[1] <= 1_000
    if facts.capabilities is not None:
        assert set(facts.capabilities) <= CAPABILITIES
        assert len(set(facts.capabilities)) == len(facts.capabilities)
    # Where a model is served and how long it may take is the operator's to say.
    assert (facts.regions, facts.first_token_s, facts.stall_s, facts.response_s) == (None, None, None, None)


def test_a_space_of_vectors_is_a_model_s_that_is_there() -> None:
    """Whoever stands in for a model names one of its own vendor's."""
    vendors = shipped_catalogue().vendors
    spaces = {facts.embedding_space for vendor in vendors.values() for facts in vendor.models.values()} - {None}
    assert spaces == {"embed-v4.0", "embed-english-v3.0", "embed-multilingual-v3.0"}
    assert spaces <= vendors["cohere"].models.keys()


def test_a_provider_is_known_by_its_host_then_by_its_protocol() -> None:
    """A well-known host wins; at an unknown one the protocol's own vendor is taken, since proxies keep model names."""
    catalogue = shipped_catalogue()
    mini = catalogue.facts("openai", "https://api.openai.com/v1", "gpt-4o-mini")
    assert (mini.context_tokens, mini.input_usd_per_million, mini.output_usd_per_million) == (128_000, 0.15, 0.6)
    assert catalogue.facts("openai", "http://127.0.0.1:8080/v1", "gpt-4o-mini") is mini
    assert catalogue.facts("openai", "https://API.GROQ.com/openai/v1", "gpt-4o-mini") is UNKNOWN
    assert catalogue.facts("openai", "https://api.groq.com/openai/v1", "llama-3.1-8b-instant").context_tokens == 131_072
    assert catalogue.facts("openai", "https://[::1", "gpt-4o-mini") is mini
    assert catalogue.facts("bedrock", "https://bedrock.example", "gpt-4o-mini") is UNKNOWN
    assert catalogue.facts("openai", "https://api.openai.com/v1", "my-own-model") is UNKNOWN


def test_a_given_field_wins_and_the_others_come_from_the_catalogue() -> None:
    """Also a given price of 0 and an empty list: both say something."""
    shipped = ModelFacts(context_tokens=10, input_usd_per_million=1.0, capabilities=("tools",))
    given = ModelFacts(input_usd_per_million=0.0, capabilities=(), regions=("eu",), stall_s=3.0)
    assert overridden(given, shipped) == ModelFacts(
        context_tokens=10, input_usd_per_million=0.0, capabilities=(), regions=("eu",), stall_s=3.0
    )
    assert overridden(UNKNOWN, shipped) == shipped
    assert overridden(given, UNKNOWN) == given


def test_a_documents_models_have_the_facts_of_both() -> None:
    """Every model that a document names, wherever it names it, is looked up once."""
    given = document(f"""\
version: 1
providers:
  main: {{protocol: openai, base_url: "https://api.openai.com/v1"}}
  fast: {{protocol: openai, base_url: "https://api.groq.com/openai/v1"}}
models:
  main/gpt-4o: {{input_usd_per_million: 2, regions: [us]}}
  gone/x: {{context_tokens: 7}}
aliases: {{a: {{tiers: [[main/gpt-4o, fast/openai/gpt-oss-20b], [main/o3]]}}}}
callers: [{{id: c, token_sha256: {"1" * 64}, models: [main/o3, main/mine]}}]
""")
    assert list(named_models(given)) == [
        "main/gpt-4o",
        "gone/x",
        "fast/openai/gpt-oss-20b",
        "main/o3",
        "main/mine",
    ]
    four = facts_of(given, "main/gpt-4o")
    assert (four.input_usd_per_million, four.output_usd_per_million, four.regions) == (2, 10, ("us",))
    assert four.context_tokens == 128_000
    assert facts_of(given, "fast/openai/gpt-oss-20b").max_output_tokens == 65_536
    assert facts_of(given, "gone/x") == ModelFacts(context_tokens=7)
    assert facts_of(given, "main/mine") == UNKNOWN


@pytest.mark.parametrize(
    "wrong",
    [
        SMALL.replace("as_of: 2026-01-02, ", ""),
        SMALL.replace("2026-01-02", "last week"),
        SMALL.replace('source: "https://s", ', ""),
        SMALL.replace("hosts: [h]", "hosts: []"),
        SMALL.replace("context_tokens: 5", "context_tokens: 0"),
        SMALL.replace("context_tokens: 5", "price: 5"),
        SMALL.replace("models:", "models: {}, models:"),
        "vendors: {}",
        "vendors: [",
    ],
)
def test_an_unsound_catalogue_is_refused(wrong: str) -> None:
    """What has no date, no source, an unknown or a doubled field does not come up in a release."""
    assert read_catalogue(SMALL.encode()).vendors["v"].as_of == date(2026, 1, 2)
    with pytest.raises(ValueError, match=r"."):
        read_catalogue(wrong.encode())
