"""Signing a call with AWS keys (SigV4), by botocore's own code."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Final

from trunkline_server.providers.transport.base import UpstreamRequest

SERVICE: Final = "bedrock"
"""The name that Bedrock's signatures are for, whatever its host is called."""

HASHED_APART_BYTES: Final = 256 * 1024
"""Larger bodies are hashed in a thread: the loop would stand still for a millisecond and more."""

_HASH_HEADER: Final = "X-Amz-Content-SHA256"


def load() -> None:
    """Import what signs, which takes a fifth of a second: where a credential is made, and not on the event loop."""
    import botocore.auth
    import botocore.awsrequest

    # It writes what it signs, a session's token included, into its debug log.
    logging.getLogger(botocore.auth.__name__).setLevel(logging.INFO)
    logging.getLogger(botocore.awsrequest.__name__).setLevel(logging.INFO)


@dataclass(frozen=True, slots=True)
class AccessKeys:
    """One set of keys, in the names that botocore knows them by."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)

    @property
    def hidden(self) -> tuple[str, ...]:
        """All of its texts: the id names an account, the rest is secret."""
        return tuple(text for text in (self.secret_key, self.token, self.access_key) if text)


async def signed(request: UpstreamRequest, keys: AccessKeys, region: str) -> UpstreamRequest:
    """Return `request` with the signature of its method, path, headers and body, valid for some minutes from now.

    Call `load` before, where blocking does no harm.
    """
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest

    headers = dict(request.headers)
    if len(request.body) >= HASHED_APART_BYTES:
        headers[_HASH_HEADER] = await asyncio.to_thread(_hex_digest, request.body)
    draft = AWSRequest(request.method, request.url, headers, request.body)
    SigV4Auth(keys, SERVICE, region).add_auth(draft)
    return replace(request, headers=dict(draft.headers.items()))


def _hex_digest(body: bytes) -> str:
    return sha256(body).hexdigest()
