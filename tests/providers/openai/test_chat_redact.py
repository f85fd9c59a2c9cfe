"""What of an upstream's words may be shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_server.providers.redact import MAX_TEXT_BYTES, redact, shown_text


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-AbCd1234efGH5678",
        "sk-abc",
        "sk-abc***************wxyz",
        "gsk_0a1b2c3d4e5f",
        "xai-0a1b2c3d",
        "ghp_0a1b2c3d4e5f",
        "AIzaSyA0b1C2d3E4f5",
        "AKIAIOSFODNN7EXAMPLE",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
        "Bearer abc",
        "bearer  x.y.z",
        "Basic dXNlcjpwYXNzd29yZA==",
        "api_key=abc",
        "api-key: 'abc'",
        "password=hunter2",
        "0123456789abcdef0123456789abcdef",
        "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
        "A1-b2_C3-d4_E5-f6_G7-h8_I9-j0_K1-l2_M3-n4",
        "org-a1b2c3d4",
        "proj_a1b2c3d4",
    ],
)
def test_secrets_and_accounts_are_hidden(secret: str) -> None:
    """Whatever looks like a key, a token or an account is gone."""
    assert redact(f"the key ({secret}) is wrong").count("***") == 1
    assert secret.rsplit(maxsplit=1)[-1].strip("'") not in redact(f"the key ({secret}) is wrong")


@pytest.mark.parametrize(
    "text",
    [
        "Unsupported value: 'temperature' does not support 0.2 with this model.",
        "The model `claude-3-5-sonnet-20241022` or `gpt-4o-realtime-preview-2024-12-17` is not known.",
        "Invalid 'messages[0].content[1].image_url.url': prompt_cache_key and user_location are fine.",
        "max_completion_tokens is above 16384; basic understanding is organization-wide.",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    """Parameters, model names and figures are what the caller needs to read."""
    assert redact(text) == text


@given(st.text(max_size=1200))
def test_shown_text_is_bounded_and_on_one_line(text: str) -> None:
    """Any text fits 500 bytes and has no line break."""
    shown = shown_text(text)
    if shown is not None:
        assert shown
        assert len(shown.encode()) <= MAX_TEXT_BYTES
        assert not {"\n", "\r", "\t"} & set(shown)


def test_a_secret_at_the_cut_does_not_show_its_head() -> None:
    """The text is redacted before it is cut, and cut at a word before it is redacted."""
    assert "sk-" not in (shown_text("x" * 497 + " sk-secret1234") or "")
    assert "hunter2hun" not in (shown_text("a " * 4092 + "hunter2hunter2hunter2hunter2") or "")
