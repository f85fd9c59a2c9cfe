"""Channels to a Trunkline server, with the options that suit it."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import grpc.aio

from trunkline.tls import credentials_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trunkline.tls import PathText

Q = TypeVar("Q")
R = TypeVar("R")

MAX_RECEIVE_BYTES = 32 * 1024 * 1024
"""The largest message that is accepted. grpc's own 4 MiB would refuse answers with pictures."""

SERVICE_CONFIG: Mapping[str, Any] = {
    # Trunkline retries upstream itself and then answers with a pushback of -1, which grpc takes as "do not retry". What
    # is left to the client is what never got that far: no connection, a draining server, or a full queue, whose
    # pushback says how long to stay away. grpc waits that long instead of its own backoff.
    "methodConfig": [
        {
            "name": [{"service": "trunkline.v1.CompletionService"}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.2s",
                "maxBackoff": "5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            },
        }
    ],
    # Retries stop while most calls fail, and come back as calls succeed.
    "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.2},
}
"""When grpc itself may repeat a call. Requests above 256 KiB are never repeated (grpc's retry buffer)."""

_OPTIONS: Mapping[str, Any] = {
    "grpc.max_receive_message_length": MAX_RECEIVE_BYTES,
    "grpc.service_config": json.dumps(SERVICE_CONFIG),
    # A model may be silent for minutes; pings tell that from a peer that vanished.
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 10_000,
    "grpc.http2.max_pings_without_data": 0,
}


def connect(
    target: str,
    *,
    token: str | None = None,
    tls: grpc.ChannelCredentials | bool | None = None,
    ca: PathText | None = None,
    cert: PathText | None = None,
    key: PathText | None = None,
    server_name: str | None = None,
    plaintext_token: bool = False,
    options: Mapping[str, Any] | None = None,
) -> grpc.Channel:
    """Open a synchronous channel; it connects with its first call. Close it, or use it in a `with` statement.

    target: where the server is, as grpc has it: `host:port`, `dns:///host:port`, `unix:path`.
    token: the caller's token, sent as `authorization: Bearer …` with every call.
    tls: True for TLS 1.2 or later, or credentials of `grpc.ssl_channel_credentials`. None: TLS if one of the next three
        is given, else no encryption. False: none.
    ca: PEM file of the authority that the server's certificate is checked against. None: those that grpc ships.
    cert, key: PEM files of the certificate to show, for mTLS, and of its key without a password.
    server_name: the name that the server's certificate must have, where it is not the one in `target`.
    plaintext_token: send the token without encryption to another machine, where something else protects the way.
    options: further options of grpc's channel, by name; they win over those set here.

    Raises ValueError if the token would leave this machine without encryption, or is no token, and for files that
    cannot be used. They are read once: a channel that was opened goes on with what they held.
    """
    credentials = credentials_of(tls, ca=ca, cert=cert, key=key, server_name=server_name)
    bearer = _bearer(target, token, plaintext=credentials is None and not plaintext_token)
    merged = _merged(options, server_name)
    if credentials is None:
        channel = grpc.insecure_channel(target, merged)
    else:
        channel = grpc.secure_channel(target, credentials, merged)
    return channel if bearer is None else grpc.intercept_channel(channel, _Bearer(bearer))


def connect_aio(
    target: str,
    *,
    token: str | None = None,
    tls: grpc.ChannelCredentials | bool | None = None,
    ca: PathText | None = None,
    cert: PathText | None = None,
    key: PathText | None = None,
    server_name: str | None = None,
    plaintext_token: bool = False,
    options: Mapping[str, Any] | None = None,
) -> grpc.aio.Channel:
    """Open an asynchronous channel for the running event loop. Close it, or use it in an `async with` statement.

    Takes and raises what `connect` does.
    """
    credentials = credentials_of(tls, ca=ca, cert=cert, key=key, server_name=server_name)
    bearer = _bearer(target, token, plaintext=credentials is None and not plaintext_token)
    merged = _merged(options, server_name)
    # grpc.aio takes an interceptor for the first kind of call that it knows, so there is one for each.
    interceptors = [] if bearer is None else [_AioUnaryBearer(bearer), _AioStreamBearer(bearer)]
    if credentials is None:
        return grpc.aio.insecure_channel(target, merged, interceptors=interceptors)
    return grpc.aio.secure_channel(target, credentials, merged, interceptors=interceptors)


def _merged(options: Mapping[str, Any] | None, server_name: str | None) -> list[tuple[str, Any]]:
    """Return the channel's options: ours, and the caller's over them."""
    named = {} if server_name is None else {"grpc.ssl_target_name_override": server_name}
    return list({**_OPTIONS, **named, **(options or {})}.items())


def _bearer(target: str, token: str | None, *, plaintext: bool) -> str | None:
    """Return the value of the authorization header, None without a token."""
    if token is None:
        return None
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("the token must be printable ASCII without blanks")
    if plaintext and not _is_local(target):
        raise ValueError(
            f"the token would go to {target} without encryption: give `tls`, or `plaintext_token=True` if something "
            "else protects the way"
        )
    return f"Bearer {token}"


def _is_local(target: str) -> bool:
    """Say whether a target is surely on this machine."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    for scheme in ("dns:///", "dns:", "ipv4:", "ipv6:"):
        target = target.removeprefix(scheme)
    host = target.rpartition(":")[0].strip("[]") or target
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(slots=True)
class _Details(grpc.ClientCallDetails):
    """The details of one synchronous call."""

    method: str
    timeout: float | None
    metadata: tuple[tuple[str, str | bytes], ...] | None
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class _Bearer(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Adds the token to every call of a synchronous channel that sends one message, as all of ours do."""

    def __init__(self, bearer: str) -> None:
        self._metadatum = ("authorization", bearer)

    def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.ClientCallDetails, Q], R],
        client_call_details: grpc.ClientCallDetails,
        request: Q,
    ) -> R:
        return continuation(self._with_token(client_call_details), request)

    def intercept_unary_stream(
        self,
        continuation: Callable[[grpc.ClientCallDetails, Q], R],
        client_call_details: grpc.ClientCallDetails,
        request: Q,
    ) -> R:
        return continuation(self._with_token(client_call_details), request)

    def _with_token(self, details: grpc.ClientCallDetails) -> _Details:
        return _Details(
            method=details.method,
            timeout=details.timeout,
            metadata=(*(details.metadata or ()), self._metadatum),
            credentials=details.credentials,
            wait_for_ready=details.wait_for_ready,
            compression=details.compression,
        )


def _aio_with_token(details: grpc.aio.ClientCallDetails, bearer: str) -> grpc.aio.ClientCallDetails:
    """Return the details of one asynchronous call with the token in its metadata."""
    metadata = grpc.aio.Metadata(*(details.metadata or ()), ("authorization", bearer))
    return grpc.aio.ClientCallDetails(
        details.method, details.timeout, metadata, details.credentials, details.wait_for_ready
    )


class _AioUnaryBearer(grpc.aio.UnaryUnaryClientInterceptor):
    """Adds the token to calls with one answer."""

    def __init__(self, bearer: str) -> None:
        self._bearer = bearer

    async def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Q], Any],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Q,
    ) -> Any:
        return await continuation(_aio_with_token(client_call_details, self._bearer), request)


class _AioStreamBearer(grpc.aio.UnaryStreamClientInterceptor):
    """Adds the token to calls with a stream of answers."""

    def __init__(self, bearer: str) -> None:
        self._bearer = bearer

    async def intercept_unary_stream(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Q], Any],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Q,
    ) -> Any:
        return await continuation(_aio_with_token(client_call_details, self._bearer), request)
