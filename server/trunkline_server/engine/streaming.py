"""`StreamComplete`: the answer as it comes, and the truth about it when it breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from trunkline_server.chat.answer import Delta, Finished, FinishReason
from trunkline_server.engine.alarm import Alarm
from trunkline_server.engine.attempt import Dispatched, OpenStream
from trunkline_server.engine.call import Call
from trunkline_server.engine.frames import (
    AttemptFailedFrame,
    AttemptStartedFrame,
    CallFailedError,
    CallFailure,
    EndFrame,
    Frame,
    NextStep,
    StartedFrame,
    StreamOutcome,
)
from trunkline_server.engine.outbox import Outbox
from trunkline_server.engine.record import AttemptRecord, route_info, unused_options
from trunkline_server.providers.base import AttemptError
from trunkline_server.routing.events import Fail, FirstContent
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.types import OnBreak, Reason, reason_of

ON_BREAK = OnBreak.FAIL
"""What follows a break after the commit point; the others come with the issue that builds them."""

_TAIL_S = 2.0
"""How long an answer whose terminal event came may keep us waiting for its usage and the end of its body."""

_COMPLETE = frozenset({FinishReason.STOP, FinishReason.TOOL_CALLS})


class StreamingCall(Call[Finished]):
    """A call whose answer is shown as it comes. `frames` is its one consumer."""

    streams = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._outbox = Outbox()
        self._end: Finished | None = None
        self._begun = False

    async def frames(self) -> AsyncGenerator[Frame, None]:
        """Yield the frames; raise CallFailedError at the end of a failed call. Closing it cancels the call."""
        task = asyncio.create_task(self._produce())
        try:
            while (frame := await self._outbox.take()) is not None:
                yield frame
            await task
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
        if self.failure is not None:
            raise CallFailedError(self.failure)

    async def _produce(self) -> None:
        try:
            await self.drive()
        finally:
            self._outbox.close()

    # One attempt.

    async def _exchange(self, sent: Dispatched, record: AttemptRecord, alarm: Alarm) -> Finished:
        timeouts = sent.timeouts
        self._outbox.begin_attempt()
        stream = OpenStream(sent, sent.provider.adapter.stream_decoder(self.request))
        alarm.set(record.dispatched_at + timeouts.first_token_s, FailureClass.FIRST_TOKEN_TIMEOUT)
        try:
            await stream.open()
            await self._pump(stream, record, alarm, timeouts.stall_s)
        finally:
            record.usage = stream.usage
            record.bytes_emitted = self._outbox.attempt_bytes
            stream.close()
        if stream.finished is None:
            raise AttemptError(Failure(FailureClass.TRUNCATED, "the stream ended without its terminal event"))
        if not self._begun:
            # An answer without content is an answer all the same: its terminal event commits it.
            self._commit(record)
        self._end = stream.finished
        return stream.finished

    async def _pump(self, stream: OpenStream, record: AttemptRecord, alarm: Alarm, stall_s: float) -> None:
        """Take the stream to its end, or to where that no longer matters."""
        try:
            await self._move_content(stream, record, alarm, stall_s)
            # Whole by now: a provider that holds the line open must not make it fail, nor hold its slot for long.
            alarm.set(self._clock() + min(stall_s, _TAIL_S), FailureClass.STALLED)
            while await stream.read() is not None:
                pass  # only usage may follow, and the decoder keeps it
        except AttemptError as error:
            if stream.finished is None:
                raise AttemptError(record.blamed(error.failure, stall_s)) from error
        except asyncio.CancelledError:
            # Whatever this call's own alarm rang for, the answer is whole. The caller's leaving is another matter.
            if stream.finished is None or alarm.caught() is None:
                raise

    async def _move_content(self, stream: OpenStream, record: AttemptRecord, alarm: Alarm, stall_s: float) -> None:
        """Move content to the outbox until the terminal event. Timers run only while a read is outstanding."""
        while stream.finished is None and (deltas := await stream.read()) is not None:
            if not deltas:
                continue
            self._show(deltas, record)
            if self._outbox.full and stream.finished is None:
                alarm.clear()
                record.paused_s = max(record.paused_s, await self._wait_for_reader())
            alarm.set(self._clock() + stall_s, FailureClass.STALLED)

    async def _wait_for_reader(self) -> float:
        """Wait until the caller has caught up; return for how long our own read was paused, in seconds."""
        paused_at = self._clock()
        await self._outbox.room()
        return self._clock() - paused_at

    def _show(self, deltas: list[Delta], record: AttemptRecord) -> None:
        if not self._begun:
            record.first_content_at = self._clock()
            self._commit(record)
        for delta in deltas:
            self._outbox.put(record.attempt, delta)

    def _commit(self, record: AttemptRecord) -> None:
        """Show the attempt: from here on it cannot be replaced in silence."""
        self.machine.handle(FirstContent())
        self.tell_success(record)
        served_by = record.served_by
        warnings = self._wire_calls[self.machine.at].warnings + unused_options(self.request, served_by)
        route = route_info(self.machine, self.request.model, self.snapshot.version, served_by)
        queued_s = sum(entry.queued_s for entry in self.records)
        self._begun = True
        self._outbox.put_frame(
            # Without a stream id: nobody can resume a stream that is not detachable, and none is yet.
            StartedFrame(self.request.request_id, "", route, self.created_unix_s, queued_s, warnings)
        )
        self._outbox.put_frame(AttemptStartedFrame(record.attempt, served_by, record.why, record.queued_s))

    # The end.

    def _finished(self) -> None:
        if self._end is None:
            raise RuntimeError("a stream finished without its terminal event")
        reason = self._end.reason
        outcome = StreamOutcome.COMPLETE if reason in _COMPLETE else StreamOutcome.INCOMPLETE
        self._put_end(outcome, reason, self._end.native_reason, None)

    def _failed(self, fail: Fail, told: CallFailure) -> None:
        if not self._begun:
            return
        record = self.records[-1]
        if fail.broken is not None:
            self._outbox.put_frame(self._attempt_failed(record, fail.broken, fail.reason))
        self._put_end(StreamOutcome.FAILED, FinishReason.BROKEN, "", told)

    def _attempt_failed(self, record: AttemptRecord, failure: Failure, ended: Reason) -> AttemptFailedFrame:
        reason = ended if ended is Reason.SERVER_DRAINING else reason_of(failure.failure_class)
        return AttemptFailedFrame(
            record.attempt,
            failure,
            reason,
            record.served_by,
            record.bytes_emitted,
            self._outbox.tool_calls(done=True),
            self._outbox.tool_calls(done=False),
            record.usage,
            NextStep.GIVING_UP,
            ON_BREAK,
            ON_BREAK,
        )

    def _put_end(
        self, outcome: StreamOutcome, reason: FinishReason, native_reason: str, error: CallFailure | None
    ) -> None:
        now = self._clock()
        last = self.records[-1]
        route = route_info(self.machine, self.request.model, self.snapshot.version, last.served_by)
        attempts = tuple(record.summary(now) for record in self.records)
        # What a broken attempt used stands in its own summary.
        usage = last.usage if error is None else None
        # The outbox fills in the content's length and checksum when the frame is taken.
        self._outbox.put_frame(EndFrame(outcome, reason, native_reason, error, usage, attempts, route, 0, 0))
