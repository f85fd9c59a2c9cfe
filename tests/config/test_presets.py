"""`preset: NAME`: what it brings, what goes before it, and how it is checked."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from trunkline_server.compile import ADAPTERS, prepare
from trunkline_server.config.built import SETTINGS
from trunkline_server.config.catalogue import facts_of
from trunkline_server.config.fields import is_loopback
from trunkline_server.config.findings import Finding
from trunkline_server.config.load import parse
from trunkline_server.config.model import ProviderSettings
from trunkline_server.config.presets import preset_of, read_presets, shipped_presets, with_preset
from trunkline_server.config.routes import LoadedRoutes
from trunkline_server.config.secret import Secret
from trunkline_server.providers.openai import OpenAIAdapter
from trunkline_server.providers.openai_responses import ResponsesAdapter

HOSTED = {
    *("openai", "anthropic", "gemini", "cohere", "groq", "together", "fireworks", "deepseek", "mistral", "openrouter"),
    *("xai", "perplexity", "cerebras", "nvidia", "sambanova", "nebius", "huggingface"),
}
LOCAL = {"ollama", "vllm", "sglang", "llamacpp", "lmstudio", "litellm", "bifrost"}
KEY = {"id": "a", "secret": "env:SOME_API_KEY"}


def document(model: str = "some-model", **provider: Any) -> str:
    return yaml.safe_dump(
        {
            "version": 1,
            "providers": {"one": provider},
            "aliases": {"default": {"tiers": [[f"one/{model}"]]}},
            "callers": [{"id": "c", "token_sha256": "1" * 64, "aliases": ["default"]}],
        }
    )


def found(**provider: Any) -> list[Finding]:
    return list(parse(document(**provider), name="x").findings)


def settings_of(**provider: Any) -> ProviderSettings:
    parsed = parse(document(**provider), name="x")
    assert parsed.document is not None, parsed.findings
    return parsed.document.providers["one"]


def test_every_server_that_companies_use_has_a_preset() -> None:
    """The names are fixed: documents name them."""
    assert shipped_presets().keys() == HOSTED | LOCAL


@pytest.mark.parametrize("name", [*sorted(HOSTED), *sorted(LOCAL)])
def test_a_preset_and_keys_are_a_whole_provider(name: str) -> None:
    """The shortest provider has no finding, and what it stands for is the preset's."""
    preset = shipped_presets()[name]
    if preset.protocol not in ADAPTERS:
        pytest.skip(f"the protocol {preset.protocol} is not built yet")
    keys = [KEY] if preset.key else []
    assert found(preset=name, keys=keys) == []
    settings = settings_of(preset=name, keys=keys)
    assert (settings.protocol, settings.base_url) == (preset.protocol, preset.base_url)


@pytest.mark.parametrize("name", sorted(HOSTED | LOCAL))
def test_a_preset_is_sound_data(name: str) -> None:
    """Hosted ones are reached by TLS and want a key; those of one's own are on this machine and want none."""
    preset = shipped_presets()[name]
    url = urlsplit(preset.base_url)
    assert (url.scheme == "https", bool(preset.key)) == (name in HOSTED, name in HOSTED)
    assert is_loopback(url.hostname or "") == (name in LOCAL)
    assert preset.source.startswith("https://")
    assert preset.as_of.year >= 2026
    for section in ("gate", "timeouts"):
        assert getattr(preset, section).keys() <= set(SETTINGS[f"providers.*.{section}"].known)


def test_what_the_document_says_goes_before_the_preset() -> None:
    """Setting by setting, those of the gate and of the timeouts too."""
    plain = settings_of(preset="ollama")
    assert (plain.gate.max_in_flight, plain.gate.queue, plain.timeouts.first_token_s) == (4, 500, 120)
    own = settings_of(
        preset="ollama",
        base_url="http://localhost:9/v1/",
        gate={"queue": 7},
        timeouts={"first_token_s": 9, "connect_s": 1},
    )
    assert own.base_url == "http://localhost:9/v1"
    assert (own.gate.max_in_flight, own.gate.queue) == (4, 7)
    assert (own.timeouts.first_token_s, own.timeouts.connect_s, own.timeouts.response_s) == (9, 1, 600)


def test_an_unknown_preset_is_told_with_the_nearest_name() -> None:
    """One finding, at its line; that a URL is missing is not told beside it."""
    (finding,) = found(preset="grok", keys=[KEY])
    assert (finding.code, finding.path, finding.line) == ("unknown_preset", "providers.one.preset", 15)
    assert "did you mean groq?" in finding.message
    assert "trunkline presets" in finding.message


@pytest.mark.parametrize(
    ("provider", "code"),
    [
        ({"preset": 7}, "wrong_type"),
        ({"preset": None}, "empty_value"),
        ({"preset": ["groq"]}, "wrong_type"),
        ({"preset": "groq", "keys": [KEY], "gate": 7}, "wrong_type"),
        ({"preset": "groq", "keys": [KEY], "timeouts": {"stall": 7}}, "unknown_field"),
        ({"preset": "groq", "keys": [KEY], "base_url": "http://api.groq.com/openai/v1"}, "plaintext"),
        ({"preset": "ollama", "gate": {"adaptive": {"min": 5}}}, "gate_disagrees"),
    ],
)
def test_what_a_preset_brings_is_checked_like_what_is_written_out(provider: dict[str, Any], code: str) -> None:
    """Shapes and combinations are judged on the whole provider."""
    assert code in {finding.code for finding in found(**provider)}


def test_a_hosted_preset_without_keys_is_doubtful() -> None:
    """The warning names the usual variable; a server of one's own at another URL may need none."""
    (finding,) = found(preset="groq")
    assert (finding.severity, finding.code) == ("warning", "preset_keys")
    assert "env:GROQ_API_KEY" in finding.message
    assert found(preset="groq", base_url="https://proxy.example/v1") == []


def test_another_protocol_than_the_presets_leaves_its_quirks_out() -> None:
    """It is told, and the adapter is the plain one of that protocol."""
    provider = {"preset": "mistral", "protocol": "anthropic", "keys": [KEY]}
    assert [finding.code for finding in found(**provider)] == ["preset_protocol"]
    assert blueprint(**provider).terms.quirks == shipped_quirks("openai")


def shipped_quirks(name: str) -> object:
    return blueprint(preset=name, keys=[KEY]).terms.quirks


def blueprint(**provider: Any) -> Any:
    parsed = parse(document(**provider), name="x")
    assert parsed.document is not None
    secrets = {("one", "a"): Secret("sk-1")} if provider.get("keys") else {}
    return prepare(LoadedRoutes(parsed.document, secrets, parsed.sha256, ())).providers["one"]


def test_a_preset_makes_the_adapter_of_its_provider() -> None:
    """Quirks reach the adapter, and what the server lacks is no feature of it."""
    spec = blueprint(preset="mistral", keys=[KEY])
    assert isinstance(spec.adapter, OpenAIAdapter)
    assert spec.terms.quirks.seed_field == "random_seed"
    assert "top_k" in spec.adapter.features
    assert "documents" not in spec.adapter.features
    assert spec.auth == {"a": {"authorization": "Bearer sk-1"}}


def test_a_preset_may_name_the_wire_of_all_models() -> None:
    """Models of a preset with another wire are served by it, also those that no document names."""
    spec = blueprint(preset="perplexity", keys=[KEY])
    assert isinstance(spec.adapter, ResponsesAdapter)
    assert spec.wires == {}


def test_the_catalogue_knows_the_models_of_a_preset() -> None:
    """Facts are found by the URL that the preset brings."""
    for name, model in (("groq", "llama-3.3-70b-versatile"), ("openai", "gpt-4o-mini")):
        parsed = parse(document(model, preset=name, keys=[KEY]), name="x")
        assert parsed.document is not None
        assert facts_of(parsed.document, f"one/{model}").context_tokens


def test_plain_settings_are_left_alone() -> None:
    """What names no preset, or is no mapping, comes back as it is."""
    values: list[Any] = [None, 7, [], "groq", {}, {"preset": 7}, {"preset": "nobody"}]
    for value in values:
        assert with_preset(value) is value
    assert preset_of({"preset": "groq"}) is shipped_presets()["groq"]


def test_merging_leaves_the_document_as_it_was() -> None:
    """Neither the given settings nor the shipped data change."""
    given: dict[str, Any] = {"preset": "ollama", "gate": {"queue": 7}}
    merged = with_preset(given)
    assert isinstance(merged, dict)
    assert given == {"preset": "ollama", "gate": {"queue": 7}}
    assert merged["gate"] == {"max_in_flight": 4, "queue": 7}
    assert settings_of(preset="ollama").gate.queue == 500


ENTRY = "presets: {x: {what: X, protocol: openai, base_url: https://x.example, source: https://x.example, "


@pytest.mark.parametrize(
    "text",
    ["presets: {}", "{", "presets: {x: {what: X}}", ENTRY + "as_of: soon}}", ENTRY + "as_of: 2026-01-01, quirk: {}}}"],
)
def test_data_that_is_not_sound_is_refused(text: str) -> None:
    """A broken entry fails where it is read, not at a call."""
    assert read_presets((ENTRY + "as_of: 2026-01-01}}").encode()).keys() == {"x"}
    with pytest.raises(ValueError):  # noqa: PT011  pydantic's and ours are told apart by nobody
        read_presets(text.encode())
