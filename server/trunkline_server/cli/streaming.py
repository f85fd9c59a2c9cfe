"""A stream, shown as it comes: text on standard output, what befalls it on standard error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from trunkline import to_json
from trunkline.v1 import End
from trunkline_server.cli import exits
from trunkline_server.cli.wording import (
    attempt_line,
    begun_line,
    broken_lines,
    finish_text,
    reset_line,
    seconds,
    target_name,
    usage_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trunkline.v1 import Delta, StreamFrame


class StreamOutput:
    """Prints one stream. Remarks never land in the middle of a line of the answer."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._mid_line = False
        self._broke = False
        self.ended = False
        """Whether the `end` frame came: it told of every attempt."""

    def show_all(self, frames: Iterable[StreamFrame]) -> int:
        """Print a stream to its end; return the exit code. The error of a failed call passes through to the caller.

        A stream that ends without its `end` frame, or has a gap, is told as not whole, whatever its status says.
        """
        seen = 0
        try:
            for frame in frames:
                if self._as_json:
                    print(to_json(frame), flush=True)
                else:
                    self._show(frame)
                if frame.seq != seen + 1:
                    raise exits.CommandError(f"the stream is not whole: frames are missing before number {frame.seq}")
                seen, self.ended = frame.seq, frame.HasField("end")
        finally:
            self._end_line()
        if not self.ended:
            raise exits.CommandError("the stream is not whole: its `end` frame did not come")
        return exits.OK

    def _show(self, frame: StreamFrame) -> None:
        match frame.WhichOneof("frame"):
            case "started":
                for warning in frame.started.warnings:
                    self._remark(f"warning: {warning.code}: {warning.message}")
            case "deltas":
                self._write("".join(map(_text, frame.deltas.items)))
            case "attempt_started":
                if self._broke:
                    self._remark(begun_line(frame.attempt, frame.attempt_started))
            case "attempt_failed":
                self._broke = True
                self._remark("\n".join(broken_lines(frame.attempt, frame.attempt_failed)))
            case "reset":
                self._remark(reset_line(frame.reset))
            case "draining":
                self._remark(f"draining: the server goes down in {seconds(frame.draining.time_left)}")
            case "end":
                self._show_end(frame.end)

    def _end_line(self) -> None:
        if self._mid_line:
            print(flush=True)
            self._mid_line = False

    def _show_end(self, end: End) -> None:
        for attempt in end.attempts:
            self._remark(attempt_line(attempt))
        outcome = End.Outcome.Name(end.outcome).removeprefix("OUTCOME_")
        figures = ", ".join(
            filter(None, (finish_text(end.finish_reason), f"{end.content_bytes} bytes", usage_text(end.usage)))
        )
        by = end.route.served_by
        served = f" by {target_name(by)} key {by.key_id}" if end.route.HasField("served_by") else ""
        self._remark(f"end: {outcome}{served}: {figures}")

    def _write(self, text: str) -> None:
        if text:
            # Before the text: a Ctrl-C between the two must not leave the line open.
            self._mid_line = not text.endswith("\n")
            print(text, end="", flush=True)

    def _remark(self, line: str) -> None:
        self._end_line()
        print(line, file=sys.stderr, flush=True)


def _text(delta: Delta) -> str:
    """Return what is printed of a piece: the answer, and tool calls in brackets; reasoning is for programs."""
    match delta.WhichOneof("content"):
        case "text" | "refusal":
            return delta.text or delta.refusal
        case "tool_call":
            call = delta.tool_call
            opened = f"\n[tool call {call.name} " if call.name else ""
            return (
                f"{opened}{call.arguments_json_delta}{']' * call.done}\n"
                if call.done
                else (f"{opened}{call.arguments_json_delta}")
            )
    return ""
