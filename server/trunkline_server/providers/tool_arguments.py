"""Tool calls as every vendor's answers have them: their bounds, and what stands for what is missing."""

from __future__ import annotations

from typing import Final

MAX_ARGUMENTS_CHARS: Final = 8 * 1024 * 1024
"""All arguments of one answer together; more is no answer of a model."""

MAX_CALLS: Final = 256
"""Tool calls of one answer; more is no answer of a model."""

NO_ARGUMENTS: Final = "{}"
"""Written for a call that ended whole without any: some servers send nothing for a function without parameters."""

_MAX_GIVEN_ID_CHARS: Final = 24


def made_id(answer_id: str, number: int) -> str:
    """Return an id for call `number` of an answer whose server gave none.

    It is the same however the answer is read, and another in the next answer: other providers want the ids of a
    conversation to differ.
    """
    tail = "".join(char for char in answer_id if char.isascii() and (char.isalnum() or char in "-_"))
    return f"call_{tail[-_MAX_GIVEN_ID_CHARS:]}_{number}" if tail else f"call_{number}"
