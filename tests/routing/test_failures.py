"""The table of failure classes against the design's own, row by row."""

from __future__ import annotations

import pytest

from trunkline_server.routing.failures import RULES, Blame, FailureClass, NextTarget, SameKey

# class: blame, same key again, other key, next target, counts for the circuit
EXPECTED = """
CALLER_INVALID      | caller        | no                  | no  | no   | no
CONTEXT_LENGTH      | caller        | no                  | no  | only one with a larger context window | no
CONTENT_FILTERED    | caller        | no                  | no  | if the alias says so | no
MODEL_UNAVAILABLE   | key or target | no                  | yes | yes  | no
KEY_REJECTED        | key           | never               | yes | if the alias says so | no
KEY_EXHAUSTED       | key           | never               | yes | yes  | no
RATE_LIMITED        | key           | after its cool-down | yes | yes  | no
OVERLOADED          | provider      | after a backoff     | no  | preferred | yes
SERVER_ERROR        | provider      | after a backoff     | no  | yes  | yes
CONNECT             | network       | after a backoff     | no  | yes  | yes
FIRST_TOKEN_TIMEOUT | provider      | no                  | no  | yes  | yes
STALLED             | provider      | no                  | no  | yes  | yes
TRUNCATED           | provider      | after a backoff     | no  | yes  | yes
PROTOCOL            | provider      | no                  | no  | yes  | yes
SATURATED           | gateway       | no                  | yes | yes  | no
DEADLINE            | none          | no                  | no  | no   | no
CANCELLED           | none          | no                  | no  | no   | no
"""

ROWS = [[cell.strip() for cell in line.split("|")] for line in EXPECTED.strip().splitlines()]


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_each_class_allows_what_its_row_says(row: list[str]) -> None:
    """Blame, same key, other key, next target and circuit are those of the table."""
    name, blame, same_key, other_key, next_target, counts = row
    rule = RULES[FailureClass(name)]
    assert rule.blame is Blame(blame)
    assert rule.same_key is SameKey(same_key)
    assert rule.other_key is (other_key == "yes")
    assert rule.next_target is NextTarget(next_target)
    assert rule.counts is (counts == "yes")


def test_no_class_is_without_a_row() -> None:
    """Every class has its row, and every row its class."""
    assert {row[0] for row in ROWS} == {entry.value for entry in FailureClass}
    assert set(RULES) == set(FailureClass)


def test_what_a_caller_brings_about_never_counts() -> None:
    """No class that blames the caller or nobody says anything about a target's health."""
    for failure_class, rule in RULES.items():
        if rule.blame in {Blame.CALLER, Blame.NONE}:
            assert not rule.counts, failure_class


def test_other_providers_go_first_after_overload_and_silence() -> None:
    """After OVERLOADED, FIRST_TOKEN_TIMEOUT and STALLED another provider is preferred, after nothing else."""
    preferring = {name.value for name, rule in RULES.items() if rule.other_provider_first}
    assert preferring == {"OVERLOADED", "FIRST_TOKEN_TIMEOUT", "STALLED"}
