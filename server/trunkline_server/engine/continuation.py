"""Going on from a text that broke off: whether it can be done, what is asked for, and how much may still come."""

from __future__ import annotations

from dataclasses import replace

from trunkline_server.chat.answer import Usage
from trunkline_server.chat.message import Message, Role, TextPart
from trunkline_server.chat.request import ChatRequest
from trunkline_server.engine.frames import ContinuationMethod
from trunkline_server.engine.standing import Standing

_BYTES_PER_TOKEN = 4
"""Our estimate where a provider did not count."""

GO_ON = (
    "Your last message was cut off before it was finished. Go on from exactly where it ends: write only what comes "
    "next, beginning in the middle of a sentence or word if that is where it ends. Do not repeat anything that you "
    "have already written, and do not comment on the interruption."
)
"""How a target without the capability `prefill` is asked to go on."""


def continued_request(
    request: ChatRequest, sent_text: str, method: ContinuationMethod, left_tokens: int | None
) -> ChatRequest:
    """Return the request that makes a target go on from `sent_text`, with `left_tokens` as its limit if there is one.

    `sent_text` ends without white space (OverlapCutter.sent): some providers refuse it otherwise.
    """
    messages = (*request.messages, Message(Role.ASSISTANT, (TextPart(sent_text),)))
    if method is ContinuationMethod.PROMPTED:
        messages = (*messages, Message(Role.USER, (TextPart(GO_ON),)))
    sampling = request.sampling
    if left_tokens is not None:
        sampling = replace(sampling, max_output_tokens=left_tokens)
    return replace(request, messages=messages, sampling=sampling)


def left_output_tokens(request: ChatRequest, delivered_text: str, usage: Usage | None) -> int | None:
    """Return how many tokens may still come, at least 0; None if the request set no limit."""
    limit = request.sampling.max_output_tokens
    if limit is None:
        return None
    used = None if usage is None else usage.output_tokens
    if used is None:
        used = -(-len(delivered_text.encode()) // _BYTES_PER_TOKEN)
    return max(0, limit - used)


def cannot_continue(request: ChatRequest, standing: Standing) -> str:
    """Return in words why another target cannot go on with this answer; empty if it can.

    What stands must have been kept as text. Tool calls that are done, and what targets can do, are judged elsewhere.
    """
    if request.output is not None:
        return "JSON output cannot be continued by another target"
    if request.sampling.top_logprobs is not None:
        return "log-probabilities cannot be continued by another target"
    if standing.has_refusal:
        return "the model was refusing"
    if not standing.text_before_open.strip():
        return "there is no text yet to go on from"
    return ""
