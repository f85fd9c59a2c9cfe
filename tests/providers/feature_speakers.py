"""Everything that states features: each adapter, each model that its adapter knows apart, and each preset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trunkline_server.chat.answer import Warning_
from trunkline_server.chat.request import ChatRequest
from trunkline_server.compile import ADAPTERS, WIRES
from trunkline_server.config.catalogue import shipped_catalogue
from trunkline_server.config.presets import shipped_presets
from trunkline_server.providers.base import Adapter, AdapterTerms, FeaturesByModel, ModelTerms
from trunkline_server.providers.quirks import NO_QUIRKS, Quirks, read_quirks

UNKNOWN = "some-model"
MADE_BY_OTHERS = {
    "bedrock": (
        "anthropic.claude-3-5-sonnet-20241022-v2:0",
        "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "us.anthropic.claude-opus-4-7-20260201-v1:0",
        "amazon.nova-pro-v1:0",
        "amazon.nova-2-lite-v1:0",
        "meta.llama3-1-70b-instruct-v1:0",
        "mistral.mistral-large-2407-v1:0",
        "cohere.command-r-plus-v1:0",
        "ai21.jamba-1-5-large-v1:0",
        "openai.gpt-oss-120b-1:0",
        "deepseek.r1-v1:0",
    ),
}
"""Models of protocols that serve other vendors' too, one of each family."""


@dataclass(frozen=True)
class Speaker:
    """One adapter and a model that it is asked for."""

    name: str
    protocol: str
    adapter: Adapter
    model: str = UNKNOWN

    @property
    def features(self) -> frozenset[str]:
        """What it states for the model."""
        adapter = self.adapter
        return adapter.features_of(self.model) if isinstance(adapter, FeaturesByModel) else adapter.features

    def sent(self, request: ChatRequest) -> tuple[str, tuple[Warning_, ...]]:
        """Return what a provider hears of a request, its path included, and the warnings."""
        call = self.adapter.encode(request, self.protocol, self.model, stream=False)
        return call.path + call.body.decode(), call.warnings


def adapter_of(protocol: str, wire: str = "", quirks: Quirks = NO_QUIRKS, model: ModelTerms | None = None) -> Adapter:
    """Return the adapter of a server of which nothing else is said."""
    models = {UNKNOWN: ModelTerms(max_output_tokens=8192)} if model is None else {}
    terms = AdapterTerms(
        protocol, "https://api.example", models, quirks, region="eu-west-1", api_version="2024-10-21", wire=wire
    )
    return WIRES.get((protocol, wire), ADAPTERS[protocol])(terms)


def speakers() -> Iterator[Speaker]:
    """Yield all of them."""
    for protocol, wire in [*((protocol, "") for protocol in ADAPTERS), *WIRES]:
        name = f"{protocol} {wire}".strip()
        adapter = adapter_of(protocol, wire)
        yield Speaker(name, protocol, adapter)
        if isinstance(adapter, FeaturesByModel):
            for model in sorted(_models_of(protocol)):
                yield Speaker(f"{name} {model}", protocol, adapter, model)
    for name, preset in shipped_presets().items():
        adapter = adapter_of(preset.protocol, preset.wire or "", read_quirks(preset.quirks))
        yield Speaker(f"preset {name}", preset.protocol, adapter)


def _models_of(protocol: str) -> set[str]:
    """Return the models that the catalogue knows of a protocol's own vendor, and those of others that we know."""
    vendors = shipped_catalogue().vendors.values()
    own = {
        name
        for vendor in vendors
        if vendor.protocol == protocol
        for name, model in vendor.models.items()
        if "embeddings" not in (model.capabilities or ())
    }
    return own.union(MADE_BY_OTHERS.get(protocol, ()))
