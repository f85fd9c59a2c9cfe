"""Google's credentials: an API key, which is sent as it is, or a JSON document, whose calls carry access tokens."""

from __future__ import annotations

from typing import Final

from trunkline_server.providers.base import AdapterTerms
from trunkline_server.providers.credentials.base import Credential, CredentialError, StaticHeaders
from trunkline_server.providers.json_wire import DECODING_ERRORS, decode_any

HEADER: Final = "x-goog-api-key"


def credential(secret: str, terms: AdapterTerms) -> Credential:  # noqa: ARG001  every protocol's function has both
    """Return what a key's secret becomes; raise CredentialError for one that can be neither."""
    if not secret.lstrip().startswith("{"):
        if not secret.isascii() or not secret.isprintable() or " " in secret:
            raise CredentialError("it is neither an API key nor a JSON document")
        return StaticHeaders({HEADER: secret})
    try:
        info = decode_any(secret)
    except DECODING_ERRORS:
        raise CredentialError("it begins like a JSON document and is none") from None
    if not isinstance(info, dict):
        raise CredentialError("it begins like a JSON document and is none")
    # Imported here: the vendor's library takes its time, and most keys do not need it.
    from trunkline_server.providers.credentials.google_token import google_signer

    return google_signer(info)
