"""The table of what it costs to choose: it is whole, and a hundred times the targets cost about that much more."""

from __future__ import annotations

import pytest
from scripts.benchmarks.choice import SIZES, choice_figures, print_growth

pytestmark = pytest.mark.alone  # it measures times

SLACK = 5
"""Machines differ, and other tests run beside this one; a cost that grew with the square would be 100 x over."""


def test_a_choice_grows_no_faster_than_the_targets(capsys: pytest.CaptureFixture[str]) -> None:
    """For each kind of choice, plan, key and gate of 400 targets take at most 500 times those of 4."""
    figures = choice_figures(20)
    print_growth(figures)
    printed = capsys.readouterr().out
    print(printed)
    few, many = SIZES[0], SIZES[-1]
    for start in range(0, len(figures), len(SIZES)):
        row = figures[start : start + len(SIZES)]
        assert row[-1].median_us <= SLACK * many / few * row[0].median_us, printed
    assert len(printed.strip().splitlines()) == 2 + len(figures) // len(SIZES)
