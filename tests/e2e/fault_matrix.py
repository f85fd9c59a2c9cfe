"""What a caller gets for every fault of an upstream, wherever it strikes: the table behind test_fault_matrix.py.

Read it in three steps:

1. FAULTS, here, says what an attempt at the faulty upstream comes to, by the place where the fault strikes: the class
   that it fails as, or the answer that it is in spite of the fault.
2. Nothing of the answer was shown yet (place BEFORE, and every unary call): HIDDEN, in fault_endings.py, says what
   follows from the class. It is the same for all callers and all kinds of answer.
3. Something was shown (AT, AFTER): SHOWN, there, says what follows from what was asked for and what was shown, and
   ENDS_IT names the classes for which nothing follows.

Behind the faulty upstream stands a healthy one that gives the same answer from its beginning, or what is left of it to
those that can go on. What the tables do not say fails the test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.e2e.fault_endings import (
    BROKEN,
    BROKEN_INSTEAD,
    DECLINED,
    EMPTY,
    ENDS_IT,
    FILTERED,
    HIDDEN,
    LENGTH,
    SHOWN,
    SHOWN_OF,
    STOPPED,
    WHOLE,
    Ask,
    Ending,
    Output,
    Place,
)


@dataclass(frozen=True)
class Never:
    """There is no such place for a fault."""

    because: str


@dataclass(frozen=True)
class Either:
    """Two things that the attempt may come to, and why that is not ours to decide."""

    hidden: str
    shown: str
    because: str


Comes = str | Ending | Never | Either
"""A class of failure (by its name), an answer, or neither."""

NEVER: Final = Never("such a fault has another place, or one place only")


@dataclass(frozen=True)
class Row:
    """One fault: how the simulator is told of it, and what an attempt comes to, streamed by place and unary."""

    name: str
    before: Comes
    at: Comes
    after: Comes
    unary: Comes
    """Struck before a byte of the answer."""
    unary_later: Comes
    """Struck after half of its body: for the places AT and AFTER."""
    fault: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the simulator's fault in every place."""
    counted: tuple[str, ...] = ()
    """Fields that take the number of chunks after which it strikes."""
    scenario: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the simulator's scenario for the faulty upstream's key."""
    refuse: bool = False
    """The upstream's port is closed."""

    def comes(self, place: Place, *, unary: bool) -> Comes:
        """Return what an attempt comes to."""
        if unary:
            return self.unary if place is Place.BEFORE else self.unary_later
        return {Place.BEFORE: self.before, Place.AT: self.at, Place.AFTER: self.after}[place]

    def told(self, place: Place) -> dict[str, Any]:
        """Return the simulator's fault."""
        fault = dict(self.fault)
        fault |= dict.fromkeys(self.counted, {Place.BEFORE: 0, Place.AT: 1, Place.AFTER: 3}[place])
        if self.counted and place is Place.AT:
            fault["same_segment"] = True
        return fault


def _http(name: str, becomes: str, **fault: Any) -> Row:
    """Return a fault that is an HTTP answer instead of a completion."""
    return Row(name, becomes, NEVER, NEVER, becomes, NEVER, fault=fault)


def _error(name: str, becomes: str) -> Row:
    return _http(f"error {name}", becomes, error=name)


def _event(name: str, becomes: str, error: object = None) -> Row:
    """Return an error event inside a stream: as its first event, or later; unary: an error object under a 200."""
    return Row(
        f"event {name}", becomes, becomes, becomes, becomes, becomes,
        fault={"error": error or name}, counted=("error_after_chunks",),
    )  # fmt: skip


def _breaks(name: str, *comes: Comes, on: str = "", **fault: Any) -> Row:
    """Return a fault of the answer itself; `on` names the simulator's breaks that make it."""
    before, at, after, unary, unary_later = comes
    counted = tuple(f"{each}_after_chunks" for each in on.split())
    return Row(name, before, at, after, unary, unary_later, fault=fault, counted=counted)


OVERTAKES: Final = Either(
    "TRUNCATED", "TRUNCATED", "a reset may overtake what was sent before it: the content reaches us, or it does not"
)

REFUSALS: Final = [
    _error("bad_request", "CALLER_INVALID"),
    _error("unprocessable", "CALLER_INVALID"),
    _error("context_length_exceeded", "CONTEXT_LENGTH"),
    _error("request_too_large", "CONTEXT_LENGTH"),
    _error("content_filter", "CONTENT_FILTERED"),
    _error("content_policy_violation", "CONTENT_FILTERED"),
    _error("invalid_api_key", "KEY_REJECTED"),
    _error("missing_api_key", "KEY_REJECTED"),
    _error("account_deactivated", "KEY_REJECTED"),
    _error("missing_scope", "KEY_REJECTED"),
    _error("model_not_found", "MODEL_UNAVAILABLE"),
    _error("model_not_allowed", "MODEL_UNAVAILABLE"),
    _error("unsupported_country", "MODEL_UNAVAILABLE"),
    _error("insufficient_quota", "KEY_EXHAUSTED"),
    _error("insufficient_balance", "KEY_EXHAUSTED"),
    _error("billing_hard_limit_reached", "KEY_EXHAUSTED"),
    _error("rate_limit_exceeded", "RATE_LIMITED"),
    _error("tokens_rate_limit_exceeded", "RATE_LIMITED"),
    _error("overloaded", "OVERLOADED"),
    _error("engine_overloaded", "OVERLOADED"),
    _error("site_overloaded", "OVERLOADED"),
    _error("server_error", "SERVER_ERROR"),
    _error("bad_gateway", "SERVER_ERROR"),
    _error("gateway_timeout", "SERVER_ERROR"),
    _error("request_timeout", "SERVER_ERROR"),
    _error("conflict", "SERVER_ERROR"),
    _http("status 418", "CALLER_INVALID", status=418),
    _http("status 424", "SERVER_ERROR", status=424),
    _http("status 425", "SERVER_ERROR", status=425),
    _http("status 501", "SERVER_ERROR", status=501),
    _http("status 599", "SERVER_ERROR", status=599),
    _http("429 with retry-after", "RATE_LIMITED", status=429, retry_after_s=30),
    _http("a redirect", "PROTOCOL", status=307, headers={"location": "http://127.0.0.1:9/"}, body=""),
    _http("a page under 200", "PROTOCOL", status=200, content_type="text/html", body="<p>Welcome"),
    _http("a prompt beyond the window", "CONTEXT_LENGTH", context_tokens=1),
    Row("over capacity", "RATE_LIMITED", NEVER, NEVER, "RATE_LIMITED", NEVER,
        scenario={"key_capacity": {"tokens_per_minute": 1}}),
    Row("connections refused", "CONNECT", NEVER, NEVER, "CONNECT", NEVER, refuse=True),
]  # fmt: skip

EVENTS: Final = [
    _event("server_error", "SERVER_ERROR"),
    _event("engine_overloaded", "OVERLOADED"),
    _event("rate_limit_exceeded", "RATE_LIMITED"),
    _event("insufficient_quota", "KEY_EXHAUSTED"),
    _event("model_not_allowed", "MODEL_UNAVAILABLE"),
    _event("invalid_api_key", "KEY_REJECTED"),
    _event("context_length_exceeded", "CONTEXT_LENGTH"),
    _event("content_filter", "CONTENT_FILTERED"),
    _event("bad_request", "CALLER_INVALID"),
    _event("of no known kind", "SERVER_ERROR", {"message": "something went wrong", "type": "oops"}),
]

_T, _S, _P, _F, _SLOW = "TRUNCATED", "STALLED", "PROTOCOL", "CONTENT_FILTERED", "FIRST_TOKEN_TIMEOUT"
SILENCE_S: Final = 600
"""Longer than any timer."""

BREAKS: Final = [
    #       fault                            before    at         after     unary      unary, half of it was sent
    _breaks("reset",                         "CONNECT", OVERTAKES, _T,      "CONNECT", _T, on="reset"),
    _breaks("reset after the role",          _T,       NEVER,     NEVER,    NEVER,     NEVER, on="reset",
            after_role=True),
    _breaks("cut",                           _T,       _T,        _T,       "CONNECT", _T, on="cut"),
    _breaks("cut after the role",            _T,       NEVER,     NEVER,    NEVER,     NEVER, on="cut",
            after_role=True),
    _breaks("cut inside the first event",    _T,       NEVER,     NEVER,    _T,        NEVER, cut_after_bytes=40),
    _breaks("cut inside a later event",      NEVER,    NEVER,     _T,       NEVER,     NEVER, cut_after_bytes=1600),
    _breaks("cut inside the body",           NEVER,    NEVER,     NEVER,    NEVER,     _T, cut_after_bytes=300),
    _breaks("cut inside a chunked body",     NEVER,    NEVER,     NEVER,    NEVER,     _T, cut_after_bytes=300,
            framing="chunked"),
    _breaks("stall",                         _SLOW,    _S,        _S,       _SLOW,     _SLOW, on="stall"),
    _breaks("stall with heartbeats",         _SLOW,    _S,        _S,       _SLOW,     _SLOW, on="stall",
            heartbeat_s=0.05),
    _breaks("stall, then on",                WHOLE,    WHOLE,     WHOLE,    WHOLE,     WHOLE, on="stall", stall_s=0.02),
    _breaks("stall, then cut",               _T,       _T,        _T,       "CONNECT", _T, on="stall cut",
            stall_s=0.02),
    _breaks("no first byte",                 _SLOW,    NEVER,     NEVER,    _SLOW,     NEVER, first_byte_s=SILENCE_S),
    _breaks("no second piece",               NEVER,    _S,        NEVER,    NEVER,     WHOLE, chunk_gap_s=SILENCE_S),
    _breaks("slow, with heartbeats",         WHOLE,    NEVER,     NEVER,    WHOLE,     NEVER, heartbeat_s=0.01,
            chunk_gap_s=0.02, first_byte_s=0.02),
    _breaks("half an object",                _P,       _P,        _P,       _P,        _P, on="malformed"),
    _breaks("silent end",                    NEVER,    NEVER,     _T,       NEVER,     _T, no_finish_reason=True,
            no_done=True),
    _breaks("[DONE] and no finish reason",   NEVER,    NEVER,     _T,       NEVER,     _T, no_finish_reason=True),
    _breaks("finish reason and no [DONE]",   NEVER,    NEVER,     WHOLE,    NEVER,     WHOLE, no_done=True),
    _breaks("no content",                    EMPTY,    NEVER,     NEVER,    EMPTY,     NEVER, empty="content"),
    _breaks("no choices",                    _P,       NEVER,     NEVER,    _P,        NEVER, empty="choices"),
    _breaks("no content and no reason",      _P,       NEVER,     NEVER,    _P,        NEVER, empty="content",
            no_finish_reason=True),
    _breaks("no content and a silent end",   _T,       NEVER,     NEVER,    _P,        NEVER, empty="content",
            no_finish_reason=True, no_done=True),
    _breaks("nothing but a filter",          _F,       NEVER,     NEVER,    _F,        NEVER, empty="content",
            finish_reason="content_filter"),
    _breaks("stopped by a filter",           NEVER,    NEVER,     FILTERED, NEVER,     FILTERED,
            finish_reason="content_filter"),
    _breaks("stopped by a limit",            NEVER,    NEVER,     LENGTH,   NEVER,     LENGTH, finish_reason="length"),
    _breaks("stopped, nobody knows why",     NEVER,    NEVER,     STOPPED,  NEVER,     STOPPED, finish_reason="bored"),
    _breaks("a refusal",                     DECLINED, NEVER,     NEVER,    DECLINED,  NEVER, refusal="I will not"),
]  # fmt: skip

FAULTS: Final = {row.name: row for row in (*REFUSALS, *EVENTS, *BREAKS)}


def expected(row: Row, place: Place, output: Output, ask: Ask) -> list[Ending]:
    """Return what the caller may get: one ending, two where that is up to the network, none where there is no place.

    Raises KeyError for what the tables do not say.
    """
    unary = ask is Ask.UNARY
    comes = row.comes(place, unary=unary)
    if isinstance(comes, Never):
        return []
    if isinstance(comes, Ending):
        return [comes]
    if isinstance(comes, Either):
        return [HIDDEN[comes.hidden], _shown(comes.shown, place, output, ask)]
    return [HIDDEN[comes] if unary or place is Place.BEFORE else _shown(comes, place, output, ask)]


def _shown(failure_class: str, place: Place, output: Output, ask: Ask) -> Ending:
    if failure_class in ENDS_IT:
        return BROKEN if ask is Ask.FAIL else BROKEN_INSTEAD
    return SHOWN[SHOWN_OF[output, place], ask]


def class_of(row: Row, place: Place, *, unary: bool) -> str | None:
    """Return the class that the attempt fails as; None: it is an answer."""
    comes = row.comes(place, unary=unary)
    if isinstance(comes, Either):
        return comes.shown
    return comes if isinstance(comes, str) else None
