"""`POST /token`: a service account's assertion, a user's refresh token, or another cloud's identity for a token.

The secret is known to the scenario by whose it is: the account's address, the refresh token, the identity. The token
carries that name, so what is accepted here is what the other dialect accepts. Signatures are not checked: the simulator
has nobody's public key.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qs

import msgspec

from trunkline_server.simulator.dialect import Dialect
from trunkline_server.simulator.failure import RefusedError, Reply, Trouble
from trunkline_server.simulator.google_oauth.tokens import token_for

if TYPE_CHECKING:
    from trunkline_server.simulator.dialect import Headers, Job, Received
    from trunkline_server.simulator.failure import ErrorKind as AnyErrorKind
    from trunkline_server.simulator.scenario import Scenario

TOKEN_PATH = "/token"  # noqa: S105  a path
LIFETIME_S = 3600

_ASSERTION = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_SECRETS = {_ASSERTION: "assertion", _EXCHANGE: "subject_token", "refresh_token": "refresh_token"}
_JWT_PARTS = 3


class ErrorKind(msgspec.Struct, frozen=True):
    """A named failure: its status, and the code and words of OAuth."""

    status: int
    code: str
    words: str


ERRORS: dict[str, ErrorKind] = {
    "bad_request": ErrorKind(400, "invalid_request", "Bad Request"),
    "context_length_exceeded": ErrorKind(400, "invalid_request", "Bad Request"),
    "content_filter": ErrorKind(400, "invalid_request", "Bad Request"),
    "missing_api_key": ErrorKind(400, "invalid_request", "Missing required parameter: grant_type"),
    "invalid_api_key": ErrorKind(400, "invalid_grant", "Invalid JWT Signature."),
    "missing_scope": ErrorKind(403, "access_denied", "Account restricted"),
    "model_not_found": ErrorKind(404, "not_found", "Not Found"),
    "request_too_large": ErrorKind(413, "invalid_request", "Request Too Large"),
    "rate_limit_exceeded": ErrorKind(429, "rate_limit_exceeded", "Rate Limit Exceeded"),
    "tokens_rate_limit_exceeded": ErrorKind(429, "rate_limit_exceeded", "Rate Limit Exceeded"),
    "insufficient_quota": ErrorKind(403, "access_denied", "Account disabled"),
    "server_error": ErrorKind(500, "internal_failure", "Internal error"),
    "overloaded": ErrorKind(503, "backend_error", "Backend error"),
    "gateway_timeout": ErrorKind(504, "backend_error", "Deadline exceeded"),
}
"""Every failure that can be asked for by name."""

BY_STATUS: dict[int, str] = {
    400: "invalid_api_key",
    403: "missing_scope",
    429: "rate_limit_exceeded",
    500: "server_error",
    503: "overloaded",
    504: "gateway_timeout",
}
"""The name that a bare status stands for."""


class GoogleOAuthDialect(Dialect):
    """The token endpoint."""

    name: ClassVar[str] = "google_oauth"
    base_path: ClassVar[str] = ""
    errors: ClassVar[Mapping[str, AnyErrorKind]] = ERRORS
    by_status: ClassVar[Mapping[int, str]] = BY_STATUS

    def claims(self, request: Received) -> bool:
        """See Dialect: by its path."""
        return request.path == TOKEN_PATH

    def key(self, request: Received) -> str:
        """See Dialect: whose secret it is."""
        form = {name: values[0] for name, values in parse_qs(request.body.decode("utf-8", "replace")).items()}
        grant = form.get("grant_type", "")
        secret = form.get(_SECRETS.get(grant, ""), "")
        if not secret:
            raise RefusedError(self.reply(Trouble(name="missing_api_key")))
        return _issuer(secret) if grant == _ASSERTION else secret

    def read(self, request: Received, scenario: Scenario) -> Job | Reply:
        """See Dialect: a token, which is no job."""
        del scenario
        token = {
            "access_token": token_for(self.key(request), len(request.body)),
            "expires_in": LIFETIME_S,
            "token_type": "Bearer",
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        }
        return Reply(200, msgspec.json.encode(token))

    def reply(self, trouble: Trouble) -> Reply:
        """See Dialect."""
        name = self.named(trouble)
        if trouble.own is not None:
            told = {"error": str(trouble.own.code or "invalid_request"), "error_description": trouble.own.message}
            return Reply(trouble.status or 400, msgspec.json.encode(told))
        if name is None:
            return Reply(trouble.status or 500, msgspec.json.encode({"error": "unknown"}))
        kind = ERRORS[name]
        told = {"error": kind.code, "error_description": kind.words}
        return Reply(trouble.status or kind.status, msgspec.json.encode(told))

    def retry_headers(self, retry_s: float) -> Headers:
        """See Dialect: none."""
        del retry_s
        return []


def _issuer(assertion: str) -> str:
    """Return who issued a JWT; what is none stands for itself."""
    pieces = assertion.split(".")
    if len(pieces) != _JWT_PARTS:
        return assertion
    try:
        claims = msgspec.json.decode(urlsafe_b64decode(pieces[1] + "=" * (-len(pieces[1]) % 4)))
    except ValueError:
        return assertion
    issuer = claims.get("iss") if isinstance(claims, dict) else None
    return issuer if isinstance(issuer, str) else assertion
