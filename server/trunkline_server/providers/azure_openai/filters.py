"""What Azure's content filter says of a prompt or an answer: each category with what it found.

A category is `{"filtered": …, "severity": "safe" … "high"}` or `{"filtered": …, "detected": …}`. In a stream the same
annotations come beside the pieces or, with the asynchronous filter, after them; there only a filtered end counts,
which is a finish reason.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from trunkline_server.chat.answer import Warning_
from trunkline_server.providers.json_wire import DECODING_ERRORS, decode_any

_MAX_CATEGORIES: Final = 16
_MAX_NAME_CHARS: Final = 40
_SEVERITIES: Final = frozenset({"low", "medium", "high"})
_MARK: Final = b"content_filter_result"


class _Choice(msgspec.Struct, gc=False):
    """What is read of one choice."""

    index: int | None = None
    content_filter_results: Any = None


class _Body(msgspec.Struct, gc=False):
    """What is read of a whole answer."""

    choices: list[_Choice] | None = None
    prompt_filter_results: Any = None


_decode: Final = msgspec.json.Decoder(_Body).decode


def flagged_content(body: bytes) -> tuple[Warning_, ...]:
    """Return a warning for what the filter marked in the prompt, and one for what it marked in the answer."""
    if _MARK not in body:
        return ()
    try:
        wire = _decode(body)
    except DECODING_ERRORS:
        return ()  # an oddity beside the answer does not cost the answer
    warnings: list[Warning_] = []
    prompts = wire.prompt_filter_results
    if isinstance(prompts, list):
        results = [prompt.get("content_filter_results") for prompt in prompts if isinstance(prompt, dict)]
        _warn(warnings, results, "messages", "prompt")
    _warn(warnings, [choice.content_filter_results for choice in wire.choices or ()], "message", "answer")
    return tuple(warnings)


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
    return _flagged([inner.get("content_filter_result") or inner.get("content_filter_results")])


def _warn(warnings: list[Warning_], results: list[object], field: str, what: str) -> None:
    categories = _flagged(results)
    if categories:
        warnings.append(
            Warning_("CONTENT_FLAGGED", field, f"the provider's content filter marked the {what}: {categories}")
        )


def _flagged(results: list[object]) -> str:
    """Return the categories that found something, such as `jailbreak, violence (medium)`."""
    found: dict[str, None] = {}
    for categories in results:
        if isinstance(categories, dict):
            for name, result in categories.items():
                if isinstance(result, dict) and (words := _words(name, result)) is not None:
                    found[words] = None
    return ", ".join(sorted(found)[:_MAX_CATEGORIES])


def _words(name: str, result: dict[str, Any]) -> str | None:
    """Return what one category found, None if it is nothing."""
    severity = result.get("severity")
    shown = "".join(char for char in name[:_MAX_NAME_CHARS] if char.isascii() and (char.isalnum() or char in "_-"))
    if isinstance(severity, str) and severity in _SEVERITIES:
        return f"{shown} ({severity})"
    return shown if result.get("filtered") is True or result.get("detected") is True else None
