"""Bedrock's credentials: a signature over each call (SigV4), or an API key of Bedrock's own, a bearer token.

A secret is one of these:

- `{"access_key_id": …, "secret_access_key": …, "session_token": …}` (the last only with temporary keys), or the same
  as `AKIA…:secret` or `ASIA…:secret:token`;
- `{"role": "default"}`: the keys that the machine has itself (see `aws_role`);
- anything else, without white space: an API key.

Signing is botocore's: it is AWS's own, it signs without I/O, and nothing else of it is on the way of a call.
"""

from __future__ import annotations

import re
from typing import Final

from trunkline_server.providers.base import AdapterTerms
from trunkline_server.providers.credentials.aws_role import RoleSigner
from trunkline_server.providers.credentials.aws_sign import AccessKeys, load, signed
from trunkline_server.providers.credentials.base import Credential, CredentialError, bearer
from trunkline_server.providers.json_wire import DECODING_ERRORS, decode_any
from trunkline_server.providers.transport.base import Transport, UpstreamRequest

_REGION_OF_HOST: Final = re.compile(r"//(?:[^/]*\.)?bedrock-runtime(?:-fips)?\.([a-z]{2}(?:-[a-z]+)+-\d+)\.")
_REGION: Final = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d+")
_KEY_ID: Final = re.compile(r"(?:AKIA|ASIA)[A-Z0-9]{0,124}")
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
_ROLE: Final = "role"
_NEEDED: Final = ("access_key_id", "secret_access_key")
_FIELDS: Final = frozenset({*_NEEDED, "session_token"})


class KeySigner:
    """Signs with keys that never change."""

    __slots__ = ("_keys", "_region")

    def __init__(self, keys: AccessKeys, region: str) -> None:
        load()
        self._keys = keys
        self._region = region

    def __repr__(self) -> str:
        return f"<KeySigner in {self._region}>"

    @property
    def hidden(self) -> tuple[str, ...]:
        """The texts of its keys."""
        return self._keys.hidden

    async def sign(self, request: UpstreamRequest, transport: Transport) -> UpstreamRequest:  # noqa: ARG002  nothing is fetched
        """Return `request` with its signature."""
        return await signed(request, self._keys, self._region)

    def rejected(self, request: UpstreamRequest) -> None:
        """Do nothing: there are no others."""

    def close(self) -> None:
        """Do nothing: nothing runs in the background."""


def credential(secret: str, terms: AdapterTerms) -> Credential:
    """Return what a key's secret becomes; raise CredentialError if it cannot be one, or if its region is unknown."""
    secret = secret.strip()
    if secret.startswith("{"):
        return _of_json(secret, terms)
    key_id, colon, rest = secret.partition(":")
    if _KEY_ID.fullmatch(key_id) is not None:
        secret_key, _, token = rest.partition(":")
        if not colon or not secret_key:
            raise CredentialError("an AWS access key id without its secret access key")
        return _signer(key_id, secret_key, token or None, terms)
    if _TOKEN.fullmatch(secret) is None:
        raise CredentialError("neither AWS keys nor an API key of Bedrock, which has no white space in it")
    return bearer(secret)


def region_of(terms: AdapterTerms) -> str:
    """Return the region that calls are signed for: the host's, else the provider's; raise CredentialError."""
    found = _REGION_OF_HOST.search(terms.base_url)
    if found is not None:
        return found[1]
    if terms.region is None:
        raise CredentialError("no region to sign for: base_url does not name one, and the provider has no `region`")
    if _REGION.fullmatch(terms.region) is None:
        raise CredentialError("the provider's `region` is no AWS region, such as us-east-1")
    return terms.region


def _of_json(secret: str, terms: AdapterTerms) -> Credential:
    try:
        fields = decode_any(secret)
    except DECODING_ERRORS:
        raise CredentialError("begins like JSON and is none") from None  # the cause may hold a part of the secret
    if not isinstance(fields, dict) or not all(isinstance(value, str) and value for value in fields.values()):
        raise CredentialError("its JSON must be an object of texts that are not empty")
    if _ROLE in fields:
        if fields != {_ROLE: "default"}:
            raise CredentialError('the only role is {"role": "default"}, with nothing beside it')
        return RoleSigner(region_of(terms))
    if not set(_NEEDED) <= fields.keys() or not fields.keys() <= _FIELDS:
        raise CredentialError("its JSON must have access_key_id, secret_access_key and maybe session_token alone")
    return _signer(fields["access_key_id"], fields["secret_access_key"], fields.get("session_token"), terms)


def _signer(key_id: str, secret_key: str, token: str | None, terms: AdapterTerms) -> KeySigner:
    if any(_TOKEN.fullmatch(text) is None for text in (key_id, secret_key, token or "-")):
        raise CredentialError("its AWS keys have characters that no key has")
    return KeySigner(AccessKeys(key_id, secret_key, token), region_of(terms))
