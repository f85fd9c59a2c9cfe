"""The contract's messages as short text for people: attempts, failures, durations, money."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trunkline.v1 import AttemptFailed, AttemptSummary, Continuation, FailureClass, FinishReason, OnBreak

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration

    from trunkline.v1 import AttemptStarted, Error, Reset, RouteExplanation, Target, Usage

_NANO = 1_000_000_000
_FIRST_ERROR_STATUS = 400


def seconds(duration: Duration) -> str:
    """Return a duration in seconds: `0.012 s`."""
    return f"{duration.seconds + duration.nanos / _NANO:.3f} s"


def target_name(target: Target) -> str:
    """Return `provider/model`."""
    return f"{target.provider}/{target.model}"


def usd(nanousd: int) -> str:
    """Return an amount in US dollars with as many digits as it needs."""
    return f"${nanousd / _NANO:.9f}".rstrip("0").rstrip(".")


def score_text(candidate: RouteExplanation.Candidate) -> str:
    """Return the score of a candidate in the unit of what orders its tier: `$0.0006`, `1.25 s`, `0.9`."""
    if not candidate.HasField("score"):
        return "?"
    if candidate.ordered_by == "lowest_cost":
        return usd(round(candidate.score))
    unit = " s" if candidate.ordered_by in {"least_loaded", "lowest_latency"} else ""
    return f"{candidate.score:.4g}{unit}"


def standing_text(candidate: RouteExplanation.Candidate) -> str:
    """Return what stands against a candidate: what removed it, that it is late, that its keys cannot serve now."""
    told = list(candidate.removed_because)
    if candidate.late:
        told.append("late: its first content usually comes after the limit")
    if candidate.keys and f"keys: {candidate.keys}" not in told:
        told.append(f"keys, for now: {candidate.keys}")
    return "; ".join(told)


def usage_text(usage: Usage) -> str:
    """Return the figures that are known: `12 tokens in, 9 out, $0.0000072`; empty if none is."""
    known = []
    if usage.HasField("input_tokens"):
        known.append(f"{usage.input_tokens} tokens in")
    if usage.HasField("output_tokens"):
        known.append(f"{usage.output_tokens} tokens out")
    if usage.HasField("cost_nanousd"):
        known.append(usd(usage.cost_nanousd))
    return ", ".join(known)


def why_text(why: AttemptSummary.Why.ValueType) -> str:
    """Return why an attempt was made: FIRST, RETRY, KEY_WALK, FAILOVER, HEDGE, CONTINUATION, RESTART."""
    return AttemptSummary.Why.Name(why).removeprefix("WHY_")


def class_text(error: Error) -> str:
    """Return the failure class of an error, with the provider's status if that says so: `RATE_LIMITED (HTTP 429)`."""
    name = class_name(error.failure_class) or error.reason
    return f"{name} (HTTP {error.upstream_http_status})" if error.upstream_http_status >= _FIRST_ERROR_STATUS else name


def class_name(failure_class: FailureClass.ValueType) -> str:
    """Return the name of a failure class; empty for none."""
    name = FailureClass.Name(failure_class).removeprefix("FAILURE_CLASS_")
    return "" if name == "UNSPECIFIED" else name


def finish_text(reason: FinishReason.ValueType) -> str:
    """Return why an answer ended: STOP, LENGTH."""
    return FinishReason.Name(reason).removeprefix("FINISH_REASON_")


def attempt_line(summary: AttemptSummary) -> str:
    """Return one attempt in a line: number, target, key, why it was made, how it ended, how long it took."""
    ended = class_text(summary.error) if summary.HasField("error") else "ok"
    waited = f", queued {seconds(summary.queued)}" if summary.queued.ToNanoseconds() >= _NANO // 1000 else ""
    return (
        f"attempt {summary.attempt}: {target_name(summary.target)} key {summary.target.key_id} "
        f"{why_text(summary.why)}: {ended} after {seconds(summary.total)}{waited}"
    )


def broken_lines(attempt: int, failed: AttemptFailed) -> list[str]:
    """Return the partial-stream error frame as the lines that show it."""
    delivered = f"{failed.bytes_emitted} bytes delivered"
    if failed.tool_calls_done or failed.tool_calls_open:
        delivered += f", {len(failed.tool_calls_done)} tool calls done, {len(failed.tool_calls_open)} open"
    next_step = AttemptFailed.Next.Name(failed.next).removeprefix("NEXT_")
    applied = OnBreak.Name(failed.on_break_applied).removeprefix("ON_BREAK_")
    asked = OnBreak.Name(failed.on_break_asked).removeprefix("ON_BREAK_")
    policy = applied if applied == asked else f"{applied} (asked: {asked}: {failed.degraded_because})"
    where = f"{target_name(failed.target)} key {failed.target.key_id}"
    return [
        f"attempt_failed: attempt {attempt} broke: {where}: {class_text(failed.error)}: {failed.error.message}",
        f"  {delivered}; on_break {policy}; next: {next_step}",
    ]


def begun_line(attempt: int, started: AttemptStarted) -> str:
    """Return the attempt that takes over from a broken one in a line, with its seam if it goes on from the text."""
    line = f"attempt_started: attempt {attempt}: {target_name(started.target)} key {started.target.key_id} "
    line += why_text(started.why)
    if not started.HasField("continuation"):
        return line
    seam = started.continuation
    method = Continuation.Method.Name(seam.method).removeprefix("METHOD_")
    cut = f", {seam.overlap_bytes} repeated bytes cut" if seam.overlap_bytes else ""
    return f"{line} after frame {seam.after_seq} ({method}{cut})"


def reset_line(reset: Reset) -> str:
    """Return what of the text that was printed still counts."""
    if not reset.keep_through_seq:
        return "reset: nothing so far counts, the answer begins again"
    return f"reset: what came after frame {reset.keep_through_seq} does not count"
