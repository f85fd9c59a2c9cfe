"""Settings that a provider's protocol does not read, or cannot do without: nothing that is written is ignored."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trunkline_server.config.load import parse

HOSTS = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com",
    "bedrock": "https://bedrock-runtime.us-east-1.amazonaws.com",
    "gemini": "https://generativelanguage.googleapis.com/v1beta",
    "azure_openai": "https://name.openai.azure.com",
    "cohere": "https://api.cohere.com",
}
KEYS = [{"id": "a", "secret": "env:A_API_KEY"}]
VALUES: dict[str, Any] = {"region": "us-east-1", "api_version": "2024-10-21", "deployments": {"gpt-4o": "mine"}}
READERS = {"region": {"bedrock"}, "api_version": {"azure_openai", "anthropic"}, "deployments": {"azure_openai"}}


def told(protocol: str, facts: dict[str, Any] | None = None, **settings: Any) -> list[tuple[str, str, str]]:
    """Return severity, path and code of what a document with one provider is told."""
    provider = {"protocol": protocol, "base_url": HOSTS[protocol], "keys": KEYS, **settings}
    document = {
        "version": 1,
        "providers": {"p": provider},
        "models": {"p/m": facts or {}},
        "aliases": {"default": {"tiers": [["p/m"]]}},
        "callers": [{"id": "c", "token_sha256": "1" * 64, "aliases": ["default"]}],
    }
    found = parse(json.dumps(document, indent=1), name="routes.json").findings
    assert all(finding.line for finding in found)
    return [(finding.severity, finding.path, finding.code) for finding in found]


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("protocol", HOSTS)
def test_a_setting_of_another_protocol_is_a_warning(protocol: str, name: str) -> None:
    """A region, a version or deployments are told to have no effect wherever nobody reads them, and nowhere else."""
    expected = [] if protocol in READERS[name] else [("warning", f"providers.p.{name}", "no_effect")]
    assert told(protocol, **{name: VALUES[name]}) == expected


@pytest.mark.parametrize("protocol", HOSTS)
def test_a_wire_is_for_protocols_that_have_two(protocol: str) -> None:
    """A model's `wire` is a warning at a provider whose protocol has one alone."""
    two = protocol in {"openai", "azure_openai"}
    assert told(protocol, {"wire": "responses"}) == ([] if two else [("warning", "models.p/m.wire", "no_effect")])


@pytest.mark.parametrize("protocol", HOSTS)
def test_a_vendor_without_a_key_is_a_warning(protocol: str) -> None:
    """Only servers of OpenAI's protocol, and those on this machine, go without a key in silence."""
    expected = [] if protocol == "openai" else [("warning", "providers.p.keys", "no_keys")]
    assert told(protocol, keys=[]) == expected
    assert told(protocol, keys=[], base_url="http://127.0.0.1:8080") == []


def test_a_region_that_is_not_the_hosts_is_a_warning() -> None:
    """Calls are signed for the host's region; another one beside it is told, also at FIPS and private endpoints."""
    expected = [("warning", "providers.p.region", "no_effect")]
    assert told("bedrock", region="eu-west-1") == expected
    assert (
        told("bedrock", region="eu-west-1", base_url="https://bedrock-runtime-fips.us-east-1.amazonaws.com") == expected
    )
    private = "https://vpce-1-2.bedrock-runtime.eu-west-1.vpce.amazonaws.com"
    assert told("bedrock", region="eu-west-1", base_url=private) == []
    assert told("bedrock", region="eu-west-1", base_url="https://proxy.example/bedrock") == []


def test_a_pattern_among_deployments_is_a_warning() -> None:
    """Deployments are found by whole names of models."""
    expected = [("warning", "providers.p.deployments.gpt-4*", "no_effect")]
    assert told("azure_openai", deployments={"gpt-4*": "mine", "gpt-4o": "mine"}) == expected
