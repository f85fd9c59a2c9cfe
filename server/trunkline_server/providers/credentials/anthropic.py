"""Anthropic's credential: an API key in a header of its own."""

from __future__ import annotations

from trunkline_server.providers.base import AdapterTerms
from trunkline_server.providers.credentials.base import Credential, as_header


def credential(secret: str, terms: AdapterTerms) -> Credential:  # noqa: ARG001  every protocol's function has both
    """Return what a key's secret becomes; raise CredentialError if no header can carry it."""
    return as_header("x-api-key", secret)
