"""Bedrock's bytes: the body of Converse, and the events of ConverseStream.

A block's start and end are no content: they go in front of the content that follows, so that each content event is one
piece of text, reasoning or arguments.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import msgspec

from trunkline_server.simulator.anthropic.seals import signature_of
from trunkline_server.simulator.bedrock.errors import body_of, kind_of
from trunkline_server.simulator.bedrock.frames import event, exception, raw_event

if TYPE_CHECKING:
    from trunkline_server.simulator.answer import Answer
    from trunkline_server.simulator.failure import Trouble

REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "content_filtered"}
"""The service's words for why an answer ended."""

LATENCY_MS = 551
_MALFORMED = b'{"contentBlockIndex":0,"delta":{"te'


class Envelope(msgspec.Struct, frozen=True):
    """What the answer says about itself."""

    signs: bool = False
    """The model seals its reasoning."""
    cached_tokens: int = 0
    """Of the prompt, written to the cache."""


def reason_of(answer: Answer) -> str | None:
    """Return the service's word for why the answer ended; None if it ends without one."""
    reason = answer.finish_reason
    return None if reason is None else REASONS.get(reason, reason)


def usage_of(answer: Answer, envelope: Envelope) -> dict[str, int]:
    """Return the usage: what had to do with a cache stands beside the other input."""
    return {
        "inputTokens": answer.prompt_tokens - envelope.cached_tokens,
        "outputTokens": answer.completion_tokens,
        "totalTokens": answer.prompt_tokens + answer.completion_tokens,
        "cacheReadInputTokens": 0,
        "cacheWriteInputTokens": envelope.cached_tokens,
    }


def unary_body(answer: Answer, envelope: Envelope) -> bytes:
    """Return the whole JSON body of an answer without a stream."""
    message = {"role": "assistant", "content": _content(answer, envelope)}
    body: dict[str, Any] = {
        "metrics": {"latencyMs": LATENCY_MS},
        "output": {} if answer.no_choices else {"message": message},
        "usage": usage_of(answer, envelope),
    }
    if (reason := reason_of(answer)) is not None:
        body["stopReason"] = reason
    return msgspec.json.encode(body)


def _content(answer: Answer, envelope: Envelope) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = []
    if answer.reasoning:
        shown = {"text": "".join(answer.reasoning)}
        if envelope.signs:
            shown["signature"] = signature_of(shown["text"])
        content.append({"reasoningContent": {"reasoningText": shown}})
    if said := "".join(answer.text) + "".join(answer.refusal):
        content.append({"text": said})
    for call in answer.calls:
        arguments = msgspec.Raw("".join(call.pieces).encode())
        content.append({"toolUse": {"toolUseId": call.id, "name": call.name, "input": arguments}})
    return content


class StreamEvents:
    """The events of one stream, each whole, ready to be framed and written."""

    def __init__(self, answer: Answer, envelope: Envelope) -> None:
        self._answer = answer
        self._envelope = envelope
        self._index = -1
        self._open: list[int] = []
        self._signature = ""

    def __len__(self) -> int:
        """Return the number of content events."""
        return self._answer.completion_tokens

    def opening(self) -> bytes:
        """Return the start of the message; nothing with `no_choices`."""
        return b"" if self._answer.no_choices else event("messageStart", role="assistant")

    def contents(self) -> Iterator[bytes]:
        """Yield the content events in their order: reasoning, text or words of refusal, tool calls."""
        answer, before = self._answer, b""
        for number, piece in enumerate(answer.reasoning):
            if not number:
                before = self._begin()
            yield before + self._delta({"reasoningContent": {"text": piece}})
            before = b""
        if answer.reasoning and self._envelope.signs:
            self._signature = signature_of("".join(answer.reasoning))
        for number, piece in enumerate((*answer.text, *answer.refusal)):
            if not number:
                before = self._begin()
            yield before + self._delta({"text": piece})
            before = b""
        yield from self._calls()

    def _calls(self) -> Iterator[bytes]:
        calls = self._answer.calls
        if not self._answer.interleaved:
            for call in calls:
                before = self._begin(_start_of(call.id, call.name))
                for piece in call.pieces:
                    yield before + self._delta({"toolUse": {"input": piece}})
                    before = b""
            return
        first = self._index + 1
        before = b"".join(self._begin(_start_of(call.id, call.name), beside=at > 0) for at, call in enumerate(calls))
        for row in zip_longest(*(call.pieces for call in calls)):
            for at, piece in enumerate(row):
                if piece is not None:
                    yield before + self._delta({"toolUse": {"input": piece}}, first + at)
                    before = b""

    def _begin(self, start: dict[str, Any] | None = None, *, beside: bool = False) -> bytes:
        """Return the end of what is open, unless the new block goes on beside it, and the start, if it is told."""
        ends = b"" if beside else self._ends()
        self._index += 1
        self._open.append(self._index)
        if start is None:
            return ends
        return ends + event("contentBlockStart", contentBlockIndex=self._index, start=start)

    def _ends(self) -> bytes:
        """Return the ends of all blocks that are open; reasoning is signed at its end."""
        ends = b""
        if self._signature:
            ends = self._delta({"reasoningContent": {"signature": self._signature}}, self._open[-1])
            self._signature = ""
        ends += b"".join(event("contentBlockStop", contentBlockIndex=index) for index in self._open)
        self._open = []
        return ends

    def _delta(self, delta: dict[str, Any], index: int | None = None) -> bytes:
        return event("contentBlockDelta", contentBlockIndex=self._index if index is None else index, delta=delta)

    def ending(self, *, done: bool) -> bytes:
        """Return the ends of blocks, the reason to stop (not with `no_choices`) and, if `done`, the usage."""
        last = self._ends()
        reason = reason_of(self._answer)
        if reason is not None and not self._answer.no_choices:
            last += event("messageStop", stopReason=reason)
        if not done:
            return last
        usage = usage_of(self._answer, self._envelope)
        return last + event("metadata", usage=usage, metrics={"latencyMs": LATENCY_MS})

    def heartbeat(self) -> bytes:
        """Return nothing: the service is silent when it has nothing to say."""
        return b""

    def malformed(self) -> bytes:
        """Return an event whose JSON is cut off, rightly framed."""
        return raw_event("contentBlockDelta", _MALFORMED)

    def error(self, trouble: Trouble) -> bytes:
        """Return an exception."""
        kind = kind_of(trouble, trouble.name or "server_error")
        return exception(kind.type, body_of(kind))


def _start_of(call_id: str, name: str) -> dict[str, Any]:
    return {"toolUse": {"toolUseId": call_id, "name": name}}
