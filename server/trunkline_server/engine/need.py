"""What a request takes of gates and keys: its tokens, by estimate, and how important it is. Reckoned once a request."""

from __future__ import annotations

from dataclasses import dataclass, field

from trunkline_server.chat.answer import Usage
from trunkline_server.chat.estimate import Calibration
from trunkline_server.engine.callers import CallerAccounts
from trunkline_server.routing.aliases import ModelFacts
from trunkline_server.routing.caller_account import Pass
from trunkline_server.routing.cost import cost_nanousd
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.types import Criticality, TargetId

_BYTES_PER_TOKEN = 4

_NEVER_READ = frozenset(
    {
        FailureClass.CALLER_INVALID,
        FailureClass.CONNECT,
        FailureClass.CONTEXT_LENGTH,
        FailureClass.KEY_EXHAUSTED,
        FailureClass.KEY_REJECTED,
        FailureClass.MODEL_UNAVAILABLE,
        FailureClass.OVERLOADED,
        FailureClass.RATE_LIMITED,
    }
)
"""What a provider refuses before a model has read the request: no token of it was used."""

_CLOSED_BY_US = frozenset(
    {
        FailureClass.CANCELLED,
        FailureClass.DEADLINE,
        FailureClass.FIRST_TOKEN_TIMEOUT,
        FailureClass.STALLED,
    }
)
"""What ends an attempt whose provider was still at it: it has the prompt, and bills it."""


@dataclass(slots=True)
class Need:
    """One request's. Nobody changes it; not frozen, since each request makes one."""

    input_tokens: int
    """By estimate, for a model of which nothing was learnt."""
    output_tokens: int
    """What its answer is reckoned with."""
    criticality: Criticality
    calibration: Calibration
    """What was learnt of each model's way of counting."""
    callers: CallerAccounts | None = field(default=None, repr=False)
    """Who knows whether its caller may still call; None: everybody may."""
    admitted: Pass | None = field(default=None, repr=False)
    """Its place in the caller's account, until that is settled; None: the caller has no limits."""
    _reckoned: dict[TargetId, int] = field(default_factory=dict, repr=False)

    def tokens(self, target: TargetId) -> int:
        """Return what is reserved for an attempt at a target: prompt and answer."""
        return self.input_at(target) + self.output_tokens

    def input_at(self, target: TargetId) -> int:
        """Return the input tokens by what was learnt of how a target counts."""
        tokens = self._reckoned.get(target)
        if tokens is None:
            tokens = self._reckoned[target] = self.calibration.calibrated(str(target), self.input_tokens)
        return tokens

    def learn(self, target: TargetId, usage: Usage | None) -> None:
        """Take in what a provider counted of the prompt."""
        if usage is not None and usage.input_tokens is not None:
            self.calibration.learn(str(target), self.input_tokens, usage.input_tokens)

    def used(self, target: TargetId, usage: Usage | None, failure: Failure | None, bytes_emitted: int) -> int | None:
        """Return the tokens that an attempt used; None if nobody knows, and what was reserved has to stand."""
        if usage is not None and usage.input_tokens is not None and usage.output_tokens is not None:
            return usage.input_tokens + usage.output_tokens
        if failure is None:
            return None
        if failure.failure_class in _NEVER_READ and not bytes_emitted:
            return 0
        if bytes_emitted:
            given = -(-bytes_emitted // _BYTES_PER_TOKEN)
            return self.input_at(target) + given
        return None

    def charge(
        self, target: TargetId, facts: ModelFacts, usage: Usage | None, failure: Failure | None, bytes_emitted: int
    ) -> None:
        """Book on the caller's account, if there is one, what an attempt used and what that costs."""
        if self.admitted is None:
            return
        given, read = self._billed(target, usage, failure, bytes_emitted)
        self.admitted.book(read + given, cost_nanousd(facts, read, given) or 0)

    def close_account(self) -> None:
        """Settle with the caller's account. Only the first time counts, so it may be said on every way out."""
        admitted, self.admitted = self.admitted, None
        if admitted is not None:
            admitted.settle()

    def _billed(
        self, target: TargetId, usage: Usage | None, failure: Failure | None, bytes_emitted: int
    ) -> tuple[int, int]:
        """Return the output and input tokens of an attempt: what its provider counted, or by estimate what was seen.

        One that failed by itself before it gave anything counts nothing: it is neither billed nor the caller's doing.
        """
        given = None if usage is None else usage.output_tokens
        read = None if usage is None else usage.input_tokens
        seen = -(-bytes_emitted // _BYTES_PER_TOKEN)
        counts = failure is None or bytes_emitted > 0 or failure.failure_class in _CLOSED_BY_US
        if given is None:
            given = seen
        if read is None:
            read = self.input_at(target) if counts or given else 0
        return given, read


def cost_of(usage: Usage, facts: ModelFacts) -> int | None:
    """Return what an attempt cost by what its provider counted, in 1e-9 USD; None if a figure or a price is unknown."""
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    return cost_nanousd(facts, usage.input_tokens, usage.output_tokens)
