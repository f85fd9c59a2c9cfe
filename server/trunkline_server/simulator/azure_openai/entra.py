"""`POST /{tenant}/oauth2/v2.0/token`: an application's secret for an access token, as Entra ID gives it.

The scenario knows the secret by the client's id, which the token carries on: what is accepted here is what Azure OpenAI
accepts. Assertions are taken for proven: the simulator has nobody's certificate.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qs

import msgspec

from trunkline_server.simulator.dialect import Dialect
from trunkline_server.simulator.failure import COMMON_ERRORS, RefusedError, Reply, Trouble

if TYPE_CHECKING:
    from trunkline_server.simulator.dialect import Job, Received
    from trunkline_server.simulator.failure import ErrorKind as AnyErrorKind
    from trunkline_server.simulator.scenario import Scenario

LIFETIME_S = 3599
_PATH = re.compile(r"/[^/]+/oauth2/v2\.0/token")
_SCOPE = re.compile(r"https://\S+/\.default")


class ErrorKind(msgspec.Struct, frozen=True):
    """A named failure: its status, OAuth's word, the vendor's number and text."""

    status: int
    error: str
    number: int
    text: str


_INVALID = ErrorKind(400, "invalid_request", 900144, "The request body must contain the following parameter.")
_FAILED = ErrorKind(503, "temporarily_unavailable", 90033, "A transient error has occurred. Please try again.")

ERRORS: dict[str, AnyErrorKind] = {
    **dict.fromkeys(COMMON_ERRORS, _INVALID),
    "missing_api_key": ErrorKind(
        401,
        "invalid_client",
        7000218,
        "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
    ),
    "invalid_api_key": ErrorKind(401, "invalid_client", 7000215, "Invalid client secret provided."),
    "missing_scope": ErrorKind(400, "invalid_scope", 70011, "The provided value for scope is not valid."),
    "model_not_found": ErrorKind(400, "invalid_request", 90002, "Tenant not found."),
    "rate_limit_exceeded": ErrorKind(429, "temporarily_unavailable", 90055, "Too many requests."),
    "tokens_rate_limit_exceeded": ErrorKind(429, "temporarily_unavailable", 90055, "Too many requests."),
    "server_error": ErrorKind(500, "server_error", 90033, "A transient error has occurred. Please try again."),
    "overloaded": _FAILED,
    "gateway_timeout": ErrorKind(504, "temporarily_unavailable", 90033, "A transient error has occurred."),
}
"""Every failure that can be asked for by name."""

BY_STATUS: dict[int, str] = {
    400: "bad_request",
    401: "invalid_api_key",
    429: "rate_limit_exceeded",
    500: "server_error",
    503: "overloaded",
    504: "gateway_timeout",
}
"""The name that a bare status stands for."""


class EntraDialect(Dialect):
    """The token endpoint."""

    name: ClassVar[str] = "entra"
    base_path: ClassVar[str] = ""
    errors: ClassVar[Mapping[str, AnyErrorKind]] = ERRORS
    by_status: ClassVar[Mapping[int, str]] = BY_STATUS

    def claims(self, request: Received) -> bool:
        """See Dialect: by its path."""
        return _PATH.fullmatch(request.path) is not None

    def key(self, request: Received) -> str:
        """See Dialect: whose secret it is."""
        form = _form(request.body)
        if not form.get("client_id") or not (form.get("client_secret") or form.get("client_assertion")):
            raise _refused("missing_api_key")
        return form["client_id"]

    def read(self, request: Received, scenario: Scenario) -> Job | Reply:
        """See Dialect: a token, which is no job. It is the client's id, so that the scenario knows its calls."""
        del scenario
        form = _form(request.body)
        if request.method != "POST" or form.get("grant_type") != "client_credentials":
            raise _refused("bad_request")
        if _SCOPE.fullmatch(form.get("scope", "")) is None:
            raise _refused("missing_scope")
        token = {"token_type": "Bearer", "expires_in": LIFETIME_S, "access_token": form["client_id"]}
        return Reply(200, msgspec.json.encode({**token, "ext_expires_in": LIFETIME_S}))

    def reply(self, trouble: Trouble) -> Reply:
        """See Dialect."""
        name = self.named(trouble)
        if trouble.own is not None:
            told = {"error": str(trouble.own.code or "invalid_request"), "error_description": trouble.own.message}
            return Reply(trouble.status or 400, msgspec.json.encode(told))
        kind = ERRORS.get(name or "")
        if not isinstance(kind, ErrorKind):
            return Reply(trouble.status or 500, msgspec.json.encode({"error": "unknown"}))
        described = {"error_description": f"AADSTS{kind.number}: {kind.text}", "error_codes": [kind.number]}
        return Reply(trouble.status or kind.status, msgspec.json.encode({"error": kind.error, **described}))


def _form(body: bytes) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def _refused(name: str) -> RefusedError:
    return RefusedError(EntraDialect().reply(Trouble(name=name)))
