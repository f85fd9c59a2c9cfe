"""Provider options of the Responses API: which keys a caller may pass."""

from __future__ import annotations

import pytest

from trunkline_server.providers.openai_responses import ResponsesAdapter
from trunkline_server.providers.openai_responses.options import COSTLY_KEYS, MACHINE_KEYS, TYPED_KEYS


def refused(options: dict[str, object], *allowed: str) -> list[str]:
    return [finding.path for finding in ResponsesAdapter().check_options(options, frozenset(allowed))]


@pytest.mark.parametrize("key", sorted({*TYPED_KEYS, *COSTLY_KEYS} - {"text.format"}))
def test_typed_and_costly_keys_need_permission(key: str) -> None:
    """Such a key is refused with its path unless the caller's list names it."""
    assert refused({key: 1}) == [key]
    assert refused({key: 1}, key) == []


@pytest.mark.parametrize("key", sorted(MACHINE_KEYS))
def test_the_machine_s_own_keys_are_never_passed(key: str) -> None:
    """No permission lets a caller break routing, decoding or accounting, or go on with a stored conversation."""
    assert refused({key: 1}) == [key]
    assert refused({key: 1}, key) == [key]


def test_the_format_of_the_text_has_a_field_of_its_own() -> None:
    """The other settings of `text` have none, and pass."""
    assert refused({"text": {"verbosity": "low"}}) == []
    assert refused({"text": {"verbosity": "low", "format": {"type": "text"}}}) == ["text.format"]
    assert refused({"text": {"format": {"type": "text"}}}, "text.format") == []


def test_other_keys_are_the_provider_s_to_judge() -> None:
    """Labels, shapes and keys that nobody knows pass."""
    assert refused({"user": "u", "metadata": {}, "truncation": "auto", "brand_new": 1}) == []
