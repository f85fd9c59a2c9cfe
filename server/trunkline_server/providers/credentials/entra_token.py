"""Access tokens of Entra ID for an application's own identity: the client-credentials grant.

The grant is one POST, so it is made here, on the event loop and with the data path's own HTTP: bounded and cancelled
like any call. msal, the vendor's library, does no more for it, and wants a thread, a discovery document, a cache of its
own, and an authority with https, which no test's endpoint has. The proof that a certificate's key signs is msal's.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.credentials.base import CredentialError
from trunkline_server.providers.credentials.oauth_token import AccessToken, TokenSource
from trunkline_server.providers.json_wire import DECODING_ERRORS
from trunkline_server.providers.retry_after import retry_after_s
from trunkline_server.providers.transport.base import (
    MAX_ERROR_BODY_BYTES,
    Transport,
    TransportError,
    UpstreamRequest,
)
from trunkline_server.routing.failures import Failure, FailureClass

AUTHORITY: Final = "https://login.microsoftonline.com"
"""Of the public cloud; the national clouds have others."""

SCOPE: Final = "https://cognitiveservices.azure.com/.default"

_SCHEME: Final = "Bearer "
_CONNECT_S: Final = 3.0
_NAME: Final = re.compile(r"[0-9A-Za-z.\-]{1,128}", re.ASCII)
_CODE: Final = re.compile(r"[a-z_]{1,40}", re.ASCII)
_FIELDS: Final = frozenset(
    {"tenant_id", "client_id", "client_secret", "certificate", "private_key", "authority", "scope"},
)
_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_HEADERS: Final = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
_MAX_LIFE_S: Final = 86_400.0
_OK: Final = 200
_TIMED_OUT: Final = 408
_TOO_MANY: Final = 429
_FIRST_CALLER_ERROR: Final = 400
_FIRST_SERVER_ERROR: Final = 500

Proof = Callable[[], dict[str, str]]
"""Returns the fields of a token request that prove who asks; those of a certificate are made anew each time."""


class _TokenAnswer(msgspec.Struct):
    """What the endpoint answers."""

    access_token: str = ""
    expires_in: int | float | str = 0
    """Seconds; older endpoints write them as text."""
    error: Any = None
    error_codes: Any = None


_decode: Final = msgspec.json.Decoder(_TokenAnswer).decode


class EntraSigner:
    """Signs calls with an access token, which is fetched anew before it expires. See `Signer`."""

    def __init__(self, token_url: str, fields: Mapping[str, str], proof: Proof, secrets: tuple[str, ...]) -> None:
        self._token_url = token_url
        self._fields = fields
        self._proof = proof
        self._secrets = secrets
        self._source = TokenSource(self._fetch)

    def __repr__(self) -> str:
        return f"<EntraSigner: {self._source!r}>"

    @property
    def hidden(self) -> tuple[str, ...]:
        """See `Signer.hidden`."""
        return (*self._secrets, *self._source.hidden)

    async def sign(self, request: UpstreamRequest, transport: Transport) -> UpstreamRequest:
        """See `Signer.sign`."""
        token = await self._source.token(transport)
        return replace(request, headers={**request.headers, "authorization": _SCHEME + token})

    def rejected(self, request: UpstreamRequest) -> None:
        """See `Signer.rejected`."""
        self._source.forget(request.headers.get("authorization", "").removeprefix(_SCHEME))

    def close(self) -> None:
        """See `Signer.close`."""
        self._source.close()

    async def _fetch(self, transport: Transport) -> AccessToken:
        body = urlencode({**self._fields, **self._proof()}).encode()
        request = UpstreamRequest(self._token_url, _HEADERS, body)
        try:
            response = await transport.send(request, connect_timeout_s=_CONNECT_S)
            try:
                status, headers = response.status, response.headers
                answer = await response.read(MAX_ERROR_BODY_BYTES)
            finally:
                response.close()
        except TransportError as error:
            raise AttemptError(Failure(FailureClass.CONNECT, f"no access token: {error}")) from None
        return _token(status, headers, answer)


def entra_signer(info: Mapping[str, Any]) -> EntraSigner:
    """Return the signer of a key that is an application's identity; raise CredentialError if it is none."""
    if not info.keys() <= _FIELDS or not all(isinstance(value, str) and value for value in info.values()):
        raise CredentialError(f"its fields must be texts, out of {', '.join(sorted(_FIELDS))}")
    tenant, client = info.get("tenant_id", ""), info.get("client_id", "")
    if not _NAME.fullmatch(tenant) or not _NAME.fullmatch(client):
        raise CredentialError("its tenant_id and client_id must be ids or names of domains")
    url = f"{_authority(info.get('authority', AUTHORITY))}/{quote(tenant, safe='')}/oauth2/v2.0/token"
    fields = {"grant_type": "client_credentials", "client_id": client, "scope": info.get("scope", SCOPE)}
    if "client_secret" in info:
        if "certificate" in info or "private_key" in info:
            raise CredentialError("it has a client_secret and a certificate: one of the two must do")
        secret = info["client_secret"]
        return EntraSigner(url, fields, lambda: {"client_secret": secret}, (secret,))
    if "certificate" not in info or "private_key" not in info:
        raise CredentialError("it has neither a client_secret nor a certificate and its private_key")
    return EntraSigner(url, fields, _by_certificate(info, url, client), (info["private_key"],))


def _authority(url: str) -> str:
    """Return where tokens are asked for, if a secret may be sent there; else raise CredentialError."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not host or parts.query or parts.fragment:
        raise CredentialError("its authority is no URL of a host")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise CredentialError("its authority must be https; http is only for this machine")
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _by_certificate(info: Mapping[str, str], url: str, client: str) -> Proof:
    """Return the proof of a certificate's key; raise CredentialError if it cannot sign."""
    # Imported here: the vendor's library takes its time, and most keys do not need it.
    from msal.oauth2cli.assertion import JwtAssertionCreator  # type: ignore[import-untyped]

    def proof() -> dict[str, str]:
        assertion = creator.create_normal_assertion(audience=url, issuer=client, subject=client)
        return {"client_assertion_type": _ASSERTION_TYPE, "client_assertion": assertion.decode()}

    try:
        thumbprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(info["certificate"].strip())).hexdigest()
        creator = JwtAssertionCreator(info["private_key"], "PS256", sha256_thumbprint=thumbprint)
        proof()
    except Exception:  # noqa: BLE001  whatever its libraries raise for a text that is no key
        raise CredentialError("its certificate and private_key must be PEM, the key of RSA and not encrypted") from None
    return proof


def _token(status: int, headers: Mapping[str, str], body: bytes) -> AccessToken:
    """Read an answer of the endpoint; raise AttemptError if it gives no token."""
    try:
        answer = _decode(body)
        life_s = float(answer.expires_in)
    except DECODING_ERRORS:
        answer, life_s = _TokenAnswer(), 0.0
    token = answer.access_token
    if status == _OK and token and token.isascii() and token.isprintable() and life_s > 0:
        return AccessToken(token, min(life_s, _MAX_LIFE_S))
    raise AttemptError(_refusal(status, headers, answer))


def _refusal(status: int, headers: Mapping[str, str], answer: _TokenAnswer) -> Failure:
    code = _code(answer)
    told = f"HTTP {status}, code {code}" if code else f"HTTP {status}"
    wait_s = retry_after_s(headers)
    if status == _TOO_MANY:
        words = f"no access token: its endpoint is asked too often ({told})"
        return Failure(FailureClass.RATE_LIMITED, words, wait_s, status, upstream_code=code)
    if status >= _FIRST_SERVER_ERROR or status == _TIMED_OUT:
        words = f"no access token: its endpoint failed ({told})"
        return Failure(FailureClass.SERVER_ERROR, words, wait_s, status, upstream_code=code)
    if status >= _FIRST_CALLER_ERROR:
        words = f"the token endpoint rejected the key ({told})"
        return Failure(FailureClass.KEY_REJECTED, words, http_status=status, upstream_code=code)
    words = f"no access token: what its endpoint answered holds none ({told})"
    return Failure(FailureClass.SERVER_ERROR, words, http_status=status)


def _code(answer: _TokenAnswer) -> str | None:
    """Return the code of a refusal: the vendor's own number, such as `AADSTS7000215`, or OAuth's word."""
    numbers = answer.error_codes
    if isinstance(numbers, list) and numbers and isinstance(numbers[0], int):
        return f"AADSTS{numbers[0]}"[:40]
    error = answer.error
    return error if isinstance(error, str) and _CODE.fullmatch(error) else None
