"""Who calls: a bearer token from the metadata, looked up before the message is read."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping

from trunkline_server.engine.frames import CallFailure
from trunkline_server.routing.types import Caller, Reason

ANONYMOUS = Caller("anonymous")
"""Everybody, while no callers are configured."""

_AUTHORIZATION = "authorization"
_SCHEME = "bearer"
_SHA256_HEX = re.compile(r"[0-9a-f]{64}")
_PREFIX_BYTES = 8


class UnauthenticatedError(Exception):
    """The call carries no token, or one that belongs to nobody. The message says which, and never the token."""


class CallerTable:
    """Callers by the SHA-256 of their tokens. Immutable: a reload makes a new one."""

    __slots__ = ("_by_prefix", "_open_to")

    def __init__(self, by_token_sha256: Mapping[str, Caller], *, open_to: Caller | None = None) -> None:
        """Take callers by lower-case hex digests; `open_to` is who everybody is when there are no callers.

        Raises ValueError for what is no digest, and for a table that is open and has callers.
        """
        if by_token_sha256 and open_to is not None:
            raise ValueError("a table with callers is not open")
        by_prefix: dict[bytes, list[tuple[bytes, Caller]]] = {}
        for digest_hex, caller in by_token_sha256.items():
            if not _SHA256_HEX.fullmatch(digest_hex):
                raise ValueError(f"the token_sha256 of {caller.id!r} is not 64 lower-case hexadecimal digits")
            digest = bytes.fromhex(digest_hex)
            by_prefix.setdefault(digest[:_PREFIX_BYTES], []).append((digest, caller))
        self._by_prefix = by_prefix
        self._open_to = open_to

    @property
    def is_open(self) -> bool:
        """Whether everybody may call without a token."""
        return self._open_to is not None

    def authenticate(self, metadata: Iterable[tuple[str, str | bytes]]) -> Caller:
        """Return who calls. Raises UnauthenticatedError."""
        if self._open_to is not None:
            return self._open_to
        digest = hashlib.sha256(_bearer_token(metadata).encode("utf-8", "surrogateescape")).digest()
        # The bucket is found by bytes of a hash, which nobody can steer one step at a time; within it the compare
        # takes the same time for every digest.
        found: Caller | None = None
        for known, caller in self._by_prefix.get(digest[:_PREFIX_BYTES], ()):
            if hmac.compare_digest(known, digest):
                found = caller
        if found is None:
            raise UnauthenticatedError("the bearer token is not known")
        return found


OPEN_TABLE = CallerTable({}, open_to=ANONYMOUS)
"""The table while no callers are configured."""


def failure_of_unauthenticated(error: UnauthenticatedError) -> CallFailure:
    """Return what is told to a caller that is not known."""
    return CallFailure(Reason.UNAUTHENTICATED, str(error))


def _bearer_token(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Return the one bearer token of a call. Raises UnauthenticatedError if there is none, or more than one."""
    values = [value for key, value in metadata if key == _AUTHORIZATION]
    if not values:
        raise UnauthenticatedError("no token: send metadata `authorization: Bearer <token>`")
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
