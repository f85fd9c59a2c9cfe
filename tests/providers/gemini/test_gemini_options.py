"""Provider options: which keys a caller may pass, in either spelling and inside the settings."""

from __future__ import annotations

from typing import Any

import pytest
from google.genai import types

from trunkline_server.providers.gemini import GeminiAdapter
from trunkline_server.providers.gemini.options import COSTLY_KEYS, MACHINE_KEYS, TYPED_KEYS, canonical


def refused(options: dict[str, object], *allowed: str) -> list[str]:
    return [finding.path for finding in GeminiAdapter().check_options(options, frozenset(allowed))]


def snake(key: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in key)


def at(path: str) -> dict[str, Any]:
    """Return the options that have a setting at `path`."""
    outer, _, inner = path.partition(".")
    return {outer: {inner: 1}} if inner else {outer: 1}


@pytest.mark.parametrize("key", sorted({*TYPED_KEYS, *COSTLY_KEYS}))
def test_typed_and_costly_keys_need_permission(key: str) -> None:
    """Such a key is refused with its path unless the caller's list names it; another spelling is no way around."""
    assert refused(at(key)) == [key]
    assert refused(at(key), key) == []
    assert refused(at(snake(key))) == [snake(key)]
    assert refused(at(snake(key)), key) == []
    assert refused(at(key), snake(key)) == []


@pytest.mark.parametrize("key", sorted(MACHINE_KEYS))
def test_the_machine_s_own_keys_are_never_passed(key: str) -> None:
    """No permission lets a caller break routing, decoding or accounting."""
    for spelling in (key, snake(key)):
        assert refused(at(spelling)) == [spelling]
        assert refused(at(spelling), key, spelling) == [spelling]


def test_other_keys_are_the_provider_s_to_judge() -> None:
    """Labels, shapes and keys that nobody knows pass."""
    options: dict[str, object] = {
        "safetySettings": [],
        "labels": {},
        "brandNew": 1,
        "generationConfig": {"enableEnhancedCivicAnswers": True},
        "toolConfig": {"retrievalConfig": {}},
    }
    assert refused(options) == []


def test_settings_that_are_no_object_are_refused() -> None:
    """They could not be put together with ours."""
    assert refused({"generationConfig": 7, "tool_config": None}) == ["generationConfig", "tool_config"]


def test_every_setting_of_the_official_package_was_judged() -> None:
    """A field that the vendor adds shows here, so that somebody decides whether it costs."""
    known = {name.rpartition(".")[2] for name in (*TYPED_KEYS, *COSTLY_KEYS, *MACHINE_KEYS)}
    harmless = {
        "audioTimestamp",
        "audioTranscriptionConfig",
        "continuationToken",
        "enableEnhancedCivicAnswers",
        "labels",
        "modelArmorConfig",
        "safetySettings",
        "toolConfig",  # judged key by key
    }
    of_the_package_alone = {
        "automaticContinuation",
        "automaticFunctionCalling",
        "httpOptions",
        "shouldReturnHttpResponse",
    }
    official = {canonical(name) for name in types.GenerateContentConfig.model_fields}
    assert official - known - harmless - of_the_package_alone == set()
