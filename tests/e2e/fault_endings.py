"""What a caller of the fault matrix gets, and the rules by which it follows from how its attempt failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final


class Place(Enum):
    """Where in a streamed answer the fault strikes."""

    BEFORE = "before"
    """Before its first content: nothing was shown."""
    AT = "at"
    """With its first content, in the same TCP segment."""
    AFTER = "after"
    """After its third piece of content, some time later."""


class Output(Enum):
    """What the answer is made of."""

    TEXT = "text"
    LOGPROBS = "text with log-probabilities"
    JSON = "json"
    """Text of a JSON schema."""
    ONE_CALL = "one call"
    TWO_CALLS = "two calls"
    """Of two pieces each."""
    TEXT_AND_CALL = "text and a call"
    """Two pieces of text, then a call."""


class Ask(Enum):
    """What a caller asks for, and what the alias and the healthy upstream can do."""

    UNARY = "unary"
    FAIL = "FAIL"
    RESTART = "RESTART"
    CONTINUE = "CONTINUE"
    """The healthy upstream takes a prefill."""
    CONTINUE_UNABLE = "CONTINUE, nobody can"
    """It takes none, and the alias does not let it be asked in words."""
    CONTINUE_ASKED = "CONTINUE, asked in words"
    """It takes none, is asked in words, and repeats 40 bytes before it goes on."""


OUTPUTS: Final = {
    Place.BEFORE: (Output.TEXT, Output.ONE_CALL, Output.JSON),
    Place.AT: tuple(Output),
    Place.AFTER: tuple(Output),
}
ASKS: Final = {
    Place.BEFORE: (Ask.UNARY, Ask.FAIL, Ask.RESTART, Ask.CONTINUE),
    Place.AT: tuple(Ask),
    Place.AFTER: tuple(Ask),
}
"""What can matter in a place. Before the first content there is nothing that one could go on from."""


# -- What a caller gets.


class Content(Enum):
    """How much of the answer the caller has in the end, without what was taken back."""

    WHOLE = "whole"
    PART = "a part, and is told so"
    NONE = "none"
    WRONG = "what nobody sent"
    """Never expected."""


@dataclass(frozen=True)
class Ending:
    """Everything that a caller is told at the end."""

    status: str = "OK"
    reason: str = ""
    outcome: str = "COMPLETE"
    """Of the `end` frame. Empty: no frame was sent."""
    finish: str = ""
    """The finish reason. Empty: the one that the healthy answer has."""
    whys: tuple[str, ...] = ("FIRST",)
    """Why each attempt was made."""
    failed: int = 1
    """So many of them failed, the first ones."""
    content: Content = Content.WHOLE
    next: str = ""
    """Of the `attempt_failed` frame, like the next two. Empty: there is none."""
    applied: str = ""
    degraded: bool = False
    """Whether less was done than asked for, and the frame says why."""
    reset: bool = False
    """Whether content was taken back."""
    seam: str = ""
    """How the next attempt was brought to go on. Empty: it was not."""
    overlap: bool = False
    """Whether repeated text was cut at the seam."""


def _refused(status: str, reason: str) -> Ending:
    return Ending(status, reason, outcome="", content=Content.NONE)


def _stopped(finish: str, content: Content = Content.WHOLE) -> Ending:
    return Ending(outcome="INCOMPLETE", finish=finish, failed=0, content=content)


WHOLE: Final = Ending(failed=0)
EMPTY: Final = Ending(failed=0, finish="STOP", content=Content.NONE)
LENGTH: Final = _stopped("LENGTH")
FILTERED: Final = _stopped("CONTENT_FILTER")
STOPPED: Final = _stopped("OTHER")
DECLINED: Final = _stopped("REFUSAL", Content.NONE)

MOVED: Final = Ending(whys=("FIRST", "FAILOVER"))
BROKEN: Final = Ending(
    "ABORTED", "STREAM_BROKEN", "FAILED", "BROKEN", content=Content.PART, next="GIVING_UP", applied="FAIL"
)
BROKEN_INSTEAD: Final = replace(BROKEN, degraded=True)
RESTARTED: Final = Ending(whys=("FIRST", "RESTART"), next="RESTARTING", applied="RESTART", reset=True)
RESTARTED_INSTEAD: Final = replace(RESTARTED, degraded=True)
WENT_ON: Final = Ending(whys=("FIRST", "CONTINUATION"), next="CONTINUING", applied="CONTINUE", seam="PREFILL")
WENT_ON_ASKED: Final = replace(WENT_ON, seam="PROMPTED", overlap=True)
WENT_ON_FROM_TEXT: Final = replace(WENT_ON, reset=True)
WENT_ON_ASKED_FROM_TEXT: Final = replace(WENT_ON_ASKED, reset=True)

HIDDEN: Final[Mapping[str, Ending]] = {
    "CALLER_INVALID": _refused("INVALID_ARGUMENT", "BAD_REQUEST"),
    "CONTEXT_LENGTH": _refused("INVALID_ARGUMENT", "CONTEXT_LENGTH"),  # no target is known to have a larger window
    "CONTENT_FILTERED": _refused("FAILED_PRECONDITION", "CONTENT_FILTERED"),
    "KEY_REJECTED": _refused("UNAVAILABLE", "UPSTREAM_CREDENTIALS"),  # fails fast: on_key_rejected is fail
    "MODEL_UNAVAILABLE": MOVED,
    "KEY_EXHAUSTED": MOVED,
    "RATE_LIMITED": MOVED,
    "OVERLOADED": MOVED,
    "SERVER_ERROR": MOVED,
    "CONNECT": MOVED,
    "FIRST_TOKEN_TIMEOUT": MOVED,
    "TRUNCATED": MOVED,
    "PROTOCOL": MOVED,
}
"""Before the commit point: a failed attempt is invisible where another may be made, else its class is the status."""

ENDS_IT: Final = frozenset({"CALLER_INVALID", "CONTEXT_LENGTH", "CONTENT_FILTERED", "KEY_REJECTED"})
"""Classes after which no other target is tried; after the commit point they end the stream: BROKEN or its likes."""


class Shown(Enum):
    """What the caller had seen when the attempt broke."""

    TEXT = "text"
    CLOSED_TEXT = "text that nobody may go on from: JSON, or with log-probabilities"
    OPEN_CALL = "an open tool call and nothing else"
    TEXT_AND_OPEN_CALL = "text and an open tool call"
    DONE_CALL = "a tool call that was done"


SHOWN_OF: Final = {
    (Output.TEXT, Place.AT): Shown.TEXT,
    (Output.TEXT, Place.AFTER): Shown.TEXT,
    (Output.LOGPROBS, Place.AT): Shown.CLOSED_TEXT,
    (Output.LOGPROBS, Place.AFTER): Shown.CLOSED_TEXT,
    (Output.JSON, Place.AT): Shown.CLOSED_TEXT,
    (Output.JSON, Place.AFTER): Shown.CLOSED_TEXT,
    (Output.ONE_CALL, Place.AT): Shown.OPEN_CALL,
    (Output.ONE_CALL, Place.AFTER): Shown.OPEN_CALL,
    (Output.TWO_CALLS, Place.AT): Shown.OPEN_CALL,
    (Output.TWO_CALLS, Place.AFTER): Shown.DONE_CALL,
    (Output.TEXT_AND_CALL, Place.AT): Shown.TEXT,
    (Output.TEXT_AND_CALL, Place.AFTER): Shown.TEXT_AND_OPEN_CALL,
}

_SHOWN_ASKS: Final = (Ask.FAIL, Ask.RESTART, Ask.CONTINUE, Ask.CONTINUE_UNABLE, Ask.CONTINUE_ASKED)
_SHOWN_ROWS: Final = {
    # shown                      FAIL    RESTART         CONTINUE           … nobody can       … asked in words
    Shown.TEXT:               (BROKEN, RESTARTED,      WENT_ON,           RESTARTED_INSTEAD, WENT_ON_ASKED),
    Shown.CLOSED_TEXT:        (BROKEN, RESTARTED,      RESTARTED_INSTEAD, RESTARTED_INSTEAD, RESTARTED_INSTEAD),
    Shown.OPEN_CALL:          (BROKEN, RESTARTED,      RESTARTED_INSTEAD, RESTARTED_INSTEAD, RESTARTED_INSTEAD),
    Shown.TEXT_AND_OPEN_CALL: (BROKEN, RESTARTED,      WENT_ON_FROM_TEXT, RESTARTED_INSTEAD, WENT_ON_ASKED_FROM_TEXT),
    Shown.DONE_CALL:          (BROKEN, BROKEN_INSTEAD, BROKEN_INSTEAD,    BROKEN_INSTEAD,    BROKEN_INSTEAD),
}  # fmt: skip
SHOWN: Final = {
    (shown, ask): ending for shown, row in _SHOWN_ROWS.items() for ask, ending in zip(_SHOWN_ASKS, row, strict=True)
}
