"""Estimates of texts: near the known counts, monotonous, linear and bounded in time, never an error."""

from __future__ import annotations

import timeit
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.chat.known_counts import COUNTED, ENGLISH

from trunkline_server.chat.text_tokens import _ANY, _ASCII, SAMPLED_ABOVE, text_tokens

BOUND = 0.2


@pytest.mark.parametrize("kind", COUNTED)
def test_the_estimate_is_within_a_fifth_of_the_count(kind: str) -> None:
    """English, code, JSON and Chinese, Japanese, Korean alike, without a vocabulary."""
    text, count = COUNTED[kind]
    error = text_tokens(text) / count - 1
    print(f"{kind}: {text_tokens(text)} estimated, {count} counted: {error:+.0%}")
    assert abs(error) <= BOUND


def test_every_byte_has_one_class() -> None:
    """No character is counted twice or not at all, in either order of the classes."""
    assert sorted(b"".join(members for members, _ in _ANY)) == list(range(256))
    assert sorted(b"".join(members for members, _ in _ASCII)) == list(range(128))


def test_ascii_is_counted_alike_beside_other_characters() -> None:
    """What stands next to a text does not change what it counts for."""
    assert abs(text_tokens(ENGLISH + "港") - text_tokens(ENGLISH)) <= 2


@given(st.text(max_size=300), st.text(max_size=300))
def test_a_longer_text_has_no_fewer_tokens(first: str, second: str) -> None:
    """Two texts in one have what both have, give or take the rounding; nothing has less than 0."""
    both = text_tokens(first + second)
    assert max(text_tokens(first), text_tokens(second)) <= both <= text_tokens(first) + text_tokens(second)
    assert (both == 0) <= (not (first + second).strip())


@given(st.text(st.characters(), max_size=50))
def test_no_text_is_an_error(text: str) -> None:
    """Lone surrogates included: at most three tokens a character."""
    assert 0 <= text_tokens(text) <= 3 * len(text)


def test_a_long_text_is_estimated_from_samples() -> None:
    """The samples stand for the whole, wherever in it a part is denser."""
    long = (ENGLISH * (3 * SAMPLED_ABOVE // len(ENGLISH)))[: 2 * SAMPLED_ABOVE]
    assert abs(text_tokens(long) / (2 * text_tokens(long[:SAMPLED_ABOVE])) - 1) < 0.05
    half_dense = long + "9" * len(long)
    halves = 2 * text_tokens(long[:SAMPLED_ABOVE]) + 2 * text_tokens("9" * SAMPLED_ABOVE)
    assert abs(text_tokens(half_dense) / halves - 1) < 0.1


def test_an_estimate_is_cheap() -> None:
    """Microseconds for 2 KiB; 30 MiB cost no more than some 64 KiB do."""
    for kind, (text, _) in COUNTED.items():
        sized = (text * 40).encode()[:2048].decode(errors="ignore")
        best = min(timeit.repeat(partial(text_tokens, sized), number=100, repeat=20)) / 100
        print(f"{kind}: {best * 1e6:.1f} µs for 2 KiB")
        assert best < 100e-6
    huge = "港" * 10_000_000
    assert min(timeit.repeat(partial(text_tokens, huge), number=1, repeat=5)) < 0.02
