"""What an adapter leaves behind: nothing that only a garbage collector could find, which would stop every call."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from tests.providers.test_views_agree import EVERY, MARK, MODELS, TOOLS, adapter_of, job_of

from trunkline_server.chat.message import (
    MediaPart,
    Message,
    Role,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from trunkline_server.chat.request import ChatRequest
from trunkline_server.providers.base import Adapter, AttemptError
from trunkline_server.simulator.answer import make_answer
from trunkline_server.simulator.scenario import Fault

CONVERSATION = (
    Message(Role.SYSTEM, (TextPart("be brief"),)),
    Message(Role.USER, (TextPart("hi"), MediaPart("image/png", data=b"\x89PNG"))),
    Message(Role.ASSISTANT, (ThinkingPart("hm", provider="elsewhere"), ToolCallPart("call_1", "now", "{}"))),
    Message(Role.TOOL, (ToolResultPart("call_1", (TextPart("noon"),)),)),
)
SAID = Fault(content="one two", reasoning="let me see", tool_calls=2)


@contextmanager
def only_garbage() -> Iterator[Counter[str]]:
    """Count by type what a collection finds that became garbage inside; the count is there when it ends."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    found: Counter[str] = Counter()
    try:
        yield found
        gc.collect()
        found.update(type(each).__qualname__ for each in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def one_call(adapter: Adapter, protocol: str, request: ChatRequest, chunks: Sequence[bytes]) -> None:
    """Encode a request, and read a stream of these chunks to its end or its failure."""
    adapter.encode(request, protocol, MODELS[protocol], stream=True)
    decoder = adapter.stream_decoder(request)
    try:
        for chunk in chunks:
            decoder.feed(chunk)
        decoder.close()
    except AttemptError:
        pass  # the stream was cut, or holds an error: what is left of it is looked at


@EVERY
@pytest.mark.parametrize("ends", ["whole", "cut", "garbage"])
def test_a_call_leaves_no_circle(protocol: str, wire: str, ends: str) -> None:
    """A request and its stream are gone by counting references alone, however the stream ended."""
    adapter = adapter_of(protocol, wire)
    request = ChatRequest("m", CONVERSATION, "r", tools=TOOLS)
    job = job_of(adapter, protocol, request, stream=True)
    events = job.events(make_answer(job.ask, SAID, 1), MARK)
    last = {"whole": events.ending(done=True), "cut": b"", "garbage": events.malformed()}[ends]
    chunks = [events.opening(), *events.contents(), last]
    one_call(adapter, protocol, request, chunks)  # what is made once
    with only_garbage() as found:
        one_call(adapter, protocol, request, chunks)
    assert found == Counter()
