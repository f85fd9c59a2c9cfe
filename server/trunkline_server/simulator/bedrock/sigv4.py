"""Checking a request's signature (AWS Signature Version 4), from the bytes that arrived.

Every access key id has the same secret here, the example of the vendor's own documentation; a session token is taken
as it is, if it is signed. The canonical request is put together from what was received alone.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import msgspec

if TYPE_CHECKING:
    from trunkline_server.simulator.dialect import Received

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # noqa: S105 - it is no secret
SERVICE = "bedrock"
SKEW = timedelta(minutes=5)
_HEADER = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/,\s]+)/(?P<day>\d{8})/(?P<region>[a-z0-9-]+)/(?P<service>[a-z0-9-]+)"
    r"/aws4_request,\s*SignedHeaders=(?P<names>[a-z0-9;-]+),\s*Signature=(?P<signature>[0-9a-f]{64})"
)
_MUST_BE_SIGNED = frozenset({"host"})


class SignatureProblemError(Exception):
    """The signature is not right; `name` and the message are the service's."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class Scope(msgspec.Struct, frozen=True):
    """What an authorization header says."""

    key: str
    day: str
    region: str
    service: str
    names: str
    signature: str


def access_key_of(request: Received) -> str:
    """Return the id of the key that a request is rightly signed with. Raises SignatureProblemError."""
    scope = _scope(request.headers.get("authorization", ""))
    at = request.headers.get("x-amz-date", "")
    _check_time(scope, at)
    if scope.service != SERVICE:
        raise SignatureProblemError(
            "InvalidSignatureException", f"Credential should be scoped to correct service: '{SERVICE}'. "
        )
    names = scope.names.split(";")
    if not {*names} >= _MUST_BE_SIGNED or names != sorted(names):
        raise SignatureProblemError("InvalidSignatureException", "'Host' must be a 'SignedHeader' in the request.")
    if request.headers.get("x-amz-security-token") is not None and "x-amz-security-token" not in names:
        raise SignatureProblemError("InvalidSignatureException", "The security token must be signed.")
    if not hmac.compare_digest(_signature(request, scope, at), scope.signature):
        raise SignatureProblemError(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
            "Access Key and signing method. Consult the service documentation for details.",
        )
    return scope.key


def _scope(header: str) -> Scope:
    found = _HEADER.fullmatch(header.strip())
    if found is None:
        raise SignatureProblemError(
            "IncompleteSignatureException", "Authorization header requires 'Credential', 'Signature', 'SignedHeaders'."
        )
    return Scope(**found.groupdict())


def _check_time(scope: Scope, at: str) -> None:
    try:
        signed = datetime.strptime(at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise SignatureProblemError(
            "IncompleteSignatureException", "Date must be in ISO-8601 'basic format'."
        ) from None
    now = datetime.now(UTC)
    if not now - SKEW <= signed <= now + SKEW:
        word = "earlier" if signed < now else "later"
        raise SignatureProblemError(
            "InvalidSignatureException", f"Signature expired: {at} is now {word} than {now:%Y%m%dT%H%M%SZ} (5 min.)"
        )
    if not at.startswith(scope.day):
        raise SignatureProblemError("InvalidSignatureException", "Date in Credential scope does not match YYYYMMDD.")


def _signature(request: Received, scope: Scope, at: str) -> str:
    path, _, query = request.raw_path.partition("?")
    names = scope.names.split(";")
    headers = "".join(f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in names)
    canonical = "\n".join(
        (
            request.method,
            # Every service but S3 has the path encoded once more than it was sent.
            quote(path, safe="/~-._"),
            _canonical_query(query),
            headers,
            scope.names,
            hashlib.sha256(request.body).hexdigest(),
        )
    )
    place = f"{scope.day}/{scope.region}/{scope.service}/aws4_request"
    to_sign = "\n".join(("AWS4-HMAC-SHA256", at, place, hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{SECRET}".encode()
    for step in (scope.day, scope.region, scope.service, "aws4_request"):
        key = hmac.digest(key, step.encode(), "sha256")
    return hmac.digest(key, to_sign.encode(), "sha256").hex()


def _canonical_query(query: str) -> str:
    pairs = sorted(pair.partition("=")[::2] for pair in query.split("&") if pair)
    return "&".join(f"{quote(unquote(name), safe='~')}={quote(unquote(value), safe='~')}" for name, value in pairs)
