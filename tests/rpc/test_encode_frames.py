from __future__ import annotations

from dataclasses import replace

import pytest

from trunkline import v1 as pb
from trunkline_server.chat.answer import FinishReason, TokenAlternative, TokenLogprob, Usage, UsageSource, Warning_
from trunkline_server.engine.frames import (
    AttemptFailedFrame,
    AttemptStartedFrame,
    AttemptSummary,
    CallFailure,
    ContentFrame,
    ContinuationMethod,
    DeltaKind,
    DrainingFrame,
    EndFrame,
    Frame,
    HeartbeatFrame,
    NextStep,
    ResetFrame,
    RouteInfo,
    Seam,
    ServedBy,
    Skipped,
    StartedFrame,
    StreamOutcome,
    UsageFrame,
)
from trunkline_server.routing.events import Why
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.types import OnBreak, Reason, TargetId
from trunkline_server.rpc.encode import encode_frame
from trunkline_server.rpc.status import status_of

SERVED = ServedBy(TargetId("openai", "gpt"), "k1")
ROUTE = RouteInfo("default", "default", 7, "blue", SERVED, (Skipped(TargetId("azure", "gpt"), "SATURATED"),))
STALLED = Failure(
    FailureClass.STALLED,
    "silent for 20 s",
    http_status=200,
    upstream_code="x",
    upstream_request_id="up-1",
    upstream_text="their words",
)
SUMMARY = AttemptSummary(1, SERVED, Why.FAILOVER, 0.25, 1.5, 2.0, STALLED, Usage(output_tokens=0), 5, discarded=False)


def parsed(frame: Frame, seq: int = 1) -> pb.StreamFrame:
    frame.seq = seq
    encoded = pb.StreamFrame.FromString(encode_frame(frame))
    assert encoded.seq == seq
    return encoded


def content(kind: DeltaKind, text: str, **more: object) -> pb.Delta:
    frame = replace(ContentFrame(2, kind, 3, 2**40, text), **more)  # type: ignore[arg-type]  # fields by name
    encoded = parsed(frame, 2**60)
    assert (encoded.seq, encoded.attempt) == (2**60, 2)
    (item,) = encoded.deltas.items
    assert (item.part, item.offset) == (3, 2**40)
    return item


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (DeltaKind.TEXT, "text"),
        (DeltaKind.THINKING, "thinking"),
        (DeltaKind.THINKING_SIGNATURE, "thinking_signature"),
        (DeltaKind.REFUSAL, "refusal"),
    ],
)
def test_each_kind_of_text_has_its_field(kind: DeltaKind, field: str) -> None:
    """The oneof tells the kinds apart, with numbers and offsets of 64 bits."""
    item = content(kind, "größe")
    assert item.WhichOneof("content") == field
    assert getattr(item, field) == "größe"


def test_a_signature_says_whether_it_is_the_reasoning_itself() -> None:
    """What a provider withholds goes back to it in another form than what it signed."""
    assert not content(DeltaKind.THINKING_SIGNATURE, "seal").thinking_redacted
    assert content(DeltaKind.THINKING_SIGNATURE, "seal", redacted=True).thinking_redacted


def test_a_piece_of_a_tool_call_names_its_call() -> None:
    """Its arguments may be empty on the first and on the last piece."""
    call = content(DeltaKind.TOOL_CALL, "", tool_id="c1", tool_name="f").tool_call
    assert (call.id, call.name, call.arguments_json_delta, call.done) == ("c1", "f", "", False)
    call = content(DeltaKind.TOOL_CALL, "{}", tool_id="c1", tool_done=True).tool_call
    assert (call.id, call.name, call.arguments_json_delta, call.done) == ("c1", "", "{}", True)


def test_a_delta_may_hold_log_probabilities_alone() -> None:
    """Then no kind of content is set; certainty is a zero that is told."""
    logprobs = (TokenLogprob("a", 0.0, b"a", (TokenAlternative("b", -1.5),)),)
    item = content(DeltaKind.TEXT, "", logprobs=logprobs)
    assert item.WhichOneof("content") is None
    (token,) = item.logprobs
    assert (token.token, token.bytes, token.HasField("logprob"), token.logprob) == ("a", b"a", True, 0.0)
    assert [(each.token, each.logprob, each.HasField("bytes")) for each in token.top] == [("b", -1.5, False)]


def test_the_first_frame_says_how_the_request_was_taken() -> None:
    """Its route, its time to the microsecond, and how long it waited."""
    started = parsed(
        StartedFrame("r1", "s1", ROUTE, 1_700_000_000.25, 0.5, (Warning_("code", "field", "message"),))
    ).started
    assert (started.request_id, started.stream_id) == ("r1", "s1")
    assert (started.created.seconds, started.created.nanos) == (1_700_000_000, 250_000_000)
    assert started.queued.ToMilliseconds() == 500
    assert (started.route.requested, started.route.route_version, started.route.variant) == ("default", 7, "blue")
    assert started.route.served_by.key_id == "k1"
    assert [(each.target.provider, each.reason) for each in started.route.skipped] == [("azure", "SATURATED")]
    assert [(each.code, each.field, each.message) for each in started.warnings] == [("code", "field", "message")]


def test_an_attempt_that_becomes_visible_is_announced() -> None:
    """With its target, and why it was made."""
    frame = parsed(AttemptStartedFrame(2, SERVED, Why.KEY_WALK, 0.0))
    assert frame.attempt == 2
    assert frame.attempt_started.why == pb.AttemptSummary.WHY_KEY_WALK
    assert frame.attempt_started.target.model == "gpt"
    assert frame.attempt_started.HasField("queued")


def test_a_broken_attempt_is_told_with_the_row_of_its_class() -> None:
    """The partial-stream error names what was delivered, and keeps the provider's words to itself."""
    frame = parsed(
        AttemptFailedFrame(
            1,
            STALLED,
            Reason.UPSTREAM_EXHAUSTED,
            SERVED,
            5,
            ("c1",),
            ("c2",),
            Usage(3, None, source=UsageSource.ESTIMATED),
            NextStep.GIVING_UP,
            OnBreak.CONTINUE,
            OnBreak.FAIL,
            "é" * 1000,
        )
    )
    assert frame.attempt == 1
    failed = frame.attempt_failed
    assert failed.error == pb.Error(
        code=14,
        failure_class=pb.FAILURE_CLASS_STALLED,
        reason="UPSTREAM_EXHAUSTED",
        message="silent for 20 s",
        retryable=True,
        upstream_http_status=200,
        upstream_code="x",
        upstream_request_id="up-1",
    )
    assert (list(failed.tool_calls_done), list(failed.tool_calls_open)) == (["c1"], ["c2"])
    assert failed.usage.input_tokens == 3
    assert not failed.usage.HasField("output_tokens")
    assert failed.next == pb.AttemptFailed.NEXT_GIVING_UP
    assert (failed.on_break_asked, failed.on_break_applied) == (pb.ON_BREAK_CONTINUE, pb.ON_BREAK_FAIL)
    assert failed.degraded_because == "é" * 126 + "..."


def test_a_stream_that_is_announced_early_names_no_target_yet() -> None:
    """At admission there is neither a target nor a time in the queue; zero seconds is another thing."""
    started = parsed(StartedFrame("r1", "s1", replace(ROUTE, served_by=None), 1.0, None, ())).started
    assert not started.HasField("queued")
    assert not started.route.HasField("served_by")
    assert parsed(StartedFrame("r1", "s1", ROUTE, 1.0, 0.0, ())).started.HasField("queued")


@pytest.mark.parametrize("why", Why, ids=lambda why: why.value)
def test_every_why_has_its_name_on_the_wire(why: Why) -> None:
    """Hedges, continuations and restarts among them."""
    told = parsed(AttemptStartedFrame(2, SERVED, why, 0.0)).attempt_started.why
    assert pb.AttemptSummary.Why.Name(told) == f"WHY_{why.value}"


@pytest.mark.parametrize("method", ContinuationMethod, ids=lambda method: method.value)
def test_a_continuation_shows_its_seam(method: ContinuationMethod) -> None:
    """How, after which frame, and what was cut; an attempt from the beginning has none."""
    frame = parsed(AttemptStartedFrame(2, SERVED, Why.CONTINUATION, 0.0, Seam(method, 17, 2**33)))
    seam = frame.attempt_started.continuation
    assert pb.Continuation.Method.Name(seam.method) == f"METHOD_{method.value}"
    assert (seam.after_seq, seam.overlap_bytes) == (2**33, 17)
    assert not parsed(AttemptStartedFrame(2, SERVED, Why.RESTART, 0.0)).attempt_started.HasField("continuation")


@pytest.mark.parametrize("keep_through_seq", [0, 2**33])
def test_a_reset_says_what_stays(keep_through_seq: int) -> None:
    """Nothing is a number too."""
    frame = parsed(ResetFrame(keep_through_seq))
    assert (frame.WhichOneof("frame"), frame.reset.keep_through_seq) == ("reset", keep_through_seq)


def test_usage_so_far_is_told_for_the_attempt_and_in_all() -> None:
    """What is not known stays unset in both."""
    frame = parsed(UsageFrame(2, Usage(output_tokens=3), Usage(5, 9)))
    assert frame.attempt == 2
    assert (frame.usage.attempt.output_tokens, frame.usage.attempt.HasField("input_tokens")) == (3, False)
    assert (frame.usage.total.input_tokens, frame.usage.total.output_tokens) == (5, 9)


def test_a_heartbeat_tells_the_place_in_the_queue_and_the_wait() -> None:
    """Who waits in none has no place."""
    beat = parsed(HeartbeatFrame(3, 1.5)).heartbeat
    assert (beat.queue_position, beat.waited.ToMilliseconds()) == (3, 1500)
    frame = parsed(HeartbeatFrame(None, 0.0))
    assert (frame.WhichOneof("frame"), frame.attempt) == ("heartbeat", 0)
    assert not frame.heartbeat.HasField("queue_position")


def test_a_draining_frame_tells_the_time_that_is_left() -> None:
    """It belongs to no attempt; time that has run out is zero."""
    assert parsed(DrainingFrame(1.25)).draining.time_left.ToMilliseconds() == 1250
    assert parsed(DrainingFrame(-3)).draining.time_left.ToMilliseconds() == 0


def end(error: CallFailure | None, outcome: StreamOutcome, reason: FinishReason) -> pb.End:
    return parsed(EndFrame(outcome, reason, "native", error, Usage(1, 2), (SUMMARY,), ROUTE, 11, 0xFFFFFFFF)).end


def test_a_whole_stream_ends_without_an_error() -> None:
    """With its outcome, its usage, its attempts and the check sum of its content."""
    ended = end(None, StreamOutcome.COMPLETE, FinishReason.TOOL_CALLS)
    assert ended.outcome == pb.End.OUTCOME_COMPLETE
    assert ended.finish_reason == pb.FINISH_REASON_TOOL_CALLS
    assert ended.native_finish_reason == "native"
    assert not ended.HasField("error")
    assert (ended.content_bytes, ended.content_crc32c) == (11, 0xFFFFFFFF)
    assert (ended.usage.input_tokens, ended.usage.output_tokens) == (1, 2)
    (attempt,) = ended.attempts
    assert attempt.usage.HasField("output_tokens")
    assert (attempt.queued.ToMilliseconds(), attempt.first_token.ToMilliseconds()) == (250, 1500)
    assert attempt.error.message == "silent for 20 s"


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.value)
def test_a_failed_stream_ends_with_the_error_of_its_status(reason: Reason) -> None:
    """The code and the reason of the last frame are those of the RPC, whatever the failure."""
    failure = CallFailure(reason, "what happened", FailureClass.STALLED, 2.5, failure=STALLED)
    error = end(failure, StreamOutcome.FAILED, FinishReason.BROKEN).error
    status = status_of(failure)
    assert error.code == status.code.value[0]
    assert error.reason.encode() in status.details
    assert error.failure_class == pb.FAILURE_CLASS_STALLED
    assert error.retry_after.ToMilliseconds() == 2500
    assert error.upstream_request_id == "up-1"


def test_a_providers_own_reason_is_bounded() -> None:
    """A reason that is longer than a word should be is cut, so that an upstream cannot fill the end frame."""
    frame = EndFrame(StreamOutcome.COMPLETE, FinishReason.OTHER, "x" * 100_000, None, None, (), ROUTE, 0, 0)
    assert parsed(frame).end.native_finish_reason == "x" * 61 + "..."
