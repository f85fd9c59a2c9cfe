"""Who calls: a bearer token from the metadata, looked up before the message is read, or the certificate of the peer.

A token that was sent decides, whatever the certificate says: so one service can call for another, and a wrong token is
never made good by a certificate. Only a call without one is known by its certificate.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from trunkline_server.control.types import Role
from trunkline_server.engine.frames import CallFailure
from trunkline_server.routing.types import Caller, Reason

ANONYMOUS = Caller("anonymous")
"""Everybody, while no callers are configured."""

_AUTHORIZATION = "authorization"
_SCHEME = "bearer"
_SHA256_HEX = re.compile(r"[0-9a-f]{64}")
_PREFIX_BYTES = 8


class Known(Protocol):
    """Somebody who is known by an id."""

    @property
    def id(self) -> str:
        """What logs and versions call them; no secret."""
        ...


Who = TypeVar("Who", bound=Known)


@dataclass(frozen=True, slots=True)
class Administrator:
    """An admin, and what they may do."""

    id: str
    role: Role


ANONYMOUS_OPERATOR = Administrator("anonymous", Role.OPERATOR)
"""Everybody who reaches the admin port, while no admins are configured: it is then on loopback alone."""


class UnauthenticatedError(Exception):
    """The call shows nobody that is known. The message says why, and never the token."""


class NoTokenError(UnauthenticatedError):
    """The call carries no token at all: its certificate may still say who calls."""


class IdentityTable(Generic[Who]):
    """Those who are known, by the SHA-256 of their tokens and by the names in their certificates.

    Immutable: a reload makes a new one.
    """

    __slots__ = ("_by_prefix", "_by_san", "_open_to")

    def __init__(
        self,
        by_token_sha256: Mapping[str, Who],
        *,
        by_san: Mapping[str, Who] | None = None,
        open_to: Who | None = None,
    ) -> None:
        """Take them by lower-case hex digests, and by subject alternative names as `certificate.names_of` gives them.

        `open_to` is who everybody is when nobody is configured. Raises ValueError for what is no digest, an empty
        name, and a table that is open and has somebody.
        """
        if (by_token_sha256 or by_san) and open_to is not None:
            raise ValueError("a table with callers is not open")
        by_prefix: dict[bytes, list[tuple[bytes, Who]]] = {}
        for digest_hex, who in by_token_sha256.items():
            if not _SHA256_HEX.fullmatch(digest_hex):
                raise ValueError(f"the token_sha256 of {who.id!r} is not 64 lower-case hexadecimal digits")
            digest = bytes.fromhex(digest_hex)
            by_prefix.setdefault(digest[:_PREFIX_BYTES], []).append((digest, who))
        if by_san and not all(by_san):
            raise ValueError("a certificate's name is empty")
        self._by_prefix = by_prefix
        self._by_san = dict(by_san or {})
        self._open_to = open_to

    @property
    def is_open(self) -> bool:
        """Whether everybody may call without a token."""
        return self._open_to is not None

    @property
    def knows_certificates(self) -> bool:
        """Whether anybody is known by a certificate."""
        return bool(self._by_san)

    def authenticate(self, metadata: Iterable[tuple[str, str | bytes]]) -> Who:
        """Return who calls, by the token. Raises UnauthenticatedError; NoTokenError where none was sent."""
        if self._open_to is not None:
            return self._open_to
        digest = hashlib.sha256(_bearer_token(metadata).encode("utf-8", "surrogateescape")).digest()
        # The bucket is found by bytes of a hash, which nobody can steer one step at a time; within it the compare
        # takes the same time for every digest.
        found: Who | None = None
        for known, who in self._by_prefix.get(digest[:_PREFIX_BYTES], ()):
            if hmac.compare_digest(known, digest):
                found = who
        if found is None:
            raise UnauthenticatedError("the bearer token is not known")
        return found

    def identify(self, names: Iterable[str]) -> Who:
        """Return whose certificate has these names. Raises UnauthenticatedError: nobody's, or more than one's."""
        found = {who.id: who for who in map(self._by_san.get, names) if who is not None}
        if len(found) == 1:
            return next(iter(found.values()))
        if found:
            raise UnauthenticatedError("the certificate has the names of more than one; send a token to say who calls")
        raise UnauthenticatedError(
            "no token, and no name in the certificate is known: send metadata `authorization: Bearer <token>`"
        )


class CallerTable(IdentityTable[Caller]):
    """The services that may call."""

    __slots__ = ()


class AdminTable(IdentityTable[Administrator]):
    """The people and programs that may look and operate."""

    __slots__ = ()


OPEN_TABLE = CallerTable({}, open_to=ANONYMOUS)
"""The table while no callers are configured."""

OPEN_ADMINS = AdminTable({}, open_to=ANONYMOUS_OPERATOR)
"""The table while no admins are configured."""


def failure_of_unauthenticated(error: UnauthenticatedError) -> CallFailure:
    """Return what is told to a caller that is not known."""
    return CallFailure(Reason.UNAUTHENTICATED, str(error))


def _bearer_token(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Return the one bearer token of a call. Raises UnauthenticatedError if there is none, or more than one."""
    values = [value for key, value in metadata if key == _AUTHORIZATION]
    if not values:
        raise NoTokenError("no token: send metadata `authorization: Bearer <token>`")
    if len(values) > 1:
        raise UnauthenticatedError("more than one `authorization` entry in the metadata")
    value = values[0]
    if not isinstance(value, str):
        raise UnauthenticatedError("the `authorization` entry is not text")
    scheme, _, token = value.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != _SCHEME or not token:
        raise UnauthenticatedError("the `authorization` entry is not of the form `Bearer <token>`")
    return token
