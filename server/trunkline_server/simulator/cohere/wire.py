"""Cohere's bytes: the unary body and the events of a stream.

The events that differ only in their text have the rest of them encoded once.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from trunkline_server.simulator.cohere.errors import error_words

if TYPE_CHECKING:
    from trunkline_server.simulator.answer import Answer, Call
    from trunkline_server.simulator.failure import Trouble

DONE = b"data: [DONE]\n\n"
COMMENT = b": keep-alive\n\n"
MALFORMED = b'event: content-delta\ndata: {"type":"content-delta","index":0,"delta":{"message":{"conte\n\n'
"""An event that is no JSON: cut off inside an object."""
TEMPLATE_TOKENS = 66
"""Of the vendor's own words around a prompt: they go through the model and are not paid for."""

_REASONS = {
    "stop": "COMPLETE",
    "length": "MAX_TOKENS",
    "tool_calls": "TOOL_CALL",
    "content_filter": "ERROR_TOXIC",
}
_encode = msgspec.json.encode


class Envelope(msgspec.Struct, frozen=True):
    """What the answer says about itself, and what was asked to go with it."""

    id: str
    logprobs: bool
    plans: bool
    """Reasoning is told as the plan before tool calls, if there are any."""


def answer_id(number: int) -> str:
    """Return the id of the answer to request `number`."""
    return f"00000000-0000-4000-8000-{number:012d}"


def usage(answer: Answer) -> dict[str, Any]:
    """Return the usage object: what went through the model, and what is paid for."""
    return {
        "billed_units": {
            "input_tokens": float(max(1, answer.prompt_tokens - TEMPLATE_TOKENS)),
            "output_tokens": float(answer.completion_tokens),
        },
        "tokens": {"input_tokens": float(answer.prompt_tokens), "output_tokens": float(answer.completion_tokens)},
    }


def unary_body(answer: Answer, envelope: Envelope) -> bytes:
    """Return the whole JSON body of an answer without a stream."""
    message: dict[str, Any] = {"role": "assistant"}
    reasoning, text = "".join(answer.reasoning), "".join(answer.text + answer.refusal)
    planned = envelope.plans and bool(answer.calls)
    content: list[dict[str, Any]] = []
    if reasoning and planned:
        message["tool_plan"] = reasoning
    elif reasoning:
        content.append({"type": "thinking", "thinking": reasoning})
    if text:
        content.append({"type": "text", "text": text})
    if content:
        message["content"] = content
    if answer.calls:
        message["tool_calls"] = [_call(call, "".join(call.pieces)) for call in answer.calls]
    body: dict[str, Any] = {"id": envelope.id, "message": message, "usage": usage(answer)}
    if answer.no_choices:
        del body["message"]
    elif answer.finish_reason is not None:
        body["finish_reason"] = _REASONS.get(answer.finish_reason, answer.finish_reason)
    if envelope.logprobs:
        body["logprobs"] = [_logprob(piece) for piece in answer.text]
    return _encode(body)


class StreamEvents:
    """The events of one stream, each whole (its name, its data and an empty line), ready to be framed and written."""

    def __init__(self, answer: Answer, envelope: Envelope) -> None:
        self._answer = answer
        self._envelope = envelope
        self._planned = envelope.plans and bool(answer.calls)
        self._blocks = 0

    def __len__(self) -> int:
        """Return the number of content events."""
        return 0 if self._answer.no_choices else self._answer.completion_tokens

    def opening(self) -> bytes:
        """Return the event that says who speaks."""
        message: dict[str, Any] = {
            "role": "assistant",
            "content": [],
            "tool_plan": "",
            "tool_calls": [],
            "citations": [],
        }
        return _event("message-start", {"id": self._envelope.id, "delta": {"message": message}})

    def contents(self) -> Iterator[bytes]:
        """Yield reasoning or plan, text, tool calls; starts and ends of blocks stand in front of what follows them."""
        answer = self._answer
        before = b""
        if answer.reasoning and self._planned:
            for piece in answer.reasoning:
                yield _event("tool-plan-delta", {"delta": {"message": {"tool_plan": piece}}})
        elif answer.reasoning:
            yield from self._block(b"", "thinking", answer.reasoning)
            before = self._block_end()
        if text := answer.text + answer.refusal:
            yield from self._block(before, "text", text)
            before = self._block_end()
        for index, call in enumerate(answer.calls):
            for number, piece in enumerate(call.pieces):
                start = b"" if number else before + _place("tool-call-start", index, tool_calls=_call(call, ""))
                pieces = {"function": {"arguments": piece}}
                yield start + _place("tool-call-delta", index, tool_calls=pieces)
            before = _event("tool-call-end", {"index": index})

    def _block(self, before: bytes, kind: str, pieces: list[str]) -> Iterator[bytes]:
        index = self._blocks
        start = before + _place("content-start", index, content={"type": kind, kind: ""})
        head = (
            b'event: content-delta\ndata: {"type":"content-delta","index":%d,"delta":{"message":{"content":{"%b":'
            % (
                index,
                kind.encode(),
            )
        )
        for piece in pieces:
            event = head + _encode(piece) + b"}}}"
            if kind == "text" and self._envelope.logprobs:
                event += b',"logprobs":' + _encode(_logprob(piece))
            yield start + event + b"}\n\n"
            start = b""

    def _block_end(self) -> bytes:
        end = _event("content-end", {"index": self._blocks})
        self._blocks += 1
        return end

    def ending(self, *, done: bool) -> bytes:
        """Return the end of the open block or call, and of the message with reason and usage; `[DONE]`."""
        answer, last = self._answer, b""
        if answer.calls:
            last = _event("tool-call-end", {"index": len(answer.calls) - 1})
        elif answer.text or answer.refusal or answer.reasoning:
            kinds = bool(answer.reasoning) + bool(answer.text or answer.refusal)
            last = _event("content-end", {"index": kinds - 1})
        delta: dict[str, Any] = {}
        if not answer.no_choices and answer.finish_reason is not None:
            delta["finish_reason"] = _REASONS.get(answer.finish_reason, answer.finish_reason)
        last += _event("message-end", {"delta": {**delta, "usage": usage(answer)}})
        return last + DONE if done else last

    def heartbeat(self) -> bytes:
        """Return a comment."""
        return COMMENT

    def malformed(self) -> bytes:
        """Return an event that is no JSON."""
        return MALFORMED

    def error(self, trouble: Trouble) -> bytes:
        """Return the end of a message that failed: the one place where a stream tells an error."""
        return _event("message-end", {"delta": {"finish_reason": "ERROR", "error": error_words(trouble)}})


def _event(kind: str, data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode({"type": kind, **data}))


def _place(kind: str, index: int, **message: Any) -> bytes:
    return _event(kind, {"index": index, "delta": {"message": message}})


def _call(call: Call, arguments: str) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _logprob(text: str) -> dict[str, Any]:
    """Return made-up figures that are the same for the same text."""
    token = zlib.crc32(text.encode())
    return {"text": text, "token_ids": [token % 250_000], "logprobs": [-(token % 1000) / 2000]}
