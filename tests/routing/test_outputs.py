"""What a request is reckoned to cost."""

from __future__ import annotations

import math
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_server.routing.aliases import ModelFacts
from trunkline_server.routing.cost import cost_nanousd
from trunkline_server.routing.outputs import REMEMBERED, SEEN_MIN, UNSEEN_TOKENS, OutputSizes


def test_an_alias_is_reckoned_with_a_thousand_tokens_until_twenty_were_seen() -> None:
    """The twentieth answer lets the observed figure speak."""
    sizes = OutputSizes()
    for _ in range(SEEN_MIN - 1):
        sizes.book(10)
    assert sizes.p95 == UNSEEN_TOKENS
    sizes.book(10)
    assert sizes.p95 == 10


def test_the_request_s_own_limit_counts_where_it_is_smaller() -> None:
    """The smaller of `max_output_tokens` and what is usual."""
    sizes = OutputSizes()
    assert sizes.expected(None) == UNSEEN_TOKENS
    assert sizes.expected(50) == 50
    assert sizes.expected(5000) == UNSEEN_TOKENS


@given(st.lists(st.integers(0, 5000), min_size=SEEN_MIN, max_size=REMEMBERED + 100))
def test_the_figure_is_the_95th_percentile_of_the_latest_answers(tokens: list[int]) -> None:
    """At least 95 % of what is remembered keeps to it, and to no smaller one of them."""
    sizes = OutputSizes()
    recent: deque[int] = deque(maxlen=REMEMBERED)
    for size in tokens:
        sizes.book(size)
        recent.append(size)
    assert sizes.p95 == sorted(recent)[math.ceil(len(recent) * 0.95 - 1e-9) - 1]


def test_a_size_below_zero_is_refused() -> None:
    """No answer has less than no tokens."""
    with pytest.raises(ValueError, match="no answer"):
        OutputSizes().book(-1)


def test_a_cost_is_tokens_times_prices_rounded_up() -> None:
    """0.15 and 0.60 USD a million: 1,000 tokens in and 500 out are 450,000 nano-USD; a fraction counts as one."""
    facts = ModelFacts(input_nanousd_per_million=150_000_000, output_nanousd_per_million=600_000_000)
    assert cost_nanousd(facts, 1000, 500) == 450_000
    assert cost_nanousd(ModelFacts(input_nanousd_per_million=1, output_nanousd_per_million=0), 1, 10) == 1


@pytest.mark.parametrize(
    "facts", [ModelFacts(), ModelFacts(input_nanousd_per_million=1), ModelFacts(output_nanousd_per_million=1)]
)
def test_a_price_that_is_not_known_leaves_the_cost_unknown(facts: ModelFacts) -> None:
    """One of the two prices is not enough."""
    assert cost_nanousd(facts, 10, 10) is None
