"""A provider as it lives: its adapter and transport, its keys and its gate. It outlasts snapshots."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from trunkline_server.engine.admission import Desk
from trunkline_server.providers.base import Adapter, WireCall
from trunkline_server.providers.transport.base import Transport, UpstreamRequest
from trunkline_server.routing.aliases import ModelFacts
from trunkline_server.routing.budget import BudgetLimits, RetryBudget
from trunkline_server.routing.circuit import Circuit
from trunkline_server.routing.failures import Failure
from trunkline_server.routing.health import Health
from trunkline_server.routing.key_pool import KeyPool
from trunkline_server.routing.latency import Latency
from trunkline_server.routing.load import Load

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


def _default_budget() -> RetryBudget:
    return RetryBudget(BudgetLimits(), clock=time.monotonic)


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
    circuits: Mapping[str, Circuit] = field(default_factory=dict)
    """By model: of every target that an alias names. A model that is only named directly needs none: a request for it
    has nowhere else to go."""
    budget: RetryBudget = field(default_factory=_default_budget)
    """How much more it may be sent than requests came for it."""
    latencies: Mapping[str, Latency] = field(default_factory=dict)
    """By model: how long each of the targets in `circuits` took lately."""
    loads: Mapping[str, Load] = field(default_factory=dict)
    """By model: how loaded each of them is."""
    _healths: dict[str, Health] = field(init=False, repr=False)
    _unlisted: Health = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Put together once what every request asks for."""
        models = {*self.circuits, *self.latencies}
        self._healths = {
            model: Health(self.circuits.get(model), self.budget, self.latencies.get(model), self.loads.get(model))
            for model in models
        }
        self._unlisted = Health(budget=self.budget)

    def health_of(self, model: str) -> Health:
        """Return what is known of one of its targets; of a model that no alias names, no more than the provider's."""
        return self._healths.get(model, self._unlisted)

    def request(self, call: WireCall, key_id: str) -> UpstreamRequest:
        """Return the upstream request of `call` with a key's credentials."""
        return UpstreamRequest(self.base_url + call.path, {**call.headers, **self.auth[key_id]}, call.body)

    def without_key(self, failure: Failure, key_id: str) -> Failure:
        """Return `failure` with the key hidden that was sent: an error may repeat it, whatever it looks like.

        Adapters hide what looks like a secret. Only here is it known what one is.
        """
        for header in self.auth[key_id].values():
            secret = header.removeprefix(_SCHEME)
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
