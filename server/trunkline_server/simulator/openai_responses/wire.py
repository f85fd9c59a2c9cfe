"""The objects of the Responses API: a response and the items of its output."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import msgspec

from trunkline_server.simulator.openai_responses.seals import seal_of

if TYPE_CHECKING:
    from trunkline_server.simulator.answer import Answer

INCOMPLETE_REASONS = {"length": "max_output_tokens"}
"""Our names of finish reasons to the vendor's of an incomplete response; others are sent as they are."""

COMPLETE = ("stop", "tool_calls")


class Envelope(msgspec.Struct, frozen=True):
    """What the answer says about itself, and what was asked to go with it."""

    number: int
    created: int
    model: str
    seals: bool
    """Reasoning goes out sealed too."""
    logprobs: int | None
    """How many alternatives a token; None: no log-probabilities."""
    echoed: dict[str, Any]
    """What a response repeats of its request."""

    @property
    def id(self) -> str:
        """The response's id."""
        return f"resp_sim{self.number:08d}"

    def item_id(self, kind: str, index: int) -> str:
        """Return the id of the item at `index`; `kind` is what it begins with."""
        return f"{kind}_sim{self.number:08d}{index:02d}"


def status_of(answer: Answer) -> str:
    """Return how the response ends."""
    return "completed" if answer.finish_reason in COMPLETE else "incomplete"


def items_of(answer: Answer, envelope: Envelope) -> list[dict[str, Any]]:
    """Return the items of a whole answer, in the order in which a stream tells them."""
    if answer.no_choices:
        return []
    items: list[dict[str, Any]] = []
    # Only the last item of what was cut is incomplete.
    if answer.reasoning:
        items.append(reasoning_item(envelope, 0, "".join(answer.reasoning)))
    if answer.text or answer.refusal or not answer.calls:
        items.append(message_item(answer, envelope, len(items)))
    for call in answer.calls:
        items.append(
            {
                "type": "function_call",
                "id": envelope.item_id("fc", len(items)),
                "call_id": call.id,
                "name": call.name,
                "arguments": "".join(call.pieces),
                "status": "completed",
            }
        )
    if items and status_of(answer) == "incomplete" and "status" in items[-1]:
        items[-1]["status"] = "incomplete"
    return items


def reasoning_item(envelope: Envelope, index: int, text: str) -> dict[str, Any]:
    """Return an item of reasoning with its summary."""
    item_id = envelope.item_id("rs", index)
    item: dict[str, Any] = {"type": "reasoning", "id": item_id}
    item["summary"] = [{"type": "summary_text", "text": text}] if text else []
    if envelope.seals:
        item["encrypted_content"] = seal_of(item_id)
    return item


def message_item(answer: Answer, envelope: Envelope, index: int) -> dict[str, Any]:
    """Return the message; a refusal stands in place of the text."""
    if answer.refusal:
        content: dict[str, Any] = {"type": "refusal", "refusal": "".join(answer.refusal)}
    else:
        logprobs = [] if envelope.logprobs is None else [logprob(text, envelope.logprobs) for text in answer.text]
        content = {"type": "output_text", "text": "".join(answer.text), "annotations": [], "logprobs": logprobs}
    return {
        "type": "message",
        "id": envelope.item_id("msg", index),
        "role": "assistant",
        "status": "completed",
        "content": [content],
    }


def response_of(answer: Answer, envelope: Envelope, items: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a whole response; without a finish reason it has no status."""
    ended = answer.finish_reason is not None
    status = status_of(answer) if ended else None
    reason = None
    if status == "incomplete":
        reason = {"reason": INCOMPLETE_REASONS.get(str(answer.finish_reason), answer.finish_reason)}
    response = {
        **started(envelope),
        "status": status,
        "completed_at": envelope.created if ended else None,
        "incomplete_details": reason,
        "output": items,
        "usage": usage(answer),
    }
    if status is None:
        del response["status"]
    return response


def started(envelope: Envelope) -> dict[str, Any]:
    """Return a response that has just begun."""
    return {
        "id": envelope.id,
        "object": "response",
        "created_at": envelope.created,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": envelope.model,
        "output": [],
        "usage": None,
        **envelope.echoed,
    }


def usage(answer: Answer) -> dict[str, Any]:
    """Return the usage object."""
    return {
        "input_tokens": answer.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": answer.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
    }


def logprob(text: str, alternatives: int) -> dict[str, Any]:
    """Return made-up figures that are the same for the same text."""
    likely = -(zlib.crc32(text.encode()) % 1000) / 2000
    tokens = [(text, likely), *((f"{text.strip()}~{rank}", likely - rank) for rank in range(1, alternatives))]
    told = [{"token": token, "logprob": value, "bytes": list(token.encode())} for token, value in tokens]
    return {**told[0], "top_logprobs": told[:alternatives]}
