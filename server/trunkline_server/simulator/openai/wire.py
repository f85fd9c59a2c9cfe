"""OpenAI's bytes: the unary body and the events of a stream.

The events of one stream differ only in their delta, so that everything around it is encoded once.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import msgspec

from trunkline_server.simulator.openai.errors import error_event

if TYPE_CHECKING:
    from trunkline_server.simulator.answer import Answer, Call
    from trunkline_server.simulator.failure import Trouble

FINGERPRINT = "fp_trunkline_sim"
DONE = b"data: [DONE]\n\n"
COMMENT = b": ping\n\n"
MALFORMED = b'data: {"id":"chatcmpl-sim","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"conte\n\n'
"""An event that is no JSON: cut off inside an object."""

_encode = msgspec.json.encode


class Envelope(msgspec.Struct, frozen=True):
    """What the answer says about itself, and what was asked to go with it."""

    id: str
    created: int
    model: str
    logprobs: int | None
    """How many alternatives a token; None: no log-probabilities."""
    include_usage: bool


def usage(answer: Answer) -> dict[str, Any]:
    """Return the usage object."""
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": answer.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def unary_body(answer: Answer, envelope: Envelope) -> bytes:
    """Return the whole JSON body of an answer without a stream."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if answer.calls and not answer.text else "".join(answer.text),
        "refusal": "".join(answer.refusal) or None,
        "annotations": [],
    }
    if answer.refusal:
        message["content"] = None
    if answer.reasoning:
        message["reasoning_content"] = "".join(answer.reasoning)
    if answer.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": "".join(call.pieces)}}
            for call in answer.calls
        ]
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None
        if envelope.logprobs is None
        else {"content": [_logprob(text, envelope.logprobs) for text in answer.text], "refusal": None},
        "finish_reason": answer.finish_reason,
    }
    return _encode(
        {
            "id": envelope.id,
            "object": "chat.completion",
            "created": envelope.created,
            "model": envelope.model,
            "choices": [] if answer.no_choices else [choice],
            "usage": usage(answer),
            "service_tier": "default",
            "system_fingerprint": FINGERPRINT,
        }
    )


class StreamEvents:
    """The events of one stream, each whole (`data: …` and its empty line), ready to be framed and written."""

    def __init__(self, answer: Answer, envelope: Envelope) -> None:
        self._answer = answer
        self._envelope = envelope
        self._head = b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,' % (
            _encode(envelope.id),
            envelope.created,
            _encode(envelope.model),
        ) + b'"service_tier":"default","system_fingerprint":%b,"choices":[' % _encode(FINGERPRINT)
        self._usage_null = b',"usage":null}\n\n' if envelope.include_usage else b"}\n\n"
        self._delta = self._head + b'{"index":0,"delta":'
        self._tail = b',"logprobs":null,"finish_reason":null}]' + self._usage_null

    def __len__(self) -> int:
        """Return the number of content events."""
        return 0 if self._answer.no_choices else self._answer.completion_tokens

    def opening(self) -> bytes:
        """Return the first event, which says who speaks (with `choices` empty: says nothing)."""
        if self._answer.no_choices:
            return self._head + b"]" + self._usage_null
        return self._delta + b'{"role":"assistant","content":"","refusal":null}' + self._tail

    def contents(self) -> Iterator[bytes]:
        """Yield the content events in their order: reasoning, text, refusal, tool calls."""
        answer = self._answer
        yield from self._texts(b"reasoning_content", answer.reasoning)
        if self._envelope.logprobs is None:
            yield from self._texts(b"content", answer.text)
        else:
            for text in answer.text:
                yield self._with_logprob(text, self._envelope.logprobs)
        yield from self._texts(b"refusal", answer.refusal)
        yield from self._calls()

    def _texts(self, name: bytes, texts: list[str]) -> Iterator[bytes]:
        before, after = self._delta + b'{"' + name + b'":', b"}" + self._tail
        last_text, last_event = "", b""
        for text in texts:
            if text is not last_text:
                last_text, last_event = text, before + _encode(text) + after
            yield last_event

    def _with_logprob(self, text: str, alternatives: int) -> bytes:
        logprobs = _encode({"content": [_logprob(text, alternatives)], "refusal": None})
        return b'%b{"content":%b},"logprobs":%b,"finish_reason":null}]%b' % (
            self._delta,
            _encode(text),
            logprobs,
            self._usage_null,
        )

    def _calls(self) -> Iterator[bytes]:
        series = [self._call(index, call) for index, call in enumerate(self._answer.calls)]
        if self._answer.interleaved:
            for row in zip_longest(*series):
                yield from (event for event in row if event is not None)
        else:
            for events in series:
                yield from events

    def _call(self, index: int, call: Call) -> Iterator[bytes]:
        for number, piece in enumerate(call.pieces):
            part: dict[str, Any] = {"index": index, "function": {"arguments": piece}}
            if number == 0:
                part = {
                    "index": index,
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": piece},
                }
            yield self._delta + _encode({"tool_calls": [part]}) + self._tail

    def ending(self, *, done: bool) -> bytes:
        """Return the finish reason (not with `choices` empty), usage and no choices if it was asked for, `[DONE]`."""
        answer, last = self._answer, b""
        if not answer.no_choices and answer.finish_reason is not None:
            reason = _encode(answer.finish_reason)
            last += b'%b{},"logprobs":null,"finish_reason":%b}]%b' % (self._delta, reason, self._usage_null)
        if self._envelope.include_usage:
            last += self._head + b'],"usage":' + _encode(usage(answer)) + b"}\n\n"
        return last + DONE if done else last

    def heartbeat(self) -> bytes:
        """Return a comment."""
        return COMMENT

    def malformed(self) -> bytes:
        """Return an event that is no JSON."""
        return MALFORMED

    def error(self, trouble: Trouble) -> bytes:
        """Return an event that is an error object."""
        return b"data: " + error_event(trouble) + b"\n\n"


def _logprob(text: str, alternatives: int) -> dict[str, Any]:
    """Return made-up figures that are the same for the same text."""
    likely = -(zlib.crc32(text.encode()) % 1000) / 2000
    tokens = [(text, likely), *((f"{text.strip()}~{rank}", likely - rank) for rank in range(1, alternatives))]
    told = [{"token": token, "logprob": value, "bytes": list(token.encode())} for token, value in tokens]
    return {**told[0], "top_logprobs": told[:alternatives]}
