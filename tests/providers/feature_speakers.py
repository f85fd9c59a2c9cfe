"""Everything that states features: each adapter, each model that its adapter knows apart, and each preset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from scripts.generate_features import UNKNOWN, models_of

from trunkline_server.chat.answer import Warning_
from trunkline_server.chat.request import ChatRequest
from trunkline_server.compile import ADAPTERS, WIRES
from trunkline_server.config.presets import shipped_presets
from trunkline_server.providers.base import Adapter, AdapterTerms, FeaturesByModel, ModelTerms
from trunkline_server.providers.quirks import NO_QUIRKS, Quirks, read_quirks


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
            for model in sorted(models_of(protocol)):
                yield Speaker(f"{name} {model}", protocol, adapter, model)
    for name, preset in shipped_presets().items():
        adapter = adapter_of(preset.protocol, preset.wire or "", read_quirks(preset.quirks))
        yield Speaker(f"preset {name}", preset.protocol, adapter)
