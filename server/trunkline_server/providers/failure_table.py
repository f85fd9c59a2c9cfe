"""Which failure an error is: tables of rows, read from codes over texts to statuses.

Codes come first because they are the provider's own words; a text may echo what a caller wrote. So a text pattern
is matched at the start of the message only, where no echo stands, and only for the statuses in its row: otherwise a
caller could quarantine a key by naming a tool "exceeded your current quota".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from trunkline_server.routing.failures import FailureClass

NO_STATUS: Final = frozenset({0})
"""What an error event inside a stream has."""

ANY: Final = NO_STATUS.union(range(400, 600))
"""Every status of an error; below 400 nothing in a body is believed."""

_TOO_LARGE: Final = 413


@dataclass(frozen=True, slots=True)
class CodeRow:
    """Responses one of whose codes is in `codes`, with a status in `statuses`."""

    failure_class: FailureClass
    codes: frozenset[str]
    statuses: Iterable[int] = ANY


@dataclass(frozen=True, slots=True)
class TextRow:
    """Responses whose message starts with `pattern`, with a status in `statuses`."""

    failure_class: FailureClass
    pattern: re.Pattern[str]
    statuses: Iterable[int]


@dataclass(frozen=True, slots=True)
class StatusRow:
    """Responses with a status in `statuses` that no code and no text has claimed."""

    failure_class: FailureClass
    statuses: Iterable[int]


def codes(failure_class: FailureClass, words: str, statuses: Iterable[int] = ANY) -> CodeRow:
    """Return the row of the codes in `words`, which are set apart by spaces."""
    return CodeRow(failure_class, frozenset(words.split()), statuses)


def text(failure_class: FailureClass, pattern: str, *statuses: int) -> TextRow:
    """Return the row of a pattern for the start of a message, in any case of letters."""
    return TextRow(failure_class, re.compile(pattern, re.IGNORECASE), frozenset(statuses))


HTTP_STATUSES: Final = (
    StatusRow(FailureClass.KEY_REJECTED, {401, 403}),
    StatusRow(FailureClass.KEY_EXHAUSTED, {402}),
    StatusRow(FailureClass.MODEL_UNAVAILABLE, {404}),
    StatusRow(FailureClass.RATE_LIMITED, {429}),
    StatusRow(FailureClass.SERVER_ERROR, {0, 408, 409, 424, 425}),
    StatusRow(FailureClass.CALLER_INVALID, range(400, 500)),
    StatusRow(FailureClass.OVERLOADED, {529}),
    StatusRow(FailureClass.SERVER_ERROR, range(500, 600)),
)
"""What statuses mean by themselves, at every vendor. First match wins; what no row names (1xx, 2xx, 3xx, nonsense) is
not the promised format: PROTOCOL."""


@dataclass(frozen=True, slots=True)
class FailureTable:
    """One vendor's rows; in each list the first match wins."""

    codes: tuple[CodeRow, ...]
    texts: tuple[TextRow, ...] = ()
    statuses: tuple[StatusRow, ...] = HTTP_STATUSES

    def failure_class(self, status: int, codes: Iterable[str], text: str, *, has_code: bool) -> FailureClass:
        """Return the class of one failure.

        `status` is 0 for an error event inside a stream, `codes` are the words that the vendor has for it, `text` is
        its message. `has_code` says whether it has a code in its own right (a type alone is no code).
        """
        for code_row in self.codes:
            if status in code_row.statuses and not code_row.codes.isdisjoint(codes):
                return code_row.failure_class
        start = text.lstrip()
        for text_row in self.texts:
            if status in text_row.statuses and text_row.pattern.match(start) is not None:
                return text_row.failure_class
        if status == _TOO_LARGE and not has_code:
            return FailureClass.CONTEXT_LENGTH
        for status_row in self.statuses:
            if status in status_row.statuses:
                return status_row.failure_class
        return FailureClass.PROTOCOL
