"""The table of dialects, and which of them a request is in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trunkline_server.simulator.anthropic.dialect import AnthropicDialect
from trunkline_server.simulator.azure_openai.dialect import AzureDialect
from trunkline_server.simulator.azure_openai.entra import EntraDialect
from trunkline_server.simulator.bedrock.dialect import BedrockDialect
from trunkline_server.simulator.cohere.dialect import CohereDialect
from trunkline_server.simulator.gemini.dialect import GeminiDialect
from trunkline_server.simulator.google_oauth.dialect import GoogleOAuthDialect
from trunkline_server.simulator.openai.dialect import OpenAIDialect

if TYPE_CHECKING:
    from trunkline_server.simulator.dialect import Dialect, Received

OPENAI = OpenAIDialect()

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        # The first that claims a request gets it; OpenAI's takes whatever nobody else does, and stands last.
        AnthropicDialect(),
        CohereDialect(),
        BedrockDialect(),
        GeminiDialect(),
        GoogleOAuthDialect(),
        AzureDialect(),
        EntraDialect(),
        OPENAI,
    )
}
"""By the name of the protocol."""

ERROR_NAMES: frozenset[str] = frozenset().union(*(dialect.errors for dialect in DIALECTS.values()))
"""Every failure that a scenario may name; what a dialect lacks is refused when a request of that dialect gets it."""


def dialect_of(request: Received) -> Dialect:
    """Return the dialect that a request is in."""
    return next((dialect for dialect in DIALECTS.values() if dialect.claims(request)), OPENAI)
