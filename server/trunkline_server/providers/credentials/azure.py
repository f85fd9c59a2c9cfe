"""Azure's credentials: an API key, which is sent as it is, or an identity of Entra ID, whose calls carry its tokens."""

from __future__ import annotations

from typing import Final

from trunkline_server.providers.base import AdapterTerms
from trunkline_server.providers.credentials.base import Credential, CredentialError, StaticHeaders
from trunkline_server.providers.credentials.entra_token import entra_signer
from trunkline_server.providers.json_wire import DECODING_ERRORS, decode_any

HEADER: Final = "api-key"


def credential(secret: str, terms: AdapterTerms) -> Credential:  # noqa: ARG001  every protocol's function has both
    """Return what a key's secret becomes; raise CredentialError for one that can be neither.

    An identity is a JSON object of `tenant_id`, `client_id`, and `client_secret` or `certificate` and `private_key`
    (both PEM); it may have an `authority` other than that of the public cloud, and another `scope`.
    """
    if not secret.lstrip().startswith("{"):
        if not secret.isascii() or not secret.isprintable() or " " in secret:
            raise CredentialError("it is neither an API key nor a JSON object")
        return StaticHeaders({HEADER: secret})
    try:
        info = decode_any(secret)
    except DECODING_ERRORS:
        info = None
    if not isinstance(info, dict):
        raise CredentialError("it begins like a JSON object and is none")
    return entra_signer(info)
