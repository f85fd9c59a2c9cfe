"""Where calls to a provider go, and with what: everything that a reload swaps in one step.

An endpoint never changes. Each lease carries the one that held when it was granted, so a call whose key was removed or
given a new secret meanwhile is sent with the credentials, and to the address, that it was granted for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from trunkline_server.providers.base import Adapter, WireCall
from trunkline_server.providers.credentials.base import Signer
from trunkline_server.providers.transport.base import Transport, UpstreamRequest
from trunkline_server.routing.aliases import ModelFacts
from trunkline_server.routing.failures import Failure

REASONING_PATIENCE = 3.0
"""How much longer everything may take when a request asks the model to think."""

_SCHEME = "Bearer "
_HIDDEN = "***"
_MIN_SECRET_CHARS = 8
"""What is shorter is no secret but a placeholder such as `EMPTY`, and may stand in any text by chance."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The four timers of an attempt, in seconds."""

    connect_s: float = 3.0
    """DNS, TCP and TLS."""
    first_token_s: float = 20.0
    """Streams: from dispatch to the first content."""
    stall_s: float = 20.0
    """Streams: between content."""
    response_s: float = 120.0
    """Without a stream: from dispatch to the last byte."""
    first_token_shortened: bool = False
    """The request made `first_token_s` shorter than it would be: when it runs out, that is the caller's own doing."""
    stall_shortened: bool = False
    """Likewise `stall_s`."""

    def for_call(
        self,
        facts: ModelFacts,
        *,
        reasoning: bool,
        max_first_token_s: float | None = None,
        max_token_gap_s: float | None = None,
    ) -> Timeouts:
        """Return the timers of one call: the model's own before the provider's, longer if it is to think.

        `max_first_token_s` and `max_token_gap_s` are the request's own: they shorten its two timers and lengthen none.
        """
        if (
            not reasoning
            and facts.first_token_s is None
            and facts.stall_s is None
            and facts.response_s is None
            and max_first_token_s is None
            and max_token_gap_s is None
        ):
            return self
        patience = REASONING_PATIENCE if reasoning else 1.0
        first_token_s = (self.first_token_s if facts.first_token_s is None else facts.first_token_s) * patience
        stall_s = (self.stall_s if facts.stall_s is None else facts.stall_s) * patience
        response_s = (self.response_s if facts.response_s is None else facts.response_s) * patience
        first_token_s, first_token_shortened = _shortened(first_token_s, max_first_token_s)
        stall_s, stall_shortened = _shortened(stall_s, max_token_gap_s)
        return Timeouts(self.connect_s, first_token_s, stall_s, response_s, first_token_shortened, stall_shortened)


def _shortened(own_s: float, asked_s: float | None) -> tuple[float, bool]:
    """Return the timer that holds, and whether it is the shorter one that was asked for."""
    return (own_s, False) if asked_s is None or asked_s >= own_s else (asked_s, True)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One upstream endpoint: address, protocol, HTTP client, credentials and timers."""

    base_url: str
    """Without a slash at its end."""
    adapter: Adapter
    transport: Transport
    auth: Mapping[str, Mapping[str, str]] = field(repr=False)
    """Key id to the headers that carry its secret; none for one that signs."""
    timeouts: Timeouts = Timeouts()
    wires: Mapping[str, Adapter] = field(default_factory=dict)
    """The adapters of those models that need another one than `adapter`."""
    signers: Mapping[str, Signer] = field(default_factory=dict, repr=False)
    """Key id to what signs its calls, of those keys whose secret is no header."""

    @property
    def adapters(self) -> tuple[Adapter, ...]:
        """Every adapter that a call may be written by, each once."""
        return tuple(dict.fromkeys((self.adapter, *self.wires.values())))

    def adapter_of(self, model: str) -> Adapter:
        """Return what writes and reads the calls to one upstream model."""
        return self.wires.get(model, self.adapter) if self.wires else self.adapter

    def request(self, call: WireCall, key_id: str) -> UpstreamRequest:
        """Return the upstream request of `call` with the credentials of one of its keys, unless that one signs."""
        return UpstreamRequest(self.base_url + call.path, {**call.headers, **self.auth[key_id]}, call.body)

    async def signed(self, request: UpstreamRequest, key_id: str) -> UpstreamRequest:
        """Return the request with its key's signature, if that key signs; raise AttemptError if it cannot."""
        signer = self.signers.get(key_id)
        return request if signer is None else await signer.sign(request, self.transport)

    def rejected(self, request: UpstreamRequest, key_id: str) -> None:
        """Tell a key that signs that the provider rejected the credentials of a request that it had signed."""
        if (signer := self.signers.get(key_id)) is not None:
            signer.rejected(request)

    def without_key(self, failure: Failure, key_id: str) -> Failure:
        """Return `failure` with the key hidden that was sent: an error may repeat it, whatever it looks like.

        Adapters hide what looks like a secret. Only here is it known what one is.
        """
        signer = self.signers.get(key_id)
        headers = (header.removeprefix(_SCHEME) for header in self.auth[key_id].values())
        for secret in headers if signer is None else signer.hidden:
            if len(secret) >= _MIN_SECRET_CHARS:
                failure = replace(
                    failure,
                    message=_hidden(failure.message, secret),
                    upstream_code=_hidden(failure.upstream_code, secret),
                    upstream_param=_hidden(failure.upstream_param, secret),
                    upstream_request_id=_hidden(failure.upstream_request_id, secret),
                    upstream_text=_hidden(failure.upstream_text, secret),
                )
        return failure


_Text = TypeVar("_Text", str, str | None)


def _hidden(text: _Text, secret: str) -> _Text:
    """Return `text` without the secret, and without its start at the end, where a long text was cut."""
    if not text:
        return text
    text = text.replace(secret, _HIDDEN)
    at = text.find(secret[:_MIN_SECRET_CHARS], max(0, len(text) - len(secret)))
    return text[:at] + _HIDDEN if at >= 0 and secret.startswith(text[at:]) else text
