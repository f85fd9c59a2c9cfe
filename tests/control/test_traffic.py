"""How much traffic a document moves, by its weights and by the calls of the last minutes."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline_server.config.load import parse
from trunkline_server.config.model import RoutesDocument
from trunkline_server.control.traffic import WINDOW_S, RecentCalls, RecentTraffic, shifts
from trunkline_server.control.types import TrafficShift
from trunkline_server.engine.outcome import CallOutcome

NOBODY = RecentCalls()


def document(**aliases: list[Any]) -> RoutesDocument:
    """Aliases by name, each with its tiers."""
    parsed = parse(
        yaml.safe_dump(
            {
                "version": 1,
                "providers": {"p": {"protocol": "openai", "base_url": "https://x.example"}},
                "aliases": {name: {"tiers": tiers} for name, tiers in aliases.items()},
            }
        ),
        name="x",
    )
    assert parsed.document is not None, parsed.findings
    return parsed.document


def weighted(**weights: float) -> list[Any]:
    return [[{"target": f"p/{model}", "weight": weight} for model, weight in weights.items()]]


def share(before: list[Any], after: list[Any]) -> float:
    (shift,) = shifts(document(default=before), document(default=after), NOBODY)
    return shift.share


def outcome(alias: str) -> CallOutcome:
    return CallOutcome(1, alias, alias or "p/a", "", streams=False, failed=False, first_content_s=None, attempts=())


@pytest.mark.parametrize(
    ("before", "after", "moved"),
    [
        (weighted(a=90, b=10), weighted(a=90, b=10), 0.0),
        (weighted(a=90, b=10), weighted(a=80, b=20), 0.1),
        (weighted(a=90, b=10), weighted(b=10, a=90), 0.0),
        (weighted(a=9, b=1), weighted(a=900, b=100), 0.0),
        (weighted(a=1), weighted(b=1), 1.0),
        (weighted(a=1), weighted(a=1, b=1), 0.5),
        (weighted(a=1, b=0), weighted(a=1), 0.0),
        (weighted(a=0, b=0), weighted(a=1), 0.0),
        ([["p/a"], ["p/b"]], [["p/a"], ["p/c"]], 0.0),
        (weighted(a=1, b=1), [{"strategy": "least_loaded", "targets": ["p/a", "p/b"]}], 0.0),
    ],
)
def test_the_share_is_that_of_the_first_choices_that_move(before: list[Any], after: list[Any], moved: float) -> None:
    """Half the sum of what the shares of the first tier's targets differ by, there and back."""
    assert share(before, after) == pytest.approx(moved)
    assert share(after, before) == pytest.approx(moved)


def test_an_alias_that_comes_or_goes_moves_wholly() -> None:
    """Every alias of either document is told, by name."""
    found = shifts(document(b=[["p/a"]], c=[["p/a"]]), document(a=[["p/a"]], c=[["p/a"]]), NOBODY)
    assert [(shift.alias, shift.share) for shift in found] == [("a", 1.0), ("b", 1.0), ("c", 0.0)]


def test_shares_of_all_come_from_recent_calls() -> None:
    """What moves of an alias is weighed by its part of all calls, those for targets by name included."""
    recent = RecentCalls(total=10, by_alias={"default": 4})
    assert shifts(document(default=weighted(a=1)), document(default=weighted(a=1, b=1)), recent) == (
        TrafficShift("default", 0.5, 4, 0.2),
    )


@settings(deadline=None, max_examples=60)
@given(*(st.dictionaries(st.sampled_from("abcd"), st.integers(0, 5), min_size=1) for _ in range(3)))
def test_shares_are_a_distance(one: dict[str, int], two: dict[str, int], three: dict[str, int]) -> None:
    """Between 0 and 1, the same both ways, and no way round is shorter."""
    x, y, z = (weighted(**weights) for weights in (one, two, three))
    assert 0.0 <= share(x, y) <= 1.0
    assert share(x, y) == pytest.approx(share(y, x))
    assert share(x, z) <= share(x, y) + share(y, z) + 1e-6


def test_calls_count_for_five_minutes() -> None:
    """Calls are counted by alias, and forgotten when they are five minutes old."""
    now = 1000.0
    traffic = RecentTraffic(lambda: now)
    for alias in ("default", "default", "other", ""):
        traffic.take(outcome(alias))
    assert traffic.calls() == RecentCalls(4, {"default": 2, "other": 1})
    now += WINDOW_S - 20.0
    traffic.take(outcome("default"))
    assert traffic.calls() == RecentCalls(5, {"default": 3, "other": 1})
    now += 20.0
    assert traffic.calls() == RecentCalls(1, {"default": 1})
    now += WINDOW_S
    assert traffic.calls() == NOBODY


def test_names_are_bounded() -> None:
    """More aliases than any document has are counted together only."""
    traffic = RecentTraffic(lambda: 0.0)
    for number in range(10_005):
        traffic.take(outcome(f"a{number}"))
    calls = traffic.calls()
    assert (calls.total, len(calls.by_alias)) == (10_005, 10_000)
