"""Every wire that the gateway speaks, each as a provider in front of the one simulator that speaks them all."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from trunkline_server.simulator.dialects import DIALECTS

CAPABILITIES: Final = ["tools", "vision", "json_schema", "reasoning"]


@dataclass(frozen=True)
class Wire:
    """A provider of the tests, named like its wire."""

    name: str
    protocol: str
    """In the routes; also the simulator's dialect, unless `dialect` is another."""
    model: str
    secret: str
    dialect: str = ""
    path: str = ""
    """Between the dialect's own base path and the paths of the protocol."""
    settings: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    stops: bool = True
    """It has stop sequences."""
    output_with_tools: bool = True
    """It can be asked for JSON together with tools."""
    thinks_back: bool = False
    """It takes the thinking of its own earlier answers."""
    seals: bool = False
    """It wants that thinking sealed."""

    @property
    def target(self) -> str:
        """As aliases name it."""
        return f"{self.name}/{self.model}"

    @property
    def key(self) -> str:
        """As the simulator knows its credential."""
        return self.secret.partition(":")[0] if self.protocol == "bedrock" else self.secret

    def provider(self) -> dict[str, Any]:
        """Return its settings in the routes."""
        base = DIALECTS[self.dialect or self.protocol].base_path
        return {
            "protocol": self.protocol,
            "base_url": f"{{root}}{base}{self.path}",
            "keys": [{"id": "only", "secret": f"env:{self.variable}"}],
            **self.settings,
        }

    @property
    def variable(self) -> str:
        """The environment's name for the secret."""
        return f"{self.name.upper().replace('-', '_')}_API_KEY"

    def numbered(self, number: int) -> Wire:
        """Return a provider of the same wire with a name and a key of its own."""
        start, colon, rest = self.secret.partition(":")
        return replace(self, name=f"{self.name}-{number}", secret=f"{start}{number:04d}{colon}{rest}")


WIRES: Final = {
    wire.name: wire
    for wire in (
        Wire("openai", "openai", "gpt-4o", "sk-openai"),
        Wire(
            "responses",
            "openai",
            "gpt-5",
            "sk-responses",
            facts={"wire": "responses"},
            stops=False,
            thinks_back=True,
            seals=True,
        ),
        # The first version that has all of the tests' features.
        Wire(
            "azure_openai",
            "azure_openai",
            "gpt-4o",
            "azure-sim",
            settings={"api_version": "2025-01-01-preview"},
        ),
        # The last generation that takes temperature and top_p together.
        Wire("anthropic", "anthropic", "claude-3-7-sonnet-20250219", "sk-ant-sim", thinks_back=True, seals=True),
        Wire(
            "bedrock",
            "bedrock",
            "us.anthropic.claude-3-7-sonnet-20250219-v1:0",
            "AKIASIMULATOR:wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            settings={"region": "us-east-1"},
            thinks_back=True,
            seals=True,
        ),
        Wire("gemini", "gemini", "gemini-3-pro", "AIzaSim", thinks_back=True, seals=True),
        Wire("cohere", "cohere", "command-a-03-2025", "co-sim", output_with_tools=False, thinks_back=True),
    )
}


def routes(
    wires: Iterable[Wire], aliases: dict[str, Any] | None = None, *, prefill: bool = False, **provider: Any
) -> str:
    """Return a routes file: an alias for each wire alone, named like it, and `aliases`.

    `provider` are further settings of all providers; `prefill`: all models can be given the start of their answer.
    """
    wires = list(wires)
    capabilities = [*CAPABILITIES, "prefill"] if prefill else CAPABILITIES
    document = {
        "version": 1,
        "providers": {wire.name: {**wire.provider(), **provider} for wire in wires},
        "models": {wire.target: {"capabilities": capabilities, **wire.facts} for wire in wires},
        "aliases": {**{wire.name: {"tiers": [[wire.target]], "max_attempts": 1} for wire in wires}, **(aliases or {})},
    }
    # The gateway of the tests fills in `{root}` by str.format.
    return json.dumps(document).replace("{", "{{").replace("}", "}}").replace("{{root}}", "{root}")


def environment(wires: Iterable[Wire]) -> dict[str, str]:
    """Return the secrets of the routes."""
    return {wire.variable: wire.secret for wire in wires}
