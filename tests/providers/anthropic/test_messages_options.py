"""Provider options of the Messages API: which keys a caller may pass."""

from __future__ import annotations

import pytest

from trunkline_server.providers.anthropic import AnthropicAdapter
from trunkline_server.providers.anthropic.options import COSTLY_KEYS, MACHINE_KEYS, TYPED_KEYS


def refused(options: dict[str, object], *allowed: str) -> list[str]:
    return [finding.path for finding in AnthropicAdapter().check_options(options, frozenset(allowed))]


@pytest.mark.parametrize("key", sorted({*TYPED_KEYS, *COSTLY_KEYS}))
def test_typed_and_costly_keys_need_permission(key: str) -> None:
    """Such a key is refused with its path unless the caller's list names it."""
    assert refused({key: 1}) == [key]
    assert refused({key: 1}, key) == []


@pytest.mark.parametrize("key", sorted(MACHINE_KEYS))
def test_the_machine_s_own_keys_are_never_passed(key: str) -> None:
    """No permission lets a caller break routing, decoding or accounting."""
    assert refused({key: 1}) == [key]
    assert refused({key: 1}, key) == [key]


def test_labels_and_unknown_keys_are_the_provider_s_to_judge() -> None:
    """They pass."""
    assert refused({"metadata": {"user_id": "u"}, "brand_new": 1}) == []


def test_all_findings_come_at_once_and_say_why() -> None:
    """Each refused key has a finding of its own."""
    findings = AnthropicAdapter().check_options({"stream": True, "speed": "fast", "top_k": 1}, frozenset())
    assert [finding.path for finding in findings] == ["stream", "speed", "top_k"]
    assert "cannot be allowed" in findings[0].message
    assert "another price" in findings[1].message
    assert "sampling.top_k" in findings[2].message
