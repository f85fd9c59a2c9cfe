"""How reading a stream can fail, each with the answer as far as it came."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from trunkline.errors import CallFailure

if TYPE_CHECKING:
    from trunkline.answer import Answer


class StreamError(Exception):
    """A stream gave no whole answer. Its kinds say whose word that is."""

    partial: Answer
    """What came before, without what was taken back."""

    failure: CallFailure
    """The status with its details. Its code is DATA_LOSS where the frames are at odds with a status of OK."""

    def __init__(self, message: str, partial: Answer, failure: CallFailure) -> None:
        super().__init__(message)
        self.partial = partial
        self.failure = failure


class CallFailedError(StreamError):
    """The call failed before any frame came; the partial answer is empty."""


class StreamBrokenError(StreamError):
    """The stream broke, and said so: it has its `end` frame, the status agrees, and the partial answer is verified."""


class StreamLostError(StreamError):
    """The stream was lost on its way: a deadline, a cancel or a lost connection came before its end was told.

    Every frame up to `partial.last_seq` is there; a detachable stream may be resumed after it, unless `failure` has a
    reason: then the server says that it cannot be, or that another reader has it.
    """


class StreamCorruptError(StreamError):
    """The stream contradicts itself or its status: frames are missing, doubled or damaged, or it ended in silence.

    The partial answer is what had come before; nothing vouches for it.
    """


def failed_call(partial: Answer, failure: CallFailure) -> CallFailedError:
    """Return the error of a call that failed before any frame."""
    return CallFailedError(_told(failure), partial, failure)


def broken(partial: Answer, failure: CallFailure) -> StreamBrokenError:
    """Return the error of a stream that told of its failure."""
    return StreamBrokenError(f"the stream broke after frame {partial.last_seq}: {_told(failure)}", partial, failure)


def lost(partial: Answer, failure: CallFailure) -> StreamLostError:
    """Return the error of a stream whose end never came."""
    return StreamLostError(f"the stream was lost after frame {partial.last_seq}: {_told(failure)}", partial, failure)


def corrupt(what: str, partial: Answer, failure: CallFailure | None) -> StreamCorruptError:
    """Return the error of a stream that contradicts itself; `failure` is its status, None while that is OK."""
    told = f"the stream is not whole: {what}"
    return StreamCorruptError(told, partial, failure or CallFailure(grpc.StatusCode.DATA_LOSS, told))


def _told(failure: CallFailure) -> str:
    """Return a failure on one line, for people."""
    return " ".join(filter(None, (failure.code.name, failure.reason))) + f": {failure.message}"
