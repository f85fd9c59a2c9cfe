"""`StreamComplete`: the answer as it comes, and the truth about it when it breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

from trunkline_server.chat.answer import Delta, Finished, FinishReason, Usage, UsageSource, Warning_
from trunkline_server.chat.request import ChatRequest
from trunkline_server.engine.alarm import Alarm
from trunkline_server.engine.attempt import Dispatched, OpenStream
from trunkline_server.engine.call import Call
from trunkline_server.engine.continuation import cannot_continue, continued_request, left_output_tokens
from trunkline_server.engine.endpoint import Timeouts
from trunkline_server.engine.frames import (
    AttemptFailedFrame,
    AttemptStartedFrame,
    CallFailedError,
    CallFailure,
    ContinuationMethod,
    DrainingFrame,
    EndFrame,
    Frame,
    NextStep,
    StartedFrame,
    StreamOutcome,
    UsageFrame,
)
from trunkline_server.engine.joint import Joint
from trunkline_server.engine.outbox import ROOM_BYTES, Outbox
from trunkline_server.engine.pulse import Pulse, raised
from trunkline_server.engine.record import AttemptRecord, route_info, unused_options
from trunkline_server.engine.seam import OverlapCutter
from trunkline_server.engine.standing import Standing
from trunkline_server.providers.base import AttemptError
from trunkline_server.routing.breaks import Shown, is_prefilled
from trunkline_server.routing.events import Broken, Fail, FirstContent
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.types import OnBreak, Reason, reason_of

_TAIL_S = 2.0
"""How long an answer whose terminal event came may keep us waiting for its usage and the end of its body."""

_BYTES_PER_TOKEN = 4

_COMPLETE = frozenset({FinishReason.STOP, FinishReason.TOOL_CALLS})


class StreamingCall(Call[ChatRequest, Finished]):
    """A call whose answer is shown as it comes. It has one consumer: `frames`, or whoever calls `produce` and `take`.

    `stream_id` names it; `warnings` are told in its `started` frame; `room_bytes`: how much may wait for its consumer.
    """

    streams = True

    def __init__(
        self,
        *args: Any,
        stream_id: str,
        room_bytes: int = ROOM_BYTES,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        routing = self.request.routing
        self.stream_id = stream_id
        self._told: frozenset[Warning_] = frozenset()
        """What the `started` frame told of them."""
        self._outbox = Outbox(room_bytes)
        self._outbox.keep_text = self.machine.on_break is OnBreak.CONTINUE
        self._end: Finished | None = None
        self._begun = False
        self._shown_attempt: AttemptRecord | None = None
        """The latest attempt that was shown."""
        self._standing: Standing | None = None
        """What stood when an attempt broke that another one is to go on from."""
        self._joint: Joint | None = None
        self._left_tokens: int | None = None
        self._streams_open: dict[int, OpenStream] = {}
        self._piled_up: Callable[[], None] | None = None
        self._pulse = Pulse(
            self._outbox,
            heartbeat_s=raised(routing.heartbeat_s),
            usage_every_s=raised(routing.usage_every_s),
            position=lambda: self.queue_position,
            usage=self._usage_now,
            clock=self._clock,
        )

    # For whoever consumes it.

    async def frames(
        self, begun: Callable[[], None] | None = None, ended: Callable[[], None] | None = None
    ) -> AsyncGenerator[Frame, None]:
        """Yield the frames; raise CallFailedError at the end of a failed call. Closing it cancels the call.

        `begun` is called with the first frame that is asked for, `ended` when it is over, on whatever way.
        """
        if begun is not None:
            begun()
        task = asyncio.create_task(self.produce())
        try:
            while (frame := await self.take()) is not None:
                yield frame
            await task
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
            self.tell_outcome()  # cancelled before its first step, the task itself says nothing
            if ended is not None:
                ended()
        if self.failure is not None:
            raise CallFailedError(self.failure)

    async def produce(self) -> None:
        """Run the call to its end, in a task of its own; cancelling that closes what is in flight."""
        routing = self.request.routing
        try:
            if routing.announce_early or routing.heartbeat_s is not None:
                self._begin(None)
            self._scope.on_draining(self._put_draining)
            self._pulse.start()
            await self.drive()
        finally:
            self._scope.on_draining(None)
            self._pulse.close()
            self._outbox.close()
            self.tell_outcome()

    async def take(self) -> Frame | None:
        """Return the next frame, numbered; None once the call has ended and all were taken."""
        return await self._outbox.take()

    @property
    def piled_up(self) -> bool:
        """Whether so much waits to be taken that it should not lie there without a reader."""
        return self._outbox.piled_up

    def on_piled_up(self, listener: Callable[[], None] | None) -> None:
        """Call `listener` whenever `piled_up` has become true."""
        self._piled_up = listener

    def abort(self, reason: Reason) -> None:
        """End the call from outside, as `CallScope.abort` does."""
        self._scope.abort(reason)

    def tell_draining(self, ends_at: float) -> None:
        """Let the reader know that the server goes down at `ends_at` (event-loop time)."""
        self._scope.tell_draining(ends_at)

    # One attempt.

    async def _exchange(self, sent: Dispatched, record: AttemptRecord, alarm: Alarm) -> Finished:
        stream = OpenStream(sent, sent.adapter.stream_decoder(self.request))
        alarm.set(record.dispatched_at + sent.timeouts.first_token_s, FailureClass.FIRST_TOKEN_TIMEOUT)
        self._streams_open[record.attempt] = stream
        try:
            await stream.open()
            await self._pump(stream, record, alarm, sent.timeouts)
        finally:
            del self._streams_open[record.attempt]
            record.usage = stream.usage
            record.answer_warnings = stream.warnings
            record.bytes_emitted = self._outbox.attempt_bytes if record.visible else 0
            stream.close()
        if stream.finished is None:
            raise AttemptError(Failure(FailureClass.TRUNCATED, "the stream ended without its terminal event"))
        if not record.visible:
            # An answer without content is an answer all the same: its terminal event commits it.
            self._commit(record)
        self._end = stream.finished
        return stream.finished

    async def _pump(self, stream: OpenStream, record: AttemptRecord, alarm: Alarm, timeouts: Timeouts) -> None:
        """Take the stream to its end, or to where that no longer matters."""
        try:
            await self._move_content(stream, record, alarm, timeouts.stall_s)
            if stream.finished is not None and record.after_break is OnBreak.CONTINUE and self._joint is not None:
                self._put(self._joint.flush(), record)
            # Whole by now: a provider that holds the line open must not make it fail, nor hold its slot for long.
            alarm.set(self._clock() + min(timeouts.stall_s, _TAIL_S), FailureClass.STALLED)
            while await stream.read() is not None:
                pass  # only usage may follow, and the decoder keeps it
        except AttemptError:
            if stream.finished is None:
                raise
        except asyncio.CancelledError:
            # Whatever this call's own alarm rang for, the answer is whole. The caller's leaving is another matter.
            if stream.finished is None or alarm.caught() is None:
                raise

    async def _move_content(self, stream: OpenStream, record: AttemptRecord, alarm: Alarm, stall_s: float) -> None:
        """Move content to the outbox until the terminal event. Timers run only while a read is outstanding."""
        joint = self._joint if record.after_break is OnBreak.CONTINUE else None
        while stream.finished is None and (deltas := await stream.read()) is not None:
            if not deltas:
                continue
            if record.first_content_at is None:
                record.first_content_at = self._clock()
            self._put(deltas if joint is None else joint.feed(deltas), record)
            if self._outbox.full and stream.finished is None:
                alarm.clear()
                record.paused_s = max(record.paused_s, await self._wait_for_reader())
            alarm.set(self._clock() + stall_s, FailureClass.STALLED)

    async def _wait_for_reader(self) -> float:
        """Wait until the caller has caught up; return for how long our own read was paused, in seconds."""
        paused_at = self._clock()
        await self._outbox.room()
        return self._clock() - paused_at

    def _put(self, deltas: list[Delta], record: AttemptRecord) -> None:
        if not deltas:
            return
        if not record.visible:
            self._commit(record)
        for delta in deltas:
            self._outbox.put(record.attempt, delta)
        if self._piled_up is not None and self._outbox.piled_up:
            self._piled_up()

    # What is shown.

    def _begin(self, record: AttemptRecord | None) -> None:
        """Show that the request was taken: with its first attempt, or before there is one."""
        self._begun = True
        served_by = None if record is None else record.served_by
        warnings, queued_s = self._warnings, None
        if record is not None:
            warnings += record.warnings + unused_options(self.request, record.served_by)
            queued_s = sum(entry.queued_s for entry in self.records)
        route = route_info(self.machine, self.request.model, self.snapshot.version, served_by)
        self._told = frozenset(warnings)
        self._outbox.put_frame(
            StartedFrame(self.request.request_id, self.stream_id, route, self.created_unix_s, queued_s, warnings)
        )
        if self._scope.drain_ends_at is not None:
            self._put_draining()

    def _put_draining(self) -> None:
        ends_at = self._scope.drain_ends_at
        if self._begun and ends_at is not None:
            self._outbox.put_frame(DrainingFrame(max(0.0, ends_at - self._clock())))

    def _commit(self, record: AttemptRecord) -> None:
        """Show the attempt: from here on it cannot be replaced in silence."""
        self._win(record)
        self.machine.handle(FirstContent(record.attempt))
        self.tell_success(record)
        if not self._begun:
            self._begin(record)
        seam = None
        if record.after_break is OnBreak.RESTART:
            self._outbox.reset(None)
            for entry in self.records:
                entry.discarded = entry.discarded or entry.visible
        elif record.after_break is OnBreak.CONTINUE and self._standing is not None and self._joint is not None:
            if self._standing.first_open_part is not None:
                self._outbox.reset(self._standing.first_open_part)
            seam = self._joint.seam
        record.visible = True
        self._shown_attempt = record
        self._outbox.put_frame(AttemptStartedFrame(record.attempt, record.served_by, record.why, record.queued_s, seam))
        self._outbox.begin_attempt(record.attempt, continues=seam is not None)

    # Breaks.

    def _shown(self, record: AttemptRecord) -> Shown:
        standing = self._standing = self._outbox.standing()
        self._left_tokens = left_output_tokens(self.request, standing.text_before_open, record.usage)
        return Shown(
            tool_call_done=bool(standing.tool_calls_done),
            cannot_continue=cannot_continue(self.request, standing),
            nothing_left=self._left_tokens == 0,
        )

    def _broke(self, broken: Broken) -> None:
        record = self._shown_attempt
        if record is None:
            raise RuntimeError("an attempt broke that was never shown")
        ended = broken.then.reason if isinstance(broken.then, Fail) else None
        if isinstance(broken.then, Fail):
            next_step = NextStep.GIVING_UP
        elif broken.applied is OnBreak.RESTART:
            next_step = NextStep.RESTARTING
        else:
            next_step = NextStep.CONTINUING
        self._outbox.put_frame(
            AttemptFailedFrame(
                record.attempt,
                broken.failure,
                Reason.SERVER_DRAINING if ended is Reason.SERVER_DRAINING else reason_of(broken.failure.failure_class),
                record.served_by,
                record.bytes_emitted,
                self._outbox.tool_calls(done=True),
                self._outbox.tool_calls(done=False),
                record.usage,
                next_step,
                broken.asked,
                broken.applied,
                broken.degraded_because,
            )
        )

    def _continued(self, record: AttemptRecord) -> ChatRequest:
        if self._standing is None:
            raise RuntimeError("nothing was shown that could be gone on from")
        prefilled = is_prefilled(self.machine.plan.candidates[record.candidate].member)
        method = ContinuationMethod.PREFILL if prefilled else ContinuationMethod.PROMPTED
        cutter = OverlapCutter(self._standing.text_before_open, prompted=not prefilled)
        self._joint = Joint(cutter, method)
        return continued_request(self.request, cutter.sent, method, self._left_tokens)

    # The end.

    def _finished(self) -> None:
        if self._end is None:
            # Broken, and the request's output limit leaves nothing to go on for.
            self._put_end(StreamOutcome.INCOMPLETE, FinishReason.LENGTH, "", None)
            return
        reason = self._end.reason
        outcome = StreamOutcome.COMPLETE if reason in _COMPLETE else StreamOutcome.INCOMPLETE
        self._put_end(outcome, reason, self._end.native_reason, None)

    def _failed(self, told: CallFailure) -> None:
        if self._begun:
            self._put_end(StreamOutcome.FAILED, FinishReason.BROKEN, "", told)

    def _put_end(
        self, outcome: StreamOutcome, reason: FinishReason, native_reason: str, error: CallFailure | None
    ) -> None:
        now = self._clock()
        last = self._shown_attempt or (self.records[-1] if self.records else None)
        served_by = None if last is None else last.served_by
        route = route_info(self.machine, self.request.model, self.snapshot.version, served_by)
        attempts = tuple(record.summary(now) for record in self.records)
        # What a broken attempt used stands in its own summary.
        usage = None if self._answered is None else self._answered.usage
        # The outbox fills in the content's length and checksum when the frame is taken.
        self._outbox.put_frame(
            EndFrame(outcome, reason, native_reason, error, usage, attempts, route, 0, 0, warnings=self._late(last))
        )

    def _late(self, record: AttemptRecord | None) -> tuple[Warning_, ...]:
        """Return the warnings of the attempt that counts which were not told when the stream began."""
        if record is None:
            return ()
        found = record.warnings + record.answer_warnings
        if self.request.provider_options:
            found += unused_options(self.request, record.served_by)
        return tuple(dict.fromkeys(warning for warning in found if warning not in self._told)) if found else ()

    def _usage_now(self) -> UsageFrame | None:
        """Return what was used so far: what the providers counted, by estimate where they have not yet."""
        record = self._shown_attempt
        if record is None:
            return None
        stream = self._streams_open.get(record.attempt)
        usage = record.usage if stream is None else stream.usage
        if usage is None or usage.output_tokens is None:
            usage = _estimated(self._outbox.attempt_bytes)
        others = [
            entry.usage or _estimated(entry.bytes_emitted)
            for entry in self.records
            if entry is not record and (entry.usage is not None or entry.bytes_emitted)
        ]
        return UsageFrame(record.attempt, usage, _sum([usage, *others]))


def _estimated(content_bytes: int) -> Usage:
    """Return what content of this size took, as long as nobody has counted it."""
    return Usage(output_tokens=-(-content_bytes // _BYTES_PER_TOKEN), source=UsageSource.ESTIMATED)


def _sum(usages: list[Usage]) -> Usage:
    """Return the sum of what is known; estimated, if any of it is."""

    def total(name: str) -> int | None:
        known = [value for usage in usages if (value := getattr(usage, name)) is not None]
        return sum(known) if known else None

    estimated = any(usage.source is UsageSource.ESTIMATED for usage in usages)
    return Usage(
        total("input_tokens"),
        total("output_tokens"),
        total("cached_input_tokens"),
        total("cache_write_tokens"),
        total("reasoning_tokens"),
        UsageSource.ESTIMATED if estimated else UsageSource.PROVIDER,
        total("cost_nanousd"),
    )
