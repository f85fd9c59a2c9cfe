"""The events of one streamed response, numbered in the order in which they go out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import msgspec

from trunkline_server.simulator.openai.errors import error_event
from trunkline_server.simulator.openai_responses.wire import items_of, logprob, response_of, started, status_of

if TYPE_CHECKING:
    from trunkline_server.simulator.answer import Answer, Call
    from trunkline_server.simulator.failure import Trouble
    from trunkline_server.simulator.openai_responses.wire import Envelope

COMMENT = b": ping\n\n"
MALFORMED = (
    b"event: response.output_text.delta\n"
    b'data: {"type":"response.output_text.delta","item_id":"msg_sim","output_index":0,"delta":"con\n\n'
)
"""An event that is no JSON: cut off inside a string."""

_encode = msgspec.json.encode


class StreamEvents:
    """The events of one stream, each whole. What opens or ends an item goes out with the content next to it."""

    def __init__(self, answer: Answer, envelope: Envelope) -> None:
        self._answer = answer
        self._envelope = envelope
        self._items = items_of(answer, envelope)
        self._number = 0
        self._closing = b""
        """What ends the items that have been said in full."""

    def __len__(self) -> int:
        """Return the number of content events."""
        return 0 if self._answer.no_choices else self._answer.completion_tokens

    def opening(self) -> bytes:
        """Return the events that tell of the response itself."""
        response = started(self._envelope)
        return self._event("response.created", response=response) + self._event(
            "response.in_progress", response=response
        )

    def contents(self) -> Iterator[bytes]:
        """Yield the content events in their order: reasoning, text or refusal, calls."""
        answer = self._answer
        index = 0
        if answer.reasoning:
            yield from self._reasoning(index)
            index += 1
        if answer.text or answer.refusal or not answer.calls:
            yield from self._message(index)
            index += 1
        yield from self._calls(index)

    def ending(self, *, done: bool) -> bytes:
        """Return the ends of items and the last event, which is the only sign of an end that there is."""
        del done
        last, self._closing = self._closing, b""
        if self._answer.finish_reason is not None:
            response = response_of(self._answer, self._envelope, self._items)
            last += self._event(f"response.{status_of(self._answer)}", response=response)
        return last

    def heartbeat(self) -> bytes:
        """Return a comment."""
        return COMMENT

    def malformed(self) -> bytes:
        """Return an event that is no JSON."""
        return MALFORMED

    def error(self, trouble: Trouble) -> bytes:
        """Return an error event."""
        error = json.loads(error_event(trouble))["error"]
        return self._event("error", code=error["code"], message=error["message"], param=error["param"])

    def _event(self, kind: str, **fields: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        body = _encode({"type": kind, "sequence_number": number, **fields})
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), body)

    def _reasoning(self, index: int) -> Iterator[bytes]:
        item = self._items[index]
        at = {"item_id": item["id"], "output_index": index, "summary_index": 0}
        empty, whole = {"type": "summary_text", "text": ""}, item["summary"][0]
        before = self._event("response.output_item.added", output_index=index, item={**item, "summary": []})
        before += self._event("response.reasoning_summary_part.added", **at, part=empty)
        for text in self._answer.reasoning:
            yield before + self._event("response.reasoning_summary_text.delta", **at, delta=text)
            before = b""
        self._closing += self._event("response.reasoning_summary_text.done", **at, text=whole["text"])
        self._closing += self._event("response.reasoning_summary_part.done", **at, part=whole)
        self._closing += self._event("response.output_item.done", output_index=index, item=item)

    def _message(self, index: int) -> Iterator[bytes]:
        item = self._items[index] if self._items else None
        if item is None:
            return
        content = item["content"][0]
        kind = "refusal" if content["type"] == "refusal" else "output_text"
        field = "refusal" if kind == "refusal" else "text"
        at = {"item_id": item["id"], "output_index": index, "content_index": 0}
        opened = {**item, "status": "in_progress", "content": []}
        before, self._closing = self._closing, b""
        before += self._event("response.output_item.added", output_index=index, item=opened)
        part = {**content, field: "", **({} if kind == "refusal" else {"logprobs": []})}
        before += self._event("response.content_part.added", **at, part=part)
        for text in self._answer.refusal or self._answer.text:
            yield before + self._event(f"response.{kind}.delta", **at, delta=text, **self._logprobs(kind, text))
            before = b""
        logprobs = {} if kind == "refusal" else {"logprobs": content["logprobs"]}
        self._closing = before + self._event(f"response.{kind}.done", **at, **{field: content[field]}, **logprobs)
        self._closing += self._event("response.content_part.done", **at, part=content)
        self._closing += self._event("response.output_item.done", output_index=index, item=item)

    def _logprobs(self, kind: str, text: str) -> dict[str, Any]:
        if kind == "refusal":
            return {}
        asked = self._envelope.logprobs
        return {"logprobs": [] if asked is None else [logprob(text, asked)]}

    def _calls(self, first: int) -> Iterator[bytes]:
        series = [self._call(first + number, call) for number, call in enumerate(self._answer.calls)]
        if self._answer.interleaved:
            for row in zip_longest(*series):
                yield from (event for event in row if event is not None)
        else:
            for events in series:
                yield from events

    def _call(self, index: int, call: Call) -> Iterator[bytes]:
        item = self._items[index]
        at = {"item_id": item["id"], "output_index": index}
        opened = {**item, "arguments": "", "status": "in_progress"}
        before, self._closing = self._closing, b""
        before += self._event("response.output_item.added", output_index=index, item=opened)
        for piece in call.pieces:
            ended, self._closing = self._closing, b""
            yield before + ended + self._event("response.function_call_arguments.delta", **at, delta=piece)
            before = b""
        whole = {"arguments": item["arguments"], "name": item["name"]}
        self._closing += self._event("response.function_call_arguments.done", **at, **whole)
        self._closing += self._event("response.output_item.done", output_index=index, item=item)
