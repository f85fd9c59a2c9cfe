"""Provider options: which keys a caller may pass."""

from __future__ import annotations

import pytest

from trunkline_server.providers.openai import OpenAIAdapter
from trunkline_server.providers.openai.options import COSTLY_KEYS, MACHINE_KEYS, TYPED_KEYS


def refused(options: dict[str, object], *allowed: str) -> list[str]:
    return [finding.path for finding in OpenAIAdapter().check_options(options, frozenset(allowed))]


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


def test_other_keys_are_the_provider_s_to_judge() -> None:
    """Labels, shapes and keys that nobody knows pass."""
    assert refused({"user": "u", "metadata": {}, "logit_bias": {}, "verbosity": "low", "brand_new": 1}) == []


def test_all_findings_come_at_once() -> None:
    """Each refused key has a finding of its own that says why."""
    findings = OpenAIAdapter().check_options({"n": 2, "store": True, "seed": 1, "user": "u"}, frozenset())
    assert [finding.path for finding in findings] == ["n", "store", "seed"]
    assert "cannot be allowed" in findings[0].message
    assert "stores the conversation" in findings[1].message
    assert "sampling.seed" in findings[2].message
