"""Where deployments are called: by the paths of a dated API version, or by those of the v1 API.

A base URL that ends with `/openai/v1` is the v1 API's, which names the deployment in the body as OpenAI does the model
and needs no version. Any other is a resource's own: the deployment stands in the path, the version in the query.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from trunkline_server.providers.base import AdapterTerms

DEFAULT_API_VERSION: Final = "2024-10-21"
"""The last dated version that is generally available; later ones are previews, and the v1 API has none.
(https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle, 2026-11-23)"""

RESPONSES_API_VERSION: Final = "2025-04-01-preview"
"""The default for responses, which no dated version serves that is generally available."""

CHAT: Final = "/chat/completions"
EMBEDDINGS: Final = "/embeddings"

_V1: Final = "/openai/v1"
_OPENAI: Final = "/openai"


class Places:
    """The paths of one provider's calls, behind its base URL."""

    def __init__(self, terms: AdapterTerms) -> None:
        self._deployments = dict(terms.deployments)
        self._is_v1 = terms.base_url.endswith(_V1)
        start = "" if self._is_v1 or terms.base_url.endswith(_OPENAI) else _OPENAI
        self._start = start if self._is_v1 else f"{start}/deployments/"
        self._query = _query(terms.api_version if self._is_v1 else terms.api_version or DEFAULT_API_VERSION)
        version = terms.api_version if self._is_v1 else terms.api_version or RESPONSES_API_VERSION
        self.responses: Final = f"{start}/responses{_query(version)}"
        """The path of all responses; the body names the deployment."""

    def deployment(self, model: str) -> str:
        """Return the name of the deployment that serves `model`: its own, unless the document says another."""
        return self._deployments.get(model, model)

    def path(self, deployment: str, operation: str) -> str:
        """Return the path of `operation`, which is CHAT or EMBEDDINGS, at a deployment."""
        if self._is_v1:
            return operation + self._query
        return f"{self._start}{quote(deployment, safe='')}{operation}{self._query}"


def _query(version: str | None) -> str:
    return f"?api-version={quote(version, safe='')}" if version else ""
