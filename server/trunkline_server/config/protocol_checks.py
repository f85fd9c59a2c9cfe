"""What a provider's protocol leaves without effect, or cannot do without: told where it is written, never ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from trunkline_server.config.fields import is_loopback, split_target
from trunkline_server.config.findings import shown
from trunkline_server.config.plain import Found, PlainDocument, mapping

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trunkline_server.config.tree import Value

_SPEAKERS: Final = {
    "region": ("bedrock",),
    "api_version": ("azure_openai", "anthropic"),
    "deployments": ("azure_openai",),
}
"""Settings of a provider that only some protocols read, and these."""

_TWO_WIRES: Final = ("openai", "azure_openai")
"""Protocols that have more than one wire."""

_KEYLESS: Final = ("openai",)
"""Protocols whose servers often want no key."""

_PATTERN_SIGNS: Final = frozenset("*?[")


def _settings_of_others(document: PlainDocument) -> Found:
    """Warn of settings that a provider's protocol does not read."""
    for provider, value in document.providers.items():
        settings = mapping(value)
        protocol = settings.get("protocol")
        for name, speakers in _SPEAKERS.items():
            if isinstance(protocol, str) and settings.get(name) not in (None, {}) and protocol not in speakers:
                message = f"has no effect with protocol {shown(protocol)}, only with {' and '.join(speakers)}"
                yield document.warning(("providers", provider, name), "no_effect", message)


def _regions(document: PlainDocument) -> Found:
    """Warn of a region that is not the one in the host, which calls are signed for."""
    for provider, value in document.providers.items():
        settings = mapping(value)
        region, host = settings.get("region"), _host(settings)
        if settings.get("protocol") != "bedrock" or not isinstance(region, str):
            continue
        labels = host.split(".")
        if any(label.startswith("bedrock-runtime") for label in labels[:-1]) and region not in labels:
            message = "has no effect, since base_url names another region, which calls are signed for"
            yield document.warning(("providers", provider, "region"), "no_effect", message)


def _deployments(document: PlainDocument) -> Found:
    """Warn of patterns among the models of deployments: these are names."""
    for provider, value in document.providers.items():
        for model in mapping(mapping(value).get("deployments")):
            if not _PATTERN_SIGNS.isdisjoint(model):
                message = "has no effect: deployments are found by a model's whole name, and no model is called so"
                yield document.warning(("providers", provider, "deployments", model), "no_effect", message)


def _wires(document: PlainDocument) -> Found:
    """Warn of a wire for a model whose protocol has only one."""
    for name, facts in document.models.items():
        parts = split_target(name)
        protocol = None if parts is None else mapping(document.providers.get(parts[0])).get("protocol")
        if isinstance(protocol, str) and protocol not in _TWO_WIRES and mapping(facts).get("wire") is not None:
            message = f"has no effect: protocol {shown(protocol)} has one wire; remove it"
            yield document.warning(("models", name, "wire"), "no_effect", message)


def _no_keys(document: PlainDocument) -> Found:
    """Warn of providers without a key whose vendors answer nobody without one."""
    for provider, value in document.providers.items():
        settings = mapping(value)
        protocol, host = settings.get("protocol"), _host(settings)
        if not isinstance(protocol, str) or protocol in _KEYLESS or settings.get("keys", []) != []:
            continue
        if "preset" in settings:
            continue  # whose servers want a key, presets say themselves
        if host and not is_loopback(host):
            message = f"there are none, and calls of protocol {shown(protocol)} are refused without one: give `keys`"
            yield document.warning(("providers", provider, "keys"), "no_keys", message)


def _host(settings: Mapping[str, Value]) -> str:
    url = settings.get("base_url")
    try:
        return (urlsplit(url).hostname or "") if isinstance(url, str) else ""
    except ValueError:
        return ""  # told as a finding of that one setting


PROTOCOL_CHECKS: Final = (_settings_of_others, _regions, _deployments, _wires, _no_keys)
