"""A caller's side of a stream, written from the contract alone: frames in, one verified answer out."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import google_crc32c

from trunkline.v1 import Delta, StreamFrame

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trunkline import v1 as pb
    from trunkline.v1 import CompleteResponse, End, Started, TokenLogprob, Usage


@dataclass(slots=True)
class Content:
    """One part of an answer."""

    kind: str
    text: str = ""
    id: str = ""
    name: str = ""
    done: bool = False


@dataclass(slots=True)
class Assembled:
    """An answer put together from its frames. Raises AssertionError where they break a rule of the contract."""

    parts: dict[int, Content] = field(default_factory=dict)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    started: Started | None = None
    end: End | None = None
    _content: bytearray = field(default_factory=bytearray)
    _seq: int = 0

    @classmethod
    def of(cls, frames: Iterable[StreamFrame]) -> Assembled:
        """Return the answer in the frames of a stream that sent at least one."""
        answer = cls()
        for frame in frames:
            answer._take(frame)
        assert answer.end is not None, "no end frame"
        assert answer.end.content_bytes == len(answer._content)
        assert answer.end.content_crc32c == google_crc32c.value(bytes(answer._content))
        return answer

    def _take(self, frame: StreamFrame) -> None:
        assert frame.seq == self._seq + 1, "a gap"
        assert self.end is None, "a frame after the end"
        self._seq = frame.seq
        kind = frame.WhichOneof("frame")
        assert (frame.attempt == 0) == (kind in {"started", "heartbeat", "draining", "end"}), (kind, frame.attempt)
        if kind == "started":
            assert frame.seq == 1
            self.started = frame.started
        elif kind == "deltas":
            self._deltas(frame)
        elif kind == "end":
            self.end = frame.end

    def _deltas(self, frame: StreamFrame) -> None:
        items = frame.deltas.items
        assert items, "an empty frame"
        assert len({item.WhichOneof("content") for item in items}) == 1, "two kinds in one frame"
        if items[0].HasField("tool_call"):
            assert len({item.part for item in items}) == 1, "two tool calls in one frame"
        for item in items:
            self._item(item)

    def _item(self, item: Delta) -> None:
        kind = item.WhichOneof("content") or "text"
        if item.part not in self.parts:
            assert item.part == len(self.parts), "parts are numbered in the order in which they appear"
            self.parts[item.part] = Content(kind, id=item.tool_call.id, name=item.tool_call.name)
            assert bool(item.tool_call.name) == (kind == "tool_call")
        part = self.parts[item.part]
        assert part.kind == kind
        assert item.offset == len(part.text.encode()), "offsets follow the bytes"
        assert not part.done, "more of a call that was done"
        text = item.tool_call.arguments_json_delta if kind == "tool_call" else getattr(item, kind)
        part.text += text
        part.done = item.tool_call.done
        if part.done:
            assert isinstance(json.loads(part.text), dict), "half a JSON argument presented as complete"
        self._content += text.encode()
        self.logprobs.extend(item.logprobs)

    def plain(self) -> dict[str, Any]:
        """Return what must be the same however the answer was asked for."""
        assert self.end is not None
        assert self.started is not None
        return {
            "parts": [self.parts[number] for number in range(len(self.parts))],
            "finish": (self.end.finish_reason, self.end.native_finish_reason),
            "usage": usage_of(self.end.usage),
            "logprobs": [str(each) for each in self.logprobs],
            "served_by": str(self.end.route.served_by),
            "alias": (self.end.route.requested, self.end.route.alias, self.end.route.route_version),
            "attempts": attempts_of(self.end.attempts),
            "warnings": warnings_of(self.started.warnings),
        }


def plain_response(response: CompleteResponse) -> dict[str, Any]:
    """Return a unary answer in the same form."""
    parts = []
    for part in response.message.parts:
        kind = part.WhichOneof("content")
        assert kind is not None
        if kind == "tool_call":
            call = part.tool_call
            parts.append(Content(kind, call.arguments_json, call.id, call.name, done=is_object(call.arguments_json)))
        else:
            parts.append(Content(kind, part.thinking.text if kind == "thinking" else getattr(part, kind)))
    return {
        "parts": parts,
        "finish": (response.finish_reason, response.native_finish_reason),
        "usage": usage_of(response.usage),
        "logprobs": [str(each) for each in response.logprobs],
        "served_by": str(response.route.served_by),
        "alias": (response.route.requested, response.route.alias, response.route.route_version),
        "attempts": attempts_of(response.attempts),
        "warnings": warnings_of(response.warnings),
    }


def is_object(text: str) -> bool:
    """Say whether a text is a JSON object."""
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def usage_of(usage: Usage) -> dict[str, Any]:
    return {name.name: value for name, value in usage.ListFields()}


def attempts_of(attempts: Iterable[Any]) -> list[tuple[Any, ...]]:
    """Return all of the attempts but their times and bytes, which a unary answer does not have."""
    return [
        (
            each.attempt,
            str(each.target),
            each.why,
            each.error.failure_class,
            each.error.reason,
            each.error.upstream_http_status,
            usage_of(each.usage),
        )
        for each in attempts
    ]


def warnings_of(warnings: Iterable[pb.Warning]) -> set[tuple[str, str, str]]:
    """Return the warnings that concern the request: what the answer brings up is known to a unary call alone."""
    about_answer = {"TOOL_ARGUMENTS_NOT_JSON", "DROPPED_CONTENT"}
    return {(each.code, each.field, each.message) for each in warnings if each.code not in about_answer}
