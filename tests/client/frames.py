"""A server's side of a stream for tests: writes frames as the contract has them, and knows what they add up to."""

from __future__ import annotations

from dataclasses import dataclass, field

import google_crc32c

from trunkline.v1 import (
    FINISH_REASON_BROKEN,
    FINISH_REASON_STOP,
    AttemptFailed,
    AttemptStarted,
    AttemptSummary,
    Continuation,
    Delta,
    Deltas,
    Draining,
    End,
    Error,
    FinishReason,
    Heartbeat,
    Reset,
    RouteInfo,
    Started,
    StreamFrame,
    Target,
    ToolCallDelta,
    Usage,
    UsageProgress,
    Warning,  # noqa: A004  the contract's own name
)

ABORTED = 10
UNKNOWN_KIND = 100
"""The number of a frame's field that no client knows yet."""


@dataclass(frozen=True)
class Sent:
    """One piece of content that was sent, and in which frame."""

    seq: int
    part: int
    kind: str
    text: str
    call: tuple[str, str] = ("", "")
    done: bool = False


@dataclass
class Writer:
    """Writes one stream. What counts is kept in `sent`, so that a test knows the answer."""

    frames: list[StreamFrame] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    attempt: int = 0

    @property
    def seq(self) -> int:
        """The number of the last frame."""
        return len(self.frames)

    def add(self, frame: StreamFrame, attempt: int = 0) -> Writer:
        """Number a frame and add it."""
        frame.seq, frame.attempt = self.seq + 1, attempt
        self.frames.append(frame)
        return self

    def started(self) -> Writer:
        """Begin the stream."""
        warnings = [Warning(code="W", field="f", message="m")]
        started = Started(request_id="r-1", stream_id="s-1", route=RouteInfo(requested="default"), warnings=warnings)
        return self.add(StreamFrame(started=started))

    def attempt_started(self, *, continuation: Continuation | None = None, provider: str = "one") -> Writer:
        """Begin the next attempt."""
        self.attempt += 1
        started = AttemptStarted(target=Target(provider=provider, model="m"), continuation=continuation)
        return self.add(StreamFrame(attempt_started=started), self.attempt)

    def goes_on(self) -> Writer:
        """Begin the next attempt at the end of what counts."""
        after_seq = self.sent[-1].seq
        return self.attempt_started(continuation=Continuation(method=Continuation.METHOD_PREFILL, after_seq=after_seq))

    def offset(self, part: int) -> int:
        """Return how many bytes of a part count."""
        return sum(len(each.text.encode()) for each in self.sent if each.part == part and each.kind != "signature")

    def text(self, *texts: str, part: int = 0) -> Writer:
        """Send text as the items of one frame."""
        return self._deltas("text", part, [(text, Delta(text=text)) for text in texts])

    def thinking(self, text: str, part: int = 0) -> Writer:
        """Send reasoning."""
        return self._deltas("thinking", part, [(text, Delta(thinking=text))])

    def refusal(self, text: str, part: int = 0) -> Writer:
        """Send words of refusal."""
        return self._deltas("refusal", part, [(text, Delta(refusal=text))])

    def signature(self, text: str, part: int = 0, *, redacted: bool = False) -> Writer:
        """Send the seal of some reasoning."""
        return self._deltas("signature", part, [(text, Delta(thinking_signature=text, thinking_redacted=redacted))])

    def tool(self, part: int, arguments: str, *, call: tuple[str, str] = ("", ""), done: bool = False) -> Writer:
        """Send a piece of a tool call; `call` is its id and name, on the first one."""
        delta = ToolCallDelta(id=call[0], name=call[1], arguments_json_delta=arguments, done=done)
        return self._deltas("tool_call", part, [(arguments, Delta(tool_call=delta))], call=call, done=done)

    def _deltas(
        self,
        kind: str,
        part: int,
        items: list[tuple[str, Delta]],
        *,
        call: tuple[str, str] = ("", ""),
        done: bool = False,
    ) -> Writer:
        for text, delta in items:
            delta.part, delta.offset = part, self.offset(part)
            self.sent.append(Sent(self.seq + 1, part, kind, text, call, done))
        return self.add(StreamFrame(deltas=Deltas(items=[delta for _, delta in items])), self.attempt)

    def notice(self, which: int) -> Writer:
        """Send a frame that changes nothing; the last one is of a kind that no client knows."""
        kinds = [
            StreamFrame(heartbeat=Heartbeat(queue_position=2)),
            StreamFrame(usage=UsageProgress(total=Usage(output_tokens=3))),
            StreamFrame(draining=Draining()),
            StreamFrame.FromString(bytes([UNKNOWN_KIND << 3 & 0x7F | 0x82, UNKNOWN_KIND >> 4, 0])),
        ]
        return self.add(kinds[which])

    def failed(self, following: AttemptFailed.Next.ValueType = AttemptFailed.NEXT_GIVING_UP) -> Writer:
        """Break the attempt."""
        failed = AttemptFailed(error=Error(code=ABORTED, reason="STREAM_BROKEN"), next=following)
        return self.add(StreamFrame(attempt_failed=failed), self.attempt)

    def reset(self, keep_through_seq: int = 0) -> Writer:
        """Take back what came after a frame."""
        self.sent = [each for each in self.sent if each.seq <= keep_through_seq]
        return self.add(StreamFrame(reset=Reset(keep_through_seq=keep_through_seq)))

    def end(
        self,
        outcome: End.Outcome.ValueType = End.OUTCOME_COMPLETE,
        finish_reason: FinishReason.ValueType = FINISH_REASON_STOP,
    ) -> Writer:
        """End the stream with the truth about what counts."""
        raw = b"".join(each.text.encode() for each in self.sent if each.kind != "signature")
        failed = outcome == End.OUTCOME_FAILED
        end = End(
            outcome=outcome,
            finish_reason=FINISH_REASON_BROKEN if failed else finish_reason,
            native_finish_reason="stop",
            error=Error(code=ABORTED, reason="STREAM_BROKEN") if failed else None,
            usage=Usage(output_tokens=5),
            attempts=[AttemptSummary(attempt=number) for number in range(1, self.attempt + 1)],
            route=RouteInfo(requested="default", served_by=Target(provider="one")),
            content_bytes=len(raw),
            content_crc32c=google_crc32c.value(raw),
        )
        return self.add(StreamFrame(end=end))

    def parts(self) -> list[tuple[str, str, str, bool]]:
        """Return what counts, part by part: kind, text, seal (or a call's id and name), whether a call is done."""
        found: dict[int, tuple[str, str, str, bool]] = {}
        for each in self.sent:
            kind, text, mark, _ = found.get(each.part, (each.kind.replace("signature", "thinking"), "", "", False))
            if each.kind == "signature":
                mark = each.text
            else:
                text += each.text
                mark = "/".join(each.call) if each.call[0] else mark
            found[each.part] = (kind, text, mark, each.done)
        return [found[part] for part in sorted(found)]


def short() -> Writer:
    """Return a stream that was begun and has said `Hello`."""
    return Writer().started().attempt_started().text("Hello")
