"""What a key's secret becomes: headers that never change, or something that signs each call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from trunkline_server.providers.transport.base import Transport, UpstreamRequest


class CredentialError(ValueError):
    """A secret cannot be one of its protocol. The message is ours, fit for anybody: it holds nothing of the secret."""


@dataclass(frozen=True, slots=True)
class StaticHeaders:
    """A credential that is sent as it is with each call; made once a reload, not once a call."""

    headers: Mapping[str, str] = field(repr=False)


class Signer(Protocol):
    """A credential that each call is signed with, such as a signature over its bytes or a token that expires.

    It belongs to one event loop from its first `sign` on, and serves any number of calls at once.
    """

    @property
    def hidden(self) -> tuple[str, ...]:
        """Texts that an upstream error might repeat and nobody may see: the secret's parts, the present token."""
        ...

    async def sign(self, request: UpstreamRequest, transport: Transport) -> UpstreamRequest:
        """Return `request` with what proves who sends it. `transport` is there for fetching a token.

        Raise AttemptError if there is none to be had: KEY_REJECTED when whoever gives tokens refuses this secret,
        CONNECT, SERVER_ERROR or RATE_LIMITED otherwise. It waits no longer than a few seconds, and may be cancelled.
        """
        ...

    def rejected(self, request: UpstreamRequest) -> None:
        """Take notice that the provider rejected the credentials of a request that `sign` returned.

        A token may have ended before its time: it was revoked, or this machine slept. The next call gets another.
        """
        ...

    def close(self) -> None:
        """End whatever runs in the background. Idempotent; what is being signed may fail as CONNECT."""
        ...


Credential = StaticHeaders | Signer


_ONE_LINE: Final = re.compile(r"[ -~]+")


def as_header(name: str, secret: str, scheme: str = "") -> StaticHeaders:
    """Return the credential of a secret that is sent as it is in one header; raise CredentialError if it cannot be."""
    if _ONE_LINE.fullmatch(secret) is None:
        raise CredentialError("is no API key: a key is one line of printable ASCII")
    return StaticHeaders({name: scheme + secret})


def bearer(secret: str) -> StaticHeaders:
    """Return the credential of a bearer token; raise CredentialError for what no header can carry."""
    return as_header("authorization", secret, "Bearer ")
