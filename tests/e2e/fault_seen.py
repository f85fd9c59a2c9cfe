"""What a caller of the fault matrix saw, in the words of its table, and the promises that hold whatever it saw."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from tests.e2e.fault_endings import Ask, Content, Ending
from tests.e2e.fault_matrix import class_of
from tests.e2e.fault_setting import REPEATED_BYTES, WHOLE_CALLS, WHOLE_TEXT, Case

from trunkline import StreamError, failure_of, read_stream_aio
from trunkline.v1 import AttemptFailed, AttemptSummary, Continuation, End, FailureClass, FinishReason, OnBreak

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from trunkline import Answer, CallFailure
    from trunkline.v1 import CompleteResponse, CompletionServiceAsyncStub, StreamFrame

DEADLINE_S = 60.0
COMPLETE = {"STOP", "TOOL_CALLS"}


class Recorded:
    """A call that keeps the frames that it gives to the client's reader."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.frames: list[StreamFrame] = []

    async def __aiter__(self) -> AsyncIterator[StreamFrame]:
        async for frame in self._call:
            self.frames.append(frame)
            yield frame

    def cancel(self) -> bool:
        """End the call."""
        return bool(self._call.cancel())


@dataclass
class Seen:
    """What one caller has in its hands at the end."""

    case: Case
    failure: CallFailure | None = None
    frames: list[StreamFrame] = field(default_factory=list)
    text: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    """Names and arguments of the calls that it may run."""
    open_calls: tuple[tuple[str, str], ...] = ()
    finish: str = ""
    attempts: Sequence[AttemptSummary] = ()

    @property
    def end(self) -> End | None:
        """The last frame, if there was any."""
        return self.frames[-1].end if self.frames else None

    def all_of(self, kind: str) -> list[Any]:
        """Return the frames of one kind, without their envelope."""
        return [getattr(frame, kind) for frame in self.frames if frame.WhichOneof("frame") == kind]

    @property
    def content(self) -> Content:
        """How much of the answer it has."""
        sent_text, sent_calls = WHOLE_TEXT.get(self.case.output, ""), WHOLE_CALLS.get(self.case.output, ())
        has = self.text + "".join(arguments for _, arguments in (*self.calls, *self.open_calls))
        if not has:
            return Content.NONE
        if (self.text, self.calls, self.open_calls) == (sent_text, sent_calls, ()) and self.failure is None:
            return Content.WHOLE
        sent = sent_text + "".join(arguments for _, arguments in sent_calls)
        return Content.PART if sent.startswith(has) else Content.WRONG

    def ending(self) -> Ending:
        """Return it in the words of the table."""
        failure, end = self.failure, self.end
        broken: AttemptFailed = next(iter(self.all_of("attempt_failed")), AttemptFailed())
        seam = self.seam()
        if self.case.ask is Ask.UNARY:
            outcome = "" if failure else "COMPLETE" if self.finish in COMPLETE else "INCOMPLETE"
        else:
            outcome = "" if end is None else End.Outcome.Name(end.outcome).removeprefix("OUTCOME_")
        return Ending(
            status=failure.code.name if failure else "OK",
            reason=failure.reason if failure else "",
            outcome=outcome,
            finish=self.finish,
            whys=tuple(AttemptSummary.Why.Name(each.why).removeprefix("WHY_") for each in self.attempts),
            failed=sum(each.HasField("error") for each in self.attempts),
            content=self.content,
            next=_name(AttemptFailed.Next, broken.next, "NEXT_"),
            applied=_name(OnBreak, broken.on_break_applied, "ON_BREAK_"),
            degraded=bool(broken.degraded_because),
            reset=bool(self.all_of("reset")),
            seam=_name(Continuation.Method, seam.method, "METHOD_"),
            overlap=seam.overlap_bytes > 0,
        )

    def seam(self) -> Continuation:
        """Return where one attempt went on from another, empty if none did."""
        seams = [each.continuation for each in self.all_of("attempt_started") if each.HasField("continuation")]
        return seams[0] if seams else Continuation()


def _name(enum: Any, value: int, prefix: str) -> str:
    return str(enum.Name(value)).removeprefix(prefix) if value else ""


async def call(stub: CompletionServiceAsyncStub, case: Case) -> Seen:
    """Make the call of one case and return what its caller saw."""
    if case.ask is Ask.UNARY:
        return await _complete(stub, case)
    recorded = Recorded(stub.StreamComplete(case.request(), timeout=DEADLINE_S))
    failure = None
    try:
        answer = await read_stream_aio(recorded).answer()
    except StreamError as error:
        answer, failure = error.partial, error.failure
    return _streamed(case, recorded.frames, answer, failure)


async def _complete(stub: CompletionServiceAsyncStub, case: Case) -> Seen:
    try:
        response: CompleteResponse = await stub.Complete(case.request(), timeout=DEADLINE_S)
    except grpc.aio.AioRpcError as error:
        failure = failure_of(error)
        return Seen(case, failure, attempts=_attempts(failure))
    calls = [part.tool_call for part in response.message.parts if part.HasField("tool_call")]
    return Seen(
        case,
        text="".join(part.text for part in response.message.parts),
        calls=tuple((each.name, each.arguments_json) for each in calls),
        finish=FinishReason.Name(response.finish_reason).removeprefix("FINISH_REASON_"),
        attempts=response.attempts,
    )


def _streamed(case: Case, frames: list[StreamFrame], answer: Answer, failure: CallFailure | None) -> Seen:
    return Seen(
        case,
        failure,
        frames,
        text=answer.text,
        calls=tuple((each.name, each.arguments_json) for each in answer.tool_calls),
        open_calls=tuple((each.name, each.arguments_json) for each in answer.open_tool_calls),
        finish=_name(FinishReason, answer.finish_reason, "FINISH_REASON_"),
        attempts=answer.attempts or _attempts(failure),
    )


def _attempts(failure: CallFailure | None) -> Sequence[AttemptSummary]:
    return failure.route_failure.attempts if failure is not None and failure.route_failure is not None else ()


def broken_promises(seen: Seen) -> Iterator[str]:
    """Yield what does not hold of what is promised of every call."""
    for group in (_of_frames, _of_attempts, _of_breaks, _of_the_status):
        yield from (promise for promise, holds in group(seen) if not holds)


def _of_frames(seen: Seen) -> Iterator[tuple[str, bool]]:
    frames, end, failure = seen.frames, seen.end, seen.failure
    yield "seq has no gaps", [frame.seq for frame in frames] == list(range(1, len(frames) + 1))
    yield "there is one end", len(seen.all_of("end")) == (1 if frames else 0)
    if end is not None:
        yield "the end comes last", frames[-1].HasField("end")
        yield "end and status agree", end.error.code == (failure.code.value[0] if failure else 0)
        yield "end and status have one reason", end.error.reason == (failure.reason if failure else "")


def _of_attempts(seen: Seen) -> Iterator[tuple[str, bool]]:
    unary = seen.case.ask is Ask.UNARY
    restarted = any(each.why == AttemptSummary.WHY_RESTART for each in seen.attempts)
    for number, attempt in enumerate(seen.attempts, 1):
        yield f"attempt {number} has its number", attempt.attempt == number
        if attempt.HasField("error"):
            yield "the healthy upstream does not fail", number == 1
            yield (
                f"{_class_name(attempt.error.failure_class)} is the fault's class",
                (_class_name(attempt.error.failure_class) == class_of(seen.case.row, seen.case.place, unary=unary)),
            )
        if not unary and seen.frames:
            yield f"attempt {number} emitted what is told", attempt.bytes_emitted == _bytes_of(seen.frames, number)
            yield f"attempt {number} is marked if it does not count", attempt.discarded == (restarted and number == 1)


def _of_breaks(seen: Seen) -> Iterator[tuple[str, bool]]:
    """The frame that tells of a break says what the caller has, and what follows does so."""
    breaks, resets, seam = seen.all_of("attempt_failed"), seen.all_of("reset"), seen.seam()
    yield "one break", len(breaks) <= 1
    for broken in breaks:
        yield "the break tells the bytes that came", broken.bytes_emitted == _bytes_of(seen.frames, 1) > 0
        yield "the break tells what was asked", broken.on_break_asked == seen.case.request().routing.on_break
        yield "the break tells where", broken.target.provider == seen.case.provider
        yield "the break has a code", broken.error.code > 0
        calls = (list(broken.tool_calls_done), list(broken.tool_calls_open))
        yield "the break tells which calls are done and open", calls == _calls_of(seen.frames, 1)
    yield "at most one reset", len(resets) <= 1
    for reset in resets:
        kept = [frame for frame in seen.frames if frame.HasField("deltas") and frame.seq <= reset.keep_through_seq]
        kinds = {item.WhichOneof("content") for frame in kept for item in frame.deltas.items}
        yield "what is gone on from is text, and a restart keeps nothing", kinds == ({"text"} if seam.method else set())
    yield "no more is cut than was repeated", seam.overlap_bytes <= REPEATED_BYTES


def _of_the_status(seen: Seen) -> Iterator[tuple[str, bool]]:
    failure = seen.failure
    if failure is not None:
        yield "the caller's library may not repeat the call", failure.pushback_ms == -1
        told = failure.route_failure.failure_class if failure.route_failure is not None else 0
        unary = seen.case.ask is Ask.UNARY
        yield (
            "the status has the fault's class",
            (_class_name(told) == class_of(seen.case.row, seen.case.place, unary=unary)),
        )


def _class_name(value: int) -> str:
    return _name(FailureClass, value, "FAILURE_CLASS_")


def _items(frames: Sequence[StreamFrame], attempt: int) -> list[Any]:
    return [item for frame in frames if frame.attempt == attempt for item in frame.deltas.items]


def _bytes_of(frames: Sequence[StreamFrame], attempt: int) -> int:
    items = _items(frames, attempt)
    return sum(len((item.text + item.refusal + item.tool_call.arguments_json_delta).encode()) for item in items)


def _calls_of(frames: Sequence[StreamFrame], attempt: int) -> tuple[list[str], list[str]]:
    ids: dict[int, str] = {}
    done: set[int] = set()
    for item in _items(frames, attempt):
        if item.HasField("tool_call"):
            ids.setdefault(item.part, item.tool_call.id)
            if item.tool_call.done:
                done.add(item.part)
    return [ids[part] for part in ids if part in done], [ids[part] for part in ids if part not in done]
