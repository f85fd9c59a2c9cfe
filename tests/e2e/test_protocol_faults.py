"""Every fault of the simulator in every dialect, through the whole gateway: the class that it fails in is one table."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest
from tests.e2e.conftest import ask
from tests.e2e.protocols import WIRES, Wire, environment, routes
from tests.e2e.stream_books import read

from trunkline import CallFailure, failure_of
from trunkline.v1 import FailureClass, FinishReason
from trunkline_server.simulator.failure import COMMON_ERRORS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Gateway, Gateways

TIMER_S: Final = 0.5
AT_ONCE: Final = 8

PLACES = UNARY, BEFORE, AFTER = "unary", "before", "after"
"""Without a stream; streamed, before any content; streamed, after the second piece of content."""

_T, _P, _CONNECT = "TRUNCATED", "PROTOCOL", "CONNECT"
_SLOW = "FIRST_TOKEN_TIMEOUT"


@dataclass(frozen=True)
class Row:
    """One fault, and what a call comes to by place: a class of failure or a finish reason. Absent: no such place."""

    name: str
    comes: dict[str, str]
    fault: dict[str, Any] = field(default_factory=dict)
    counted: str = ""
    """The field that takes the number of chunks after which it strikes."""
    capacity: dict[str, Any] | None = None
    """What its key may do."""

    def told(self, place: str) -> dict[str, Any]:
        """Return the simulator's fault."""
        answer = {"content": "one two three four"}
        return {**answer, **self.fault, **({self.counted: 2 if place == AFTER else 0} if self.counted else {})}


def _row(name: str, *comes: str, on: str = "", **fault: Any) -> Row:
    """Return a fault's row; `comes` in the order unary, before, after, with `-` for no such place."""
    places = dict(zip(PLACES, comes, strict=True))
    return Row(name, {place: each for place, each in places.items() if each != "-"}, fault, on and f"{on}_after_chunks")


BREAKS: Final = [
    #    fault                       unary       before      after
    _row("reset",                    _CONNECT,   _CONNECT,   _T,        on="reset"),
    _row("cut",                      _CONNECT,   _T,         _T,        on="cut"),
    _row("cut inside an event",      _T,         _T,         "-",       cut_after_bytes=30),
    _row("stall",                    _SLOW,      _SLOW,      "STALLED", on="stall"),
    _row("stall with heartbeats",    _SLOW,      _SLOW,      "STALLED", on="stall", heartbeat_s=0.05),
    _row("slow, with heartbeats",    "STOP",     "STOP",     "-",       heartbeat_s=0.01, chunk_gap_s=0.02),
    _row("malformed",                _P,         _P,         _P,        on="malformed"),
    _row("silent end",               _T,         "-",        _T,        no_finish_reason=True, no_done=True),
    _row("no finish reason",         _T,         "-",        _T,        no_finish_reason=True),
    _row("no last sign",             "STOP",     "-",        "STOP",    no_done=True),
    _row("no content",               "STOP",     "STOP",     "-",       empty="content"),
    _row("no choices",               _P,         _P,         "-",       empty="choices"),
    _row("no content and no reason", _P,         _P,         "-",       empty="content", no_finish_reason=True),
    _row("nothing, silently",        _P,         _T,         "-",       empty="content", no_finish_reason=True,
         no_done=True),
    _row("stopped by a limit",       "LENGTH",   "-",        "LENGTH",  finish_reason="length"),
    _row("a redirect",               _P,         _P,         "-",       status=307, body="",
         headers={"location": "http://127.0.0.1:9/"}),
    _row("a page under 200",         _P,         _P,         "-",       status=200, content_type="text/html",
         body="<p>Welcome"),
]  # fmt: skip

ERRORS: Final = {
    "bad_request": "CALLER_INVALID",
    "context_length_exceeded": "CONTEXT_LENGTH",
    "content_filter": "CONTENT_FILTERED",
    "missing_api_key": "KEY_REJECTED",
    "invalid_api_key": "KEY_REJECTED",
    "missing_scope": "KEY_REJECTED",
    "model_not_found": "MODEL_UNAVAILABLE",
    "request_too_large": "CONTEXT_LENGTH",
    "rate_limit_exceeded": "RATE_LIMITED",
    "tokens_rate_limit_exceeded": "RATE_LIMITED",
    "insufficient_quota": "KEY_EXHAUSTED",
    "server_error": "SERVER_ERROR",
    "overloaded": "OVERLOADED",
    "gateway_timeout": "SERVER_ERROR",
}
"""What each common error fails as, as a refusal."""

EVENTS: Final = ("server_error", "overloaded", "rate_limit_exceeded")
"""Errors that come inside an answer that has begun: as its first event, later, and as the body of a 200."""

NEVER_SAY_WHEN: Final = {"cohere"}
"""Wires whose vendors do not tell when to come back."""

ROWS: Final = [
    *BREAKS,
    Row("over capacity", {UNARY: "RATE_LIMITED", BEFORE: "RATE_LIMITED"}, capacity={"tokens_per_minute": 1}),
    *(_row(f"error {name}", becomes, becomes, "-", error=name) for name, becomes in ERRORS.items()),
    *(_row(f"event {name}", *3 * (ERRORS[name],), on="error", error=name) for name in EVENTS),
]

DIFFERS: Final = {
    "gemini": {
        # There is no end but the one that tells how the answer ended.
        "no content and no reason": ("PROTOCOL", "TRUNCATED", "-"),
    },
    "cohere": {
        # Errors inside an answer are told in words alone, and those of an overload are those of any outage.
        "event overloaded": ("SERVER_ERROR", "SERVER_ERROR", "SERVER_ERROR"),
    },
    "responses": {
        # An answer of no items is whole if it says so.
        "no choices": ("STOP", "STOP", "-"),
        # There is no end but the one that tells how the answer ended.
        "no content and no reason": ("PROTOCOL", "TRUNCATED", "-"),
    },
}
"""Where a wire has no such sign, or another meaning of it, by wire and row: by place, `-` for no such place."""


@dataclass(frozen=True)
class Case:
    """One call."""

    row: Row
    place: str
    wire: Wire

    @property
    def becomes(self) -> str:
        """What it has to come to."""
        family = self.wire.name.rpartition("-")[0]
        differs = DIFFERS.get(family, {}).get(self.row.name)
        return self.row.comes[self.place] if differs is None else differs[PLACES.index(self.place)]


def cases_of(wire: Wire) -> Iterator[Case]:
    """Yield a call for each row and place, at a provider of its own."""
    number = 0
    for row in ROWS:
        for place in row.comes:
            number += 1
            yield Case(row, place, wire.numbered(number))


async def outcome(running: Gateway, case: Case) -> str:
    """Return the class that a call fails in, or the finish reason that it ends with."""
    asked = ask("good morning to all of you", case.wire.name)
    if case.place == UNARY:
        try:
            response = await running.stub.Complete(asked, timeout=30)
        except grpc.aio.AioRpcError as error:
            return failure_class(failure_of(error))
        return FinishReason.Name(response.finish_reason).removeprefix("FINISH_REASON_")
    reading = await read(running.stub.StreamComplete(asked, timeout=30))
    if reading.error is not None:
        return failure_class(reading.error.failure)
    return FinishReason.Name(reading.answer.finish_reason).removeprefix("FINISH_REASON_")


def failure_class(failure: CallFailure) -> str:
    """Return the class of a failure by its name."""
    assert failure.route_failure is not None
    return FailureClass.Name(failure.route_failure.failure_class).removeprefix("FAILURE_CLASS_")


@pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)
async def test_every_fault_fails_in_its_class(gateway: Gateways, wire: Wire) -> None:
    """Breaks, silences, garbage, missing ends and every common error come to the same in every dialect."""
    cases = list(cases_of(wire))
    wires = [case.wire for case in cases]
    scenario = {
        "keys": {case.wire.key: case.row.told(case.place) for case in cases},
        "key_capacity": {case.wire.key: case.row.capacity for case in cases if case.row.capacity is not None},
    }
    timeouts = {"first_token_s": TIMER_S, "stall_s": TIMER_S, "response_s": TIMER_S}
    free = asyncio.Semaphore(AT_ONCE)

    async def one(case: Case) -> str:
        async with free:
            return await outcome(running, case)

    async with gateway(scenario, routes=routes(wires, timeouts=timeouts), environ=environment(wires)) as running:
        got = await asyncio.gather(*map(one, cases))
        await running.quiet(30)
    wrong = [
        f"{case.row.name}, {case.place}: {each}, not {case.becomes}"
        for case, each in zip(cases, got, strict=True)
        if each != case.becomes
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)
async def test_when_to_come_back_is_told(gateway: Gateways, wire: Wire) -> None:
    """A refusal that says when to come back says it to the caller, where the vendor has a place for it."""
    scenario = {"default": {"error": "rate_limit_exceeded", "retry_after_s": 237}}
    async with gateway(scenario, routes=routes([wire]), environ=environment([wire])) as running:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await running.stub.Complete(ask("hi", wire.name), timeout=30)
    retry_after_s = failure_of(raised.value).retry_after_s
    assert retry_after_s is not None
    assert (230 < retry_after_s <= 237) == (wire.name not in NEVER_SAY_WHEN)


def test_every_common_error_is_in_the_table() -> None:
    """Whatever every dialect can be asked to fail with has its class here."""
    assert set(ERRORS) == set(COMMON_ERRORS)
