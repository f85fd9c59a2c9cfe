"""A chat completion of a deployment: OpenAI's, with what the content filter says of prompt and answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from trunkline_server.simulator.azure_openai.errors import FILTERED, SAFE, error_body
from trunkline_server.simulator.dialect import EVENT_STREAM_TYPE

if TYPE_CHECKING:
    from trunkline_server.simulator.answer import Answer
    from trunkline_server.simulator.dialect import Events, Mark
    from trunkline_server.simulator.failure import Trouble
    from trunkline_server.simulator.openai.chat import ChatJob

_encode = msgspec.json.encode
_PROMPT = [{"prompt_index": 0, "content_filter_results": SAFE}]

_CHOICE = b'"choices":[{'


class AzureChatJob:
    """One request for a chat completion of a deployment."""

    stream_type = EVENT_STREAM_TYPE

    def __init__(self, chat: ChatJob) -> None:
        self._chat = chat
        self.ask = chat.ask

    def body(self, answer: Answer, mark: Mark) -> bytes:
        """See Job."""
        body: dict[str, Any] = msgspec.json.decode(self._chat.body(answer, mark))
        for choice in body["choices"]:
            choice["content_filter_results"] = _said_of(answer)
        return _encode({**body, "prompt_filter_results": _PROMPT})

    def events(self, answer: Answer, mark: Mark) -> FilteredEvents:
        """See Job."""
        return FilteredEvents(self._chat.events(answer, mark), answer)


class FilteredEvents:
    """The events of a stream behind the default filter: the prompt's results come first, each piece has its own."""

    def __init__(self, events: Events, answer: Answer) -> None:
        self._events = events
        self._answer = answer
        self._noted = _results(SAFE)

    def __len__(self) -> int:
        """Return the number of content events."""
        return len(self._events)

    def opening(self) -> bytes:
        """Return the prompt's results, without choices, and who speaks."""
        nothing: dict[str, Any] = {"id": "", "object": "", "created": 0, "model": "", "choices": [], "usage": None}
        prompt = _encode({**nothing, "prompt_filter_results": _PROMPT})
        return b"data: %b\n\n" % prompt + self._events.opening()

    def contents(self) -> Iterator[bytes]:
        """Yield the content events."""
        for event in self._events.contents():
            yield event.replace(_CHOICE, self._noted, 1)

    def ending(self, *, done: bool) -> bytes:
        """Return the end; a filtered one says by what."""
        noted = _results(_said_of(self._answer))
        return self._events.ending(done=done).replace(_CHOICE, noted, 1)

    def heartbeat(self) -> bytes:
        """Return a comment."""
        return self._events.heartbeat()

    def malformed(self) -> bytes:
        """Return an event that is no JSON."""
        return self._events.malformed()

    def error(self, trouble: Trouble) -> bytes:
        """Return an event that is an error object."""
        return b"data: %b\n\n" % error_body(trouble)


def _results(results: dict[str, Any]) -> bytes:
    """Return how a choice begins; the vendor writes fields in the order of their names."""
    return b'%b"content_filter_results":%b,' % (_CHOICE, _encode(results))


def _said_of(answer: Answer) -> dict[str, Any]:
    """Return what the filter says of a whole answer."""
    return FILTERED if answer.finish_reason == "content_filter" else SAFE
