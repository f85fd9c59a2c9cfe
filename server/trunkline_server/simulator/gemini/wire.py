"""The service's bytes: a whole answer, printed on many lines, and the events of a stream, one chunk of text each.

A call comes whole, however many pieces it was made of, or not at all; a chunk of a stream has the same form as a whole
answer.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from trunkline_server.simulator.gemini.errors import error_object
from trunkline_server.simulator.gemini.seals import signature_of_call, signature_of_text

if TYPE_CHECKING:
    from trunkline_server.simulator.answer import Answer, Call
    from trunkline_server.simulator.failure import Trouble

COMMENT = b": ping\r\n\r\n"
MALFORMED = b'data: {"candidates": [{"content": {"parts": [{"te\r\n\r\n'
"""An event that is no JSON: cut off inside an object."""

REASONS = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP", "content_filter": "SAFETY"}
"""The service's words for why an answer ended."""

_encode = msgspec.json.encode


class Envelope(msgspec.Struct, frozen=True):
    """What the answer says about itself, and what was asked to go with it."""

    id: str
    model: str
    signs_calls: bool
    has_ids: bool
    shows_thoughts: bool
    logprobs: int | None = None
    """How many alternatives a token; None: no log-probabilities."""
    on_vertex: bool = False


def usage(answer: Answer, so_far: int | None = None) -> dict[str, Any]:
    """Return the usage object; `so_far`: tokens of text and calls until now, all if None."""
    said = answer.completion_tokens - answer.reasoning_tokens if so_far is None else so_far
    told: dict[str, Any] = {"promptTokenCount": answer.prompt_tokens}
    if said:
        told["candidatesTokenCount"] = said
    if answer.reasoning:
        told["thoughtsTokenCount"] = answer.reasoning_tokens
    told["totalTokenCount"] = answer.prompt_tokens + said + answer.reasoning_tokens
    told["promptTokensDetails"] = [{"modality": "TEXT", "tokenCount": answer.prompt_tokens}]
    return told


def unary_body(answer: Answer, envelope: Envelope) -> bytes:
    """Return the whole JSON body of an answer without a stream."""
    parts: list[dict[str, Any]] = []
    if answer.reasoning and envelope.shows_thoughts:
        parts.append({"text": "".join(answer.reasoning), "thought": True})
    if said := "".join((*answer.text, *answer.refusal)):
        part: dict[str, Any] = {"text": said}
        if answer.reasoning and not answer.calls:
            part["thoughtSignature"] = signature_of_text(said)
        parts.append(part)
    parts += call_parts(answer, envelope)
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"} if parts else {"role": "model"}}
    if (reason := native_reason(answer)) is not None:
        candidate["finishReason"] = reason
    candidate["index"] = 0
    if envelope.logprobs is not None and answer.text:
        candidate["logprobsResult"] = _logprobs(answer.text, envelope.logprobs)
    body = _chunk(envelope, [] if answer.no_choices else [candidate], usage(answer))
    return msgspec.json.format(_encode(body), indent=2)


def native_reason(answer: Answer) -> str | None:
    """Return why the answer ended; a call that the model wrote wrongly is a reason of its own."""
    reason = answer.finish_reason
    if reason == "tool_calls" and len(_whole_calls(answer)) < len(answer.calls):
        return "MALFORMED_FUNCTION_CALL"
    return None if reason is None else REASONS.get(reason, reason)


def call_parts(answer: Answer, envelope: Envelope) -> list[dict[str, Any]]:
    """Return the calls, the first one signed."""
    parts: list[dict[str, Any]] = []
    for call, args in _whole_calls(answer):
        function: dict[str, Any] = {"name": call.name, "args": args}
        if envelope.has_ids:
            function["id"] = call.id
        part: dict[str, Any] = {"functionCall": function}
        if not parts and envelope.signs_calls:
            part["thoughtSignature"] = signature_of_call(call.name, args)
        parts.append(part)
    return parts


def _whole_calls(answer: Answer) -> list[tuple[Call, dict[str, Any]]]:
    """Return the calls whose arguments are a JSON object, with them."""
    found: list[tuple[Call, dict[str, Any]]] = []
    for call in answer.calls:
        try:
            args = msgspec.json.decode("".join(call.pieces) or "{}")
        except msgspec.DecodeError:
            continue
        if isinstance(args, dict):
            found.append((call, args))
    return found


def _chunk(envelope: Envelope, candidates: list[dict[str, Any]], counts: dict[str, Any]) -> dict[str, Any]:
    chunk: dict[str, Any] = {"candidates": candidates} if candidates else {}
    chunk["usageMetadata"] = {**counts, "trafficType": "ON_DEMAND"} if envelope.on_vertex else counts
    return {**chunk, "modelVersion": envelope.model, "responseId": envelope.id}


def _logprobs(texts: list[str], alternatives: int) -> dict[str, Any]:
    chosen = [_logprob(text) for text in texts]
    found: dict[str, Any] = {"chosenCandidates": chosen}
    if alternatives:
        found["topCandidates"] = [{"candidates": [token, *_others(token, alternatives - 1)]} for token in chosen]
    return found


def _others(token: dict[str, Any], count: int) -> list[dict[str, Any]]:
    return [{**token, "token": f"{token['token']}{at}", "logProbability": -9.0} for at in range(count)]


def _logprob(text: str) -> dict[str, Any]:
    number = zlib.crc32(text.encode())
    return {"token": text, "tokenId": number % 250_000, "logProbability": round(-math.log1p(number % 97) / 4, 6)}


class StreamEvents:
    """The events of one stream, each whole, ready to be framed and written."""

    def __init__(self, answer: Answer, envelope: Envelope) -> None:
        self._answer = answer
        self._envelope = envelope
        self._thoughts = answer.reasoning if envelope.shows_thoughts else []
        self._calls = call_parts(answer, envelope)

    def __len__(self) -> int:
        """Return the number of content events."""
        answer = self._answer
        if answer.no_choices:
            return 0
        return len(self._thoughts) + len(answer.text) + len(answer.refusal) + len(self._calls)

    def opening(self) -> bytes:
        """Return nothing: a stream begins with its first content."""
        return b""

    def contents(self) -> Iterator[bytes]:
        """Yield the content events in their order: thoughts, text or words of refusal, calls."""
        answer, said = self._answer, 0
        for thought in self._thoughts:
            yield self._event([{"text": thought, "thought": True}], 0)
        for text in (*answer.text, *answer.refusal):
            said += 1
            extra: dict[str, Any] = {}
            if self._envelope.logprobs is not None:
                extra["logprobsResult"] = _logprobs([text], self._envelope.logprobs)
            yield self._event([{"text": text}], said, **extra)
        for part in self._calls:
            said += 1
            yield self._event([part], said)

    def ending(self, *, done: bool) -> bytes:
        """Return the last chunk, with the reason and the whole count; the service has no sign beside the reason."""
        del done
        answer = self._answer
        if answer.no_choices:
            return _framed(_chunk(self._envelope, [], usage(answer)))
        part: dict[str, Any] = {"text": ""}
        if answer.reasoning and not answer.calls:
            part["thoughtSignature"] = signature_of_text("")
        extra: dict[str, Any] = {}
        if (reason := native_reason(answer)) is not None:
            extra["finishReason"] = reason
        empty = answer.finish_reason == "content_filter" and not len(self)
        return self._event([] if empty else [part], None, **extra)

    def heartbeat(self) -> bytes:
        """Return a comment."""
        return COMMENT

    def malformed(self) -> bytes:
        """Return an event that is no JSON."""
        return MALFORMED

    def error(self, trouble: Trouble) -> bytes:
        """Return an event that is an error."""
        return _framed(error_object(trouble, trouble.name or "server_error"))

    def _event(self, parts: list[dict[str, Any]], said: int | None, **extra: Any) -> bytes:
        content = {"parts": parts, "role": "model"} if parts else {"role": "model"}
        candidate = {"content": content, **extra, "index": 0}
        return _framed(_chunk(self._envelope, [candidate], usage(self._answer, said)))


def _framed(body: dict[str, Any]) -> bytes:
    return b"data: " + _encode(body) + b"\r\n\r\n"
