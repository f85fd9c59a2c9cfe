"""What Azure's content filter says of a prompt or an answer: each category with what it found.

A category is `{"filtered": …, "severity": "safe" … "high"}` or `{"filtered": …, "detected": …}`. In a stream the same
annotations come beside the pieces or, with the asynchronous filter, after them.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from trunkline_server.chat.answer import Warning_
from trunkline_server.providers.json_wire import DECODING_ERRORS, decode_any

_MAX_CATEGORIES: Final = 16
_MAX_NAME_CHARS: Final = 40
_SEVERITIES: Final = ("", "low", "medium", "high")
"""By rank; a category without one only says that it found something."""
_MARK: Final = b'"content_filter_results"'
"""Nothing that a model says can be mistaken for it: inside a text its quotes would be escaped."""
_MAX_REMEMBERED_BYTES: Final = 4096
_UNKNOWN: Final = b"\n"
"""No event has it: it is one line."""

_Found = dict[str, int]
"""Categories that found something, each with the rank of the worst."""


_NOTHING: Final = msgspec.Raw(b"null")


class _Choice(msgspec.Struct, gc=False):
    """What is read of one choice."""

    content_filter_results: msgspec.Raw = _NOTHING


class _Body(msgspec.Struct, gc=False):
    """What is read of a whole answer."""

    choices: list[_Choice] | None = None
    prompt_filter_results: Any = None


_decode: Final = msgspec.json.Decoder(_Body).decode


class Marks:
    """What the filter marked, in all that was read: a whole answer, or each event of a streamed one."""

    __slots__ = ("_answer", "_prompt", "at", "harmless")

    def __init__(self) -> None:
        self._prompt: _Found = {}
        self._answer: _Found = {}
        self.harmless = _UNKNOWN
        """What the last event in which nothing was found said of its piece: nearly always the next says the same."""
        self.at = 0
        """Where that stood in the event that was read last: in most streams always at the same place."""

    def read(self, body: bytes) -> None:
        """Read an answer, or an event of one; the results of the prompt come in an event of their own."""
        self.at = at = max(body.find(_MARK), 0)
        if not at or body.startswith(self.harmless, at):
            return
        try:
            wire = _decode(body)
            results = [choice.content_filter_results for choice in wire.choices or ()]
            said = [decode_any(result) for result in results]
        except DECODING_ERRORS:
            return  # an oddity beside the answer does not cost the answer
        prompts = wire.prompt_filter_results
        for prompt in prompts if isinstance(prompts, list) else ():
            if isinstance(prompt, dict):
                _note(self._prompt, prompt.get("content_filter_results"))
        for categories in said:
            _note(self._answer, categories)
        if len(results) == 1 and isinstance(said[0], dict) and not any(map(_is_marked, said[0].values())):
            self._remember(body, at, bytes(results[0]))

    def _remember(self, body: bytes, at: int, result: bytes) -> None:
        """Keep what stands at `at`, if it is the `result` of an event and no more than its name before it."""
        end = body.find(result, at) + len(result)
        if end - at <= min(len(_MARK) + len(result) + 4, _MAX_REMEMBERED_BYTES):
            self.harmless = body[at:end]

    @property
    def warnings(self) -> tuple[Warning_, ...]:
        """One for the prompt and one for the answer, if anything of it was marked."""
        warnings: list[Warning_] = []
        for field, what, found in (("messages", "prompt", self._prompt), ("message", "answer", self._answer)):
            if found:
                text = f"the provider's content filter marked the {what}: {_in_words(found)}"
                warnings.append(Warning_("CONTENT_FLAGGED", field, text))
        return tuple(warnings)


def flagged_content(body: bytes) -> tuple[Warning_, ...]:
    """Return a warning for what the filter marked in the prompt, and one for what it marked in the answer."""
    marks = Marks()
    marks.read(body)
    return marks.warnings


def flagged_prompt(body: bytes) -> str:
    """Return what the filter marked in the prompt of a refused request, in words; empty if it does not say."""
    try:
        decoded = decode_any(body)
    except DECODING_ERRORS:
        return ""
    error = decoded.get("error") if isinstance(decoded, dict) else None
    inner = (error.get("innererror") or error.get("inner_error")) if isinstance(error, dict) else None
    if not isinstance(inner, dict):
        return ""
    found: _Found = {}
    _note(found, inner.get("content_filter_result") or inner.get("content_filter_results"))
    return _in_words(found)


def _note(found: _Found, categories: object) -> None:
    """Add the categories that found something."""
    for name, result in categories.items() if isinstance(categories, dict) else ():
        if _is_marked(result):
            shown = "".join(
                char for char in name[:_MAX_NAME_CHARS] if char.isascii() and (char.isalnum() or char in "_-")
            )
            if shown in found or len(found) < _MAX_CATEGORIES:
                found[shown] = max(found.get(shown, 0), _rank(result))


def _is_marked(result: object) -> bool:
    """Return whether a category found something."""
    if not isinstance(result, dict):
        return False
    return result.get("filtered") is True or result.get("detected") is True or _rank(result) > 0


def _rank(result: dict[str, Any]) -> int:
    severity = result.get("severity")
    return _SEVERITIES.index(severity) if isinstance(severity, str) and severity in _SEVERITIES else 0


def _in_words(found: _Found) -> str:
    """Return categories such as `jailbreak, violence (medium)`."""
    return ", ".join(f"{name} ({_SEVERITIES[rank]})" if rank else name for name, rank in sorted(found.items()))
