"""Access tokens of Google Cloud, for the secrets that are JSON: what `gcloud` and the console give out.

google-auth knows the flows (a service account's signed assertion, a user's refresh token, the exchange of another
cloud's identity) and is kept by the vendor. It blocks, so it runs in a thread; its HTTP is ours. What it may not: run
programs, use client certificates, and send plain HTTP to anywhere but this machine and a cloud's metadata address.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from google.auth import aws, exceptions, identity_pool
from google.auth import transport as google_transport
from google.oauth2 import credentials as user_credentials
from google.oauth2 import service_account

from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.credentials.base import CredentialError
from trunkline_server.providers.credentials.oauth_token import FETCH_S, AccessToken, TokenSource
from trunkline_server.providers.transport.base import ProtocolError, Transport, TransportError, UpstreamRequest
from trunkline_server.providers.transport.blocking import BlockingAnswer, BlockingCalls, in_thread
from trunkline_server.routing.failures import Failure, FailureClass

SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"

_TOKEN_URI: Final = "https://oauth2.googleapis.com/token"  # noqa: S105  an address
_SCHEME: Final = "Bearer "
_UNTOLD_LIFE_S: Final = 300.0
"""How long a token is used whose endpoint does not say how long it lives."""

_CODE: Final = re.compile(r"[a-z_]{1,40}")
_PROJECT: Final = re.compile(r"[0-9A-Za-z.:_\-]{1,128}", re.ASCII)
_METADATA: Final = frozenset({"fd00:ec2::254", "metadata.google.internal"})
_FORBIDDEN_SOURCES: Final = ("executable", "certificate")
_NO_IDENTITY: Final = Failure(FailureClass.KEY_REJECTED, "no access token: the key's own source of identity gives none")
"""Nothing was sent: what the token is exchanged for could not be had."""
_TOO_MANY: Final = 429
_TIMED_OUT: Final = 408
_FIRST_SERVER_ERROR: Final = 500
_FIRST_CALLER_ERROR: Final = 400


class _GoogleCredentials(Protocol):
    """What of google-auth's credentials is used."""

    token: str | None
    expiry: datetime | None

    def refresh(self, request: object) -> None: ...


Make = Callable[[], _GoogleCredentials]


class GoogleSigner:
    """Signs calls with an access token, which is fetched anew before it expires. See `Signer`.

    `make` makes google-auth's credentials: for each fetch new ones, so that one that was given up disturbs no other.
    """

    def __init__(self, make: Make, secrets: tuple[str, ...], quota_project: str | None = None) -> None:
        self._make = make
        self._secrets = secrets
        self._quota = {} if quota_project is None else {"x-goog-user-project": quota_project}
        self._source = TokenSource(self._fetch)

    def __repr__(self) -> str:
        return f"<GoogleSigner: {self._source!r}>"

    @property
    def hidden(self) -> tuple[str, ...]:
        """See `Signer.hidden`."""
        return (*self._secrets, *self._source.hidden)

    async def sign(self, request: UpstreamRequest, transport: Transport) -> UpstreamRequest:
        """See `Signer.sign`."""
        token = await self._source.token(transport)
        return replace(request, headers={**request.headers, **self._quota, "authorization": _SCHEME + token})

    def rejected(self, request: UpstreamRequest) -> None:
        """See `Signer.rejected`."""
        self._source.forget(request.headers.get("authorization", "").removeprefix(_SCHEME))

    def close(self) -> None:
        """See `Signer.close`."""
        self._source.close()

    async def _fetch(self, transport: Transport) -> AccessToken:
        return await in_thread(functools.partial(_refreshed, self._make), transport, call_s=FETCH_S)


def google_signer(info: Mapping[str, Any]) -> GoogleSigner:
    """Return the signer of a key that is one of Google's JSON documents; raise CredentialError if it is none."""
    kind = info.get("type")
    makers = {"service_account": _service_account, "authorized_user": _user, "external_account": _external}
    if not isinstance(kind, str) or kind not in makers:
        raise CredentialError(f"its `type` must be one of {', '.join(makers)}")
    make = functools.partial(makers[kind], info)
    try:
        make()
    except CredentialError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, exceptions.GoogleAuthError):
        raise CredentialError(f"it is no whole {kind}: a field is missing or of another kind") from None
    secrets = (info.get(name) for name in ("private_key", "refresh_token", "client_secret"))
    project = info.get("quota_project_id") or None
    if project is not None and (not isinstance(project, str) or _PROJECT.fullmatch(project) is None):
        raise CredentialError("its quota_project_id is no id of a project")
    return GoogleSigner(make, tuple(text for text in secrets if isinstance(text, str) and text), project)


def _service_account(info: Mapping[str, Any]) -> _GoogleCredentials:
    checked_url(info["token_uri"])
    made: _GoogleCredentials = service_account.Credentials.from_service_account_info(info, scopes=[SCOPE])  # type: ignore[no-untyped-call]
    return made


def _user(info: Mapping[str, Any]) -> _GoogleCredentials:
    for name in ("refresh_token", "client_id", "client_secret"):
        if not isinstance(info[name], str):
            raise TypeError(name)
    made: _GoogleCredentials = user_credentials.Credentials(  # type: ignore[no-untyped-call]
        None,
        refresh_token=info["refresh_token"],
        token_uri=checked_url(info.get("token_uri", _TOKEN_URI)),
        client_id=info["client_id"],
        client_secret=info["client_secret"],
    )
    return made


def _external(info: Mapping[str, Any]) -> _GoogleCredentials:
    checked_url(info["token_url"])
    source = info["credential_source"]
    if any(name in source for name in _FORBIDDEN_SOURCES):
        raise CredentialError("its credential_source must be a file, a URL or AWS: programs and certificates are not")
    if "url" in source:
        checked_url(source["url"])
    of_aws = str(source.get("environment_id", "")).startswith("aws")
    kind = aws.Credentials if of_aws else identity_pool.Credentials
    made: _GoogleCredentials = kind.from_info(info, scopes=[SCOPE])  # type: ignore[no-untyped-call]
    return made


def checked_url(url: str) -> str:
    """Return `url`, if secrets may be sent there; else raise CredentialError."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not host or parts.scheme not in {"http", "https"}:
        raise CredentialError("an address in it is no http or https URL")
    if parts.scheme == "http" and not _is_near(host):
        raise CredentialError("an address in it is http, which is only for this machine and a cloud's metadata")
    return url


def _is_near(host: str) -> bool:
    if host == "localhost" or host in _METADATA:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_link_local


def _refreshed(make: Make, calls: BlockingCalls) -> AccessToken:
    """Fetch a token, in a thread; raise AttemptError."""
    http = _Http(calls)
    made = make()
    try:
        made.refresh(http)
    except exceptions.GoogleAuthError as error:
        raise AttemptError(_failure(http, error)) from None  # it may hold what the endpoint answered
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        raise AttemptError(_malformed(http)) from None
    except OSError:
        raise AttemptError(_NO_IDENTITY) from None  # a file that cannot be read; it may name paths of this machine
    token = made.token
    if not isinstance(token, str) or not token or not (token.isascii() and token.isprintable()):
        raise AttemptError(_malformed(http))
    return AccessToken(token, _life_s(made.expiry))


def _life_s(expiry: datetime | None) -> float:
    if expiry is None:
        return _UNTOLD_LIFE_S
    return (expiry - datetime.now(UTC).replace(tzinfo=None)).total_seconds()


def _failure(http: _Http, error: Exception) -> Failure:
    status = http.status
    if http.broken is not None:
        return Failure(FailureClass.CONNECT, f"no access token: {http.broken}")
    if status is None:
        return _NO_IDENTITY
    code = _code(error)
    told = f"HTTP {status}, code {code}" if code else f"HTTP {status}"
    if status == _TOO_MANY:
        return Failure(FailureClass.RATE_LIMITED, f"no access token: its endpoint is asked too often ({told})")
    if status >= _FIRST_SERVER_ERROR or status == _TIMED_OUT:
        return Failure(FailureClass.SERVER_ERROR, f"no access token: its endpoint failed ({told})")
    if status >= _FIRST_CALLER_ERROR:
        rejected = f"the token endpoint rejected the key ({told})"
        return Failure(FailureClass.KEY_REJECTED, rejected, upstream_code=code)
    return _malformed(http)


def _malformed(http: _Http) -> Failure:
    if http.status is None:
        return _NO_IDENTITY
    told = f"no access token: what its endpoint answered holds none (HTTP {http.status})"
    return Failure(FailureClass.SERVER_ERROR, told)


def _code(error: Exception) -> str | None:
    """Return the error code of OAuth that the endpoint gave, such as `invalid_grant`."""
    answer = error.args[1] if len(error.args) > 1 else None
    code = answer.get("error") if isinstance(answer, dict) else None
    return code if isinstance(code, str) and _CODE.fullmatch(code) else None


class _Http(google_transport.Request):
    """google-auth's idea of an HTTP client, made of our calls; it remembers how the last one ended."""

    def __init__(self, calls: BlockingCalls) -> None:
        self._calls = calls
        self.status: int | None = None
        self.broken: str | None = None
        """Why the last call had no response."""

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ARG002  all calls are bounded alike
        **_: object,
    ) -> _Response:
        self.status = self.broken = None
        sent = body.encode() if isinstance(body, str) else body or b""
        try:
            request = UpstreamRequest(checked_url(url), dict(headers or {}), sent, method)
            answer = self._calls.send(request)
        except CredentialError as error:
            self.broken = str(error)
            raise exceptions.TransportError(self.broken) from None  # type: ignore[no-untyped-call]
        except ProtocolError:
            self.broken = "its endpoint does not speak HTTP as we know it"
            raise exceptions.TransportError(self.broken) from None  # type: ignore[no-untyped-call]
        except TransportError as error:
            self.broken = str(error)
            raise exceptions.TransportError(self.broken) from None  # type: ignore[no-untyped-call]
        self.status = answer.status
        return _Response(answer)


class _Response(google_transport.Response):
    """google-auth's idea of a response."""

    def __init__(self, answer: BlockingAnswer) -> None:
        self._answer = answer

    @property
    def status(self) -> int:
        return self._answer.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._answer.headers

    @property
    def data(self) -> bytes:
        return self._answer.body
