"""Cohere's credential: a bearer token."""

from __future__ import annotations

from trunkline_server.providers.base import AdapterTerms
from trunkline_server.providers.credentials.base import Credential, bearer


def credential(secret: str, terms: AdapterTerms) -> Credential:  # noqa: ARG001  every protocol's function has both
    """Return what a key's secret becomes; raise CredentialError if no header can carry it."""
    return bearer(secret)
