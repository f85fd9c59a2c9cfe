"""What a certificate says: the names of a peer, which tell who calls where no token does, and when one ends.

Only subject alternative names count, whole and as they are written; a common name or a wildcard names nobody. Kinds
are kept apart by their form, so that a certificate for a host cannot pass for a service: a URI has a colon
(`spiffe://prod/checkout`), an e-mail address an @, a host name neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cryptography.x509 import load_pem_x509_certificate

_URI, _EMAIL, _DNS = "peer_uri", "peer_email", "peer_dns"


def names_of(auth_context: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names in the certificate of a connection, from its `context.auth_context()`; none without TLS.

    grpc has verified the certificate against the clients' authority by then, or there is none.
    """
    uris = [name for name in _texts(auth_context.get(_URI)) if ":" in name]
    emails = [name for name in _texts(auth_context.get(_EMAIL)) if "@" in name and ":" not in name]
    hosts = [name for name in _texts(auth_context.get(_DNS)) if "@" not in name and ":" not in name]
    return (*uris, *emails, *hosts)


def _texts(values: Iterable[bytes] | None) -> list[str]:
    """Return values as text; one that is no UTF-8 names nobody."""
    texts = []
    for value in values or ():
        try:
            texts.append(value.decode())
        except UnicodeDecodeError:
            continue
    return texts


def expires_unix_s(pem: bytes) -> float:
    """Return when the first certificate of a PEM text ends, in Unix seconds. Raises ValueError if there is none."""
    return load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()
