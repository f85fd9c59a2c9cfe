"""Streams of every wire that end where they should not: never whole, never hanging, and blamed on whoever did it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from tests.providers.test_views_agree import EVERY, MARK, TOOLS, adapter_of, job_of

from trunkline_server.chat.message import Message, Role, TextPart
from trunkline_server.chat.request import ChatRequest
from trunkline_server.providers.base import Adapter, AttemptError, StreamDecoder
from trunkline_server.routing.failures import Blame, FailureClass
from trunkline_server.simulator.answer import make_answer
from trunkline_server.simulator.dialect import Events
from trunkline_server.simulator.failure import Trouble
from trunkline_server.simulator.scenario import Fault

REQUEST = ChatRequest("m", (Message(Role.USER, (TextPart("hi"),)),), "r", tools=TOOLS)
SAID = Fault(content="one two three", reasoning="let me see", tool_calls=2)
OVERLOAD = Trouble(name="overloaded", model="m")


def events_of(adapter: Adapter, protocol: str, fault: Fault = SAID) -> Events:
    """Return the events of an answer in the vendor's words."""
    job = job_of(adapter, protocol, REQUEST, stream=True)
    return job.events(make_answer(job.ask, fault, 1), MARK)


def read(adapter: Adapter, chunks: Iterable[bytes]) -> StreamDecoder | FailureClass:
    """Return the decoder of a whole answer, or the class of its failure."""
    decoder = adapter.stream_decoder(REQUEST)
    try:
        for chunk in chunks:
            decoder.feed(chunk)
        decoder.close()
    except AttemptError as error:
        return error.failure.failure_class
    assert decoder.failure is None
    return decoder


@EVERY
def test_a_stream_without_its_terminal_sign_is_truncated(protocol: str, wire: str) -> None:
    """Wherever it stops, half a call or half a thought included; with nothing in it at all it is no answer."""
    adapter = adapter_of(protocol, wire)
    events = events_of(adapter, protocol)
    contents = list(events.contents())
    assert read(adapter, []) is FailureClass.PROTOCOL
    for end in range(1, len(contents) + 1):
        assert read(adapter, [events.opening(), *contents[:end]]) is FailureClass.TRUNCATED


@EVERY
def test_what_comes_after_the_terminal_sign_takes_nothing_back(protocol: str, wire: str) -> None:
    """An error, garbage or a broken event behind a whole answer leaves it whole."""
    adapter = adapter_of(protocol, wire)
    events = events_of(adapter, protocol)
    whole = [events.opening(), *events.contents(), events.ending(done=True)]
    first = read(adapter, whole)
    assert not isinstance(first, FailureClass)
    for more in (events.error(OVERLOAD), events.malformed(), b"\xff" * 100, b"data: {\n\n", b'{"error": "x"}'):
        again = read(adapter, [*whole, more])
        assert not isinstance(again, FailureClass), more
        assert (again.finished, again.usage) == (first.finished, first.usage)


@EVERY
@pytest.mark.parametrize("after", [0, 1, 5])
def test_an_overload_inside_a_stream_is_the_provider_s(protocol: str, wire: str, after: int) -> None:
    """At its start or in the middle of the answer: it is no fault of the caller's nor of a key's."""
    adapter = adapter_of(protocol, wire)
    events = events_of(adapter, protocol)
    chunks = [events.opening(), *list(events.contents())[:after], events.error(OVERLOAD), events.ending(done=True)]
    failure = read(adapter, chunks)
    assert failure in {FailureClass.OVERLOADED, FailureClass.SERVER_ERROR}
    decoder = adapter.stream_decoder(REQUEST)
    with pytest.raises(AttemptError) as caught:
        decoder.feed(events.error(OVERLOAD))
    assert caught.value.failure.rule.blame is Blame.PROVIDER
