"""Failure classes, and what each of them allows: one table that decides.

Adapters classify a failure once; from then on only its class counts. The columns answer what the failover machine
asks: may the same key be tried again, another key, the next target, and does it say something about the health of
the target?
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from trunkline_server.routing.record import Word


class FailureClass(Word):
    """What went wrong, told by whose fault it is."""

    CALLER_INVALID = "CALLER_INVALID"
    CONTEXT_LENGTH = "CONTEXT_LENGTH"
    CONTENT_FILTERED = "CONTENT_FILTERED"
    MODEL_UNAVAILABLE = "MODEL_UNAVAILABLE"
    KEY_REJECTED = "KEY_REJECTED"
    KEY_EXHAUSTED = "KEY_EXHAUSTED"
    RATE_LIMITED = "RATE_LIMITED"
    OVERLOADED = "OVERLOADED"
    SERVER_ERROR = "SERVER_ERROR"
    CONNECT = "CONNECT"
    FIRST_TOKEN_TIMEOUT = "FIRST_TOKEN_TIMEOUT"  # noqa: S105  a class of failure, no secret
    STALLED = "STALLED"
    TRUNCATED = "TRUNCATED"
    PROTOCOL = "PROTOCOL"
    SATURATED = "SATURATED"
    DEADLINE = "DEADLINE"
    CANCELLED = "CANCELLED"


class Blame(Enum):
    """Whose fault a failure is."""

    CALLER = "caller"
    KEY = "key"
    KEY_OR_TARGET = "key or target"
    PROVIDER = "provider"
    NETWORK = "network"
    GATEWAY = "gateway"
    NONE = "none"


class SameKey(Enum):
    """Whether the same key of the same target may be tried again."""

    NO = "no"
    NEVER = "never"
    AFTER_COOL_DOWN = "after its cool-down"
    AFTER_BACKOFF = "after a backoff"


class NextTarget(Enum):
    """Whether another target may be tried."""

    NO = "no"
    YES = "yes"
    PREFERRED = "preferred"
    LARGER_WINDOW = "only one with a larger context window"
    BY_POLICY = "if the alias says so"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table."""

    blame: Blame
    same_key: SameKey
    next_target: NextTarget
    other_key: bool = False
    """Whether another key of the same target may be tried."""
    counts: bool = False
    """Whether it counts against the target's health (circuits)."""
    other_provider_first: bool = False
    """Whether targets of another provider go before those of the same one."""


RULES: dict[FailureClass, Rule] = {
    FailureClass.CALLER_INVALID: Rule(Blame.CALLER, SameKey.NO, NextTarget.NO),
    FailureClass.CONTEXT_LENGTH: Rule(Blame.CALLER, SameKey.NO, NextTarget.LARGER_WINDOW),
    FailureClass.CONTENT_FILTERED: Rule(Blame.CALLER, SameKey.NO, NextTarget.BY_POLICY),
    FailureClass.MODEL_UNAVAILABLE: Rule(Blame.KEY_OR_TARGET, SameKey.NO, NextTarget.YES, other_key=True),
    FailureClass.KEY_REJECTED: Rule(Blame.KEY, SameKey.NEVER, NextTarget.BY_POLICY, other_key=True),
    FailureClass.KEY_EXHAUSTED: Rule(Blame.KEY, SameKey.NEVER, NextTarget.YES, other_key=True),
    FailureClass.RATE_LIMITED: Rule(Blame.KEY, SameKey.AFTER_COOL_DOWN, NextTarget.YES, other_key=True),
    FailureClass.OVERLOADED: Rule(
        Blame.PROVIDER, SameKey.AFTER_BACKOFF, NextTarget.PREFERRED, counts=True, other_provider_first=True
    ),
    FailureClass.SERVER_ERROR: Rule(Blame.PROVIDER, SameKey.AFTER_BACKOFF, NextTarget.YES, counts=True),
    FailureClass.CONNECT: Rule(Blame.NETWORK, SameKey.AFTER_BACKOFF, NextTarget.YES, counts=True),
    FailureClass.FIRST_TOKEN_TIMEOUT: Rule(
        Blame.PROVIDER, SameKey.NO, NextTarget.YES, counts=True, other_provider_first=True
    ),
    FailureClass.STALLED: Rule(Blame.PROVIDER, SameKey.NO, NextTarget.YES, counts=True, other_provider_first=True),
    FailureClass.TRUNCATED: Rule(Blame.PROVIDER, SameKey.AFTER_BACKOFF, NextTarget.YES, counts=True),
    FailureClass.PROTOCOL: Rule(Blame.PROVIDER, SameKey.NO, NextTarget.YES, counts=True),
    FailureClass.SATURATED: Rule(Blame.GATEWAY, SameKey.NO, NextTarget.YES, other_key=True),
    FailureClass.DEADLINE: Rule(Blame.NONE, SameKey.NO, NextTarget.NO),
    FailureClass.CANCELLED: Rule(Blame.NONE, SameKey.NO, NextTarget.NO),
}
"""The table of semantics section 4, row by row."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt, classified."""

    failure_class: FailureClass
    message: str
    """For people, in our own words: it reaches callers. The provider's words are `upstream_text`."""
    retry_after_s: float | None = None
    """How long the provider asked us to stay away."""
    http_status: int | None = None
    upstream_code: str | None = None
    """The provider's own error code, such as `insufficient_quota`."""
    upstream_param: str | None = None
    """The provider's own name of the parameter that it refused."""
    upstream_request_id: str | None = None
    upstream_text: str | None = field(default=None, repr=False)
    """The provider's own words, redacted and bounded to 500 bytes; None where they may name accounts."""
    caused_by_caller: bool = False
    """A caller brought it about alone (a timer it shortened, a read it paused): told, but counted nowhere."""

    @property
    def rule(self) -> Rule:
        """The table's row of this class."""
        return RULES[self.failure_class]
