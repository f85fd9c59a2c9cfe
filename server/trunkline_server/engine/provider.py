"""A provider as it lives: its adapter and transport, its keys and its gate. It outlasts snapshots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trunkline_server.engine.admission import Desk
from trunkline_server.providers.base import Adapter, WireCall
from trunkline_server.providers.transport.base import Transport, UpstreamRequest
from trunkline_server.routing.aliases import ModelFacts
from trunkline_server.routing.key_pool import KeyPool

REASONING_PATIENCE = 3.0
"""How much longer everything may take when a request asks the model to think."""


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

    def for_call(self, facts: ModelFacts, *, reasoning: bool) -> Timeouts:
        """Return the timers of one call: the model's own before the provider's, longer if it is to think."""
        if not reasoning and facts.first_token_s is None and facts.stall_s is None and facts.response_s is None:
            return self
        patience = REASONING_PATIENCE if reasoning else 1.0
        return Timeouts(
            self.connect_s,
            (self.first_token_s if facts.first_token_s is None else facts.first_token_s) * patience,
            (self.stall_s if facts.stall_s is None else facts.stall_s) * patience,
            (self.response_s if facts.response_s is None else facts.response_s) * patience,
        )


@dataclass(slots=True)
class LiveProvider:
    """One upstream endpoint with everything that is shared between the calls to it."""

    name: str
    base_url: str
    """Without a slash at its end."""
    adapter: Adapter
    transport: Transport
    pool: KeyPool
    desk: Desk
    auth: Mapping[str, Mapping[str, str]] = field(repr=False)
    """Key id to the headers that carry its secret."""
    timeouts: Timeouts = Timeouts()

    def request(self, call: WireCall, key_id: str) -> UpstreamRequest:
        """Return the upstream request of `call` with a key's credentials."""
        return UpstreamRequest(self.base_url + call.path, {**call.headers, **self.auth[key_id]}, call.body)
