"""What the decoders of all protocols share: how a streamed answer ends, whole, broken or cut off."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

from trunkline_server.chat.answer import Delta, Finished, Usage, Warning_
from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.dropped import Dropped
from trunkline_server.providers.failures import protocol_error
from trunkline_server.providers.sse import EventTooLargeError, SseDecoder, SseEvent
from trunkline_server.routing.failures import Failure

_JSON: Final = (b"{", b"[")


class AnswerStream(ABC):
    """Decodes one streamed answer. See `StreamDecoder` for the protocol.

    What was decoded before a failure in the same chunk is returned first, and the failure raised by the next call,
    so that the result does not depend on how the bytes were cut; `failure` says at once that it waits. A vendor's
    decoder reads events: it sets `_finished` when the terminal one came, `_seen` when any came, and `_done` when
    nothing further is to be read.
    """

    __slots__ = ("_done", "_dropped", "_failure", "_finished", "_seen")

    def __init__(self) -> None:
        self._done = False
        self._dropped = Dropped()
        self._seen = False
        self._finished: Finished | None = None
        self._failure: Failure | None = None

    @property
    def finished(self) -> Finished | None:
        """The terminal event, once it came."""
        return self._finished

    @property
    @abstractmethod
    def usage(self) -> Usage | None:
        """What the provider counted so far."""

    @property
    def warnings(self) -> tuple[Warning_, ...]:
        """What of the answer could not be carried over so far."""
        return self._dropped.warnings

    @property
    def failure(self) -> Failure | None:
        """The failure that ended the stream: raised already, or to be raised by the next `feed` or `close`."""
        return self._failure

    def feed(self, chunk: bytes) -> list[Delta]:
        """Return the deltas that `chunk` completed; raise AttemptError for an error event or garbage."""
        if self._failure is not None:
            raise AttemptError(self._failure)
        deltas: list[Delta] = []
        if self._done:
            return deltas
        try:
            self._read(chunk, deltas)
        except AttemptError as error:
            # An error that its own frame holds would lie around until the garbage collector finds it.
            self._failure = error.failure
        if self._failure is not None and not deltas:
            raise AttemptError(self._failure)
        return deltas

    def close(self) -> list[Delta]:
        """Tell that the body has ended in order; raise AttemptError if the answer is not whole."""
        if self._failure is None:
            if self._finished is not None:
                return []
            self._failure = self._not_whole().failure
        raise AttemptError(self._failure)

    @abstractmethod
    def _read(self, chunk: bytes, deltas: list[Delta]) -> None:
        """Append what `chunk` completed to `deltas`; raise AttemptError for an error event or garbage."""

    @abstractmethod
    def _not_whole(self) -> AttemptError:
        """Return what an answer is that ended without its terminal event."""

    def _framing_broken(self, error: Exception) -> None:
        """Read no further, since events cannot be told apart any more; an answer that is whole stays so."""
        self._done = True
        if self._finished is None:
            self._failure = protocol_error(str(error)).failure


class SseAnswerStream(AnswerStream):
    """Decodes one answer that comes as server-sent events."""

    __slots__ = ("_sse",)

    def __init__(self) -> None:
        super().__init__()
        self._sse = SseDecoder()

    def _read(self, chunk: bytes, deltas: list[Delta]) -> None:
        try:
            for event in self._sse.feed(chunk):
                self._event(event, deltas)
        except EventTooLargeError as error:
            self._framing_broken(error)

    def close(self) -> list[Delta]:
        """Tell that the body has ended in order; raise AttemptError if the answer is not whole.

        A body that is no stream but an error alone, or ends with one outside of any event, fails with that error.
        """
        if self._failure is None and self._finished is None and (rest := self._sse.rest).startswith(_JSON):
            self._failure = self._bare_error(rest)
        return super().close()

    @abstractmethod
    def _bare_error(self, body: bytes) -> Failure | None:
        """Return the failure that a piece of JSON tells; None if it tells none."""

    @abstractmethod
    def _event(self, event: SseEvent, deltas: list[Delta]) -> None:
        """Append what one event tells to `deltas`; raise AttemptError for an error or garbage."""
