"""The service's bytes: a whole message, and the events of a stream.

A block's start and end are no content: they go in front of the content that follows, so that each content event is one
piece of text, thinking or arguments.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import msgspec

from trunkline_server.simulator.anthropic.errors import error_object
from trunkline_server.simulator.anthropic.seals import sealed_thinking, signature_of

if TYPE_CHECKING:
    from trunkline_server.simulator.answer import Answer
    from trunkline_server.simulator.failure import Trouble

PING = b'event: ping\ndata: {"type": "ping"}\n\n'
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
MALFORMED = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"te\n\n'
"""An event that is no JSON: cut off inside an object."""

REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
"""The service's words for why an answer ended."""

_encode = msgspec.json.encode


class Envelope(msgspec.Struct, frozen=True):
    """What the answer says about itself, and how it shows what the model thinks."""

    id: str
    model: str
    number: int
    cached_tokens: int = 0
    """Of the prompt, written to the cache."""
    shows_thinking: bool = True
    withholds_thinking: bool = False
    """Some thinking comes sealed, without its words."""


def stop_of(answer: Answer) -> dict[str, Any]:
    """Return why the answer ended; a filter names the category that it found."""
    reason = answer.finish_reason
    native = None if reason is None else REASONS.get(reason, reason)
    if answer.refusal and reason == "stop":
        native = "refusal"
    found: dict[str, Any] = {"stop_reason": native, "stop_sequence": None}
    if reason == "content_filter":
        found["stop_details"] = {"type": "refusal", "category": "cyber", "explanation": None}
    return found


def usage_of(answer: Answer, envelope: Envelope, output_tokens: int | None = None) -> dict[str, Any]:
    """Return the usage object; `output_tokens` are those so far, all if None."""
    return {
        "input_tokens": answer.prompt_tokens - envelope.cached_tokens,
        "cache_creation_input_tokens": envelope.cached_tokens,
        "cache_read_input_tokens": 0,
        "output_tokens": answer.completion_tokens if output_tokens is None else output_tokens,
        "output_tokens_details": {"thinking_tokens": answer.reasoning_tokens},
        "service_tier": "standard",
    }


def unary_body(answer: Answer, envelope: Envelope) -> bytes:
    """Return the whole JSON body of an answer without a stream."""
    end = {"stop_reason": None, "stop_sequence": None} if answer.no_choices else stop_of(answer)
    return _encode({**_message(envelope, usage_of(answer, envelope)), "content": _content(answer, envelope), **end})


def _message(envelope: Envelope, usage: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": envelope.id,
        "type": "message",
        "role": "assistant",
        "model": envelope.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }


def _content(answer: Answer, envelope: Envelope) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = []
    if answer.reasoning:
        thinking = "".join(answer.reasoning)
        shown = thinking if envelope.shows_thinking else ""
        content.append({"type": "thinking", "thinking": shown, "signature": signature_of(thinking)})
    if envelope.withholds_thinking:
        content.append({"type": "redacted_thinking", "data": sealed_thinking(envelope.number)})
    if said := "".join(answer.text) + "".join(answer.refusal):
        content.append({"type": "text", "text": said})
    for call in answer.calls:
        arguments = msgspec.Raw("".join(call.pieces).encode())
        content.append({"type": "tool_use", "id": call.id, "name": call.name, "input": arguments})
    return content


class StreamEvents:
    """The events of one stream, each whole, ready to be framed and written."""

    def __init__(self, answer: Answer, envelope: Envelope) -> None:
        self._answer = answer
        self._envelope = envelope
        self._index = -1
        self._open: list[int] = []
        self._signature = ""
        self._rest = b""
        """What began and has no content behind it."""

    def __len__(self) -> int:
        """Return the number of content events."""
        hidden = 0 if self._envelope.shows_thinking else self._answer.reasoning_tokens
        return self._answer.completion_tokens - hidden

    def opening(self) -> bytes:
        """Return the start of the message, which has the usage of the prompt, and a ping."""
        message = _message(self._envelope, usage_of(self._answer, self._envelope, 1))
        return _event("message_start", message=message) + PING

    def contents(self) -> Iterator[bytes]:
        """Yield the content events in their order: thinking, text or words of refusal, tool calls."""
        answer, before = self._answer, b""
        if answer.reasoning:
            before = self._begin({"type": "thinking", "thinking": "", "signature": ""})
            self._signature = signature_of("".join(answer.reasoning))
            for piece in answer.reasoning if self._envelope.shows_thinking else ():
                yield before + self._delta({"type": "thinking_delta", "thinking": piece})
                before = b""
        if self._envelope.withholds_thinking:
            data = sealed_thinking(self._envelope.number)
            before += self._begin({"type": "redacted_thinking", "data": data})
        for number, piece in enumerate((*answer.text, *answer.refusal)):
            if not number:
                before += self._begin({"type": "text", "text": ""})
            yield before + self._delta({"type": "text_delta", "text": piece})
            before = b""
        for event in self._calls():
            yield before + event
            before = b""
        self._rest = before

    def _calls(self) -> Iterator[bytes]:
        calls = self._answer.calls
        if not self._answer.interleaved:
            for call in calls:
                before = self._begin(_call_block(call.id, call.name))
                for piece in call.pieces:
                    yield before + self._delta({"type": "input_json_delta", "partial_json": piece})
                    before = b""
            return
        first = self._index + 1
        before = b"".join(self._begin(_call_block(call.id, call.name), beside=at > 0) for at, call in enumerate(calls))
        for row in zip_longest(*(call.pieces for call in calls)):
            for at, piece in enumerate(row):
                if piece is not None:
                    yield before + self._delta({"type": "input_json_delta", "partial_json": piece}, first + at)
                    before = b""

    def _begin(self, block: dict[str, Any], *, beside: bool = False) -> bytes:
        """Return the end of what is open, unless the new block goes on beside it, and the start of a block."""
        ends = b"" if beside else self._ends()
        self._index += 1
        self._open.append(self._index)
        return ends + _event("content_block_start", index=self._index, content_block=block)

    def _ends(self) -> bytes:
        """Return the ends of all blocks that are open; thinking is signed at its end."""
        ends = b""
        if self._signature:
            ends = self._delta({"type": "signature_delta", "signature": self._signature}, self._open[-1])
            self._signature = ""
        ends += b"".join(_event("content_block_stop", index=index) for index in self._open)
        self._open = []
        return ends

    def _delta(self, delta: dict[str, Any], index: int | None = None) -> bytes:
        return _event("content_block_delta", index=self._index if index is None else index, delta=delta)

    def ending(self, *, done: bool) -> bytes:
        """Return the ends of blocks, the reason to stop (not with `no_choices`) and the stop of the message."""
        last = self._rest + self._ends()
        if not self._answer.no_choices:
            usage = usage_of(self._answer, self._envelope)
            last += _event("message_delta", delta=stop_of(self._answer), usage=usage)
        return last + STOP if done else last

    def heartbeat(self) -> bytes:
        """Return a ping."""
        return PING

    def malformed(self) -> bytes:
        """Return an event that is no JSON."""
        return MALFORMED

    def error(self, trouble: Trouble) -> bytes:
        """Return an event that is an error."""
        return b"event: error\ndata: " + error_object(trouble, trouble.name or "server_error") + b"\n\n"


def _call_block(call_id: str, name: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": {}}


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: ".encode() + _encode({"type": kind, **fields}) + b"\n\n"
