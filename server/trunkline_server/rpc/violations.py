"""What is wrong with a request: collected while it is decoded, and told all at once.

Paths are those of the message's JSON form in snake case: `messages[0].parts[1].tool_call.arguments_json`. A map's entry
is named by its key as a JSON string: `labels["team"]`, `provider_options_json["openai"].service_tier`.
"""

from __future__ import annotations

import json

from trunkline_server.engine.frames import CallFailure, FieldViolation
from trunkline_server.routing.types import Reason

MAX_KEPT = 128
"""Violations that are kept in words; further ones are only counted. A status has room for about 30."""
MAX_BRACKETS = 1_000_000
"""Opening brackets in the JSON texts of one request: each may cost an object, and 32 MiB could hold ten million."""
MAX_KEY_CHARS = 64
"""Characters of a map's key that a path repeats."""


class InvalidRequestError(Exception):
    """A request is wrong in itself. Without violations: the bytes are no message of the expected type."""

    def __init__(self, message: str, violations: tuple[FieldViolation, ...] = (), omitted: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.violations = violations
        self.omitted = omitted
        """How many more violations there are than `violations` holds."""


class Violations:
    """Collects what is wrong with one request, in the order of its fields. Costs nothing while all is well."""

    __slots__ = ("_brackets", "_kept", "_omitted")

    def __init__(self) -> None:
        self._brackets = 0
        self._kept: list[FieldViolation] = []
        self._omitted = 0

    def add(self, path: str, message: str) -> None:
        """Note that the field at `path` is wrong; `message` says what it must be."""
        if len(self._kept) < MAX_KEPT:
            self._kept.append(FieldViolation(path, message))
        else:
            self._omitted += 1

    def count_brackets(self, path: str, brackets: int) -> None:
        """Count the brackets of a JSON text before it is decoded; raise InvalidRequestError where they are too many."""
        self._brackets += brackets
        if self._brackets > MAX_BRACKETS:
            self.add(path, f"must not bring the brackets in the request's JSON above {MAX_BRACKETS}")
            self.raise_if_any()

    def raise_if_any(self) -> None:
        """Raise InvalidRequestError if anything was noted."""
        if not self._kept:
            return
        first = self._kept[0]
        more = len(self._kept) + self._omitted - 1
        text = f"{first.path}: {first.message}" + (f" (and {more} more)" if more else "")
        raise InvalidRequestError(text, tuple(self._kept), self._omitted)


def entry_path(path: str, key: str) -> str:
    """Return the path of the entry `key` of the map at `path`; a long key is cut."""
    shown = key if len(key) <= MAX_KEY_CHARS else f"{key[:MAX_KEY_CHARS]}..."
    return f"{path}[{json.dumps(shown)}]"


def failure_of_invalid(error: InvalidRequestError) -> CallFailure:
    """Return what a caller is told whose request is wrong: INVALID_ARGUMENT, BAD_REQUEST."""
    return CallFailure(Reason.BAD_REQUEST, error.message, violations=error.violations, violations_omitted=error.omitted)
