from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from trunkline.v1 import ListModelsResponse, RouteExplanation
from trunkline_server.cli import explain, models

if TYPE_CHECKING:
    from tests.cli.conftest import Run

LONG = "a-model-with-a-very-long-name-" * 5


@pytest.mark.usefixtures("embedded")
def test_explain_shows_the_order(run: Run) -> None:
    """`explain` lists the targets in the order in which they would be tried."""
    ended = run("explain", "hello")
    assert ended.code == 0
    assert ended.out.startswith("alias default, routes version 1\n")
    assert ended.out.index("simulated/small") < ended.out.index("simulated/large")


@pytest.mark.usefixtures("embedded")
def test_models_lists_what_may_be_asked_for(run: Run) -> None:
    """`models` lists aliases before models."""
    lines = run("models").out.splitlines()
    assert [line.split()[:2] for line in lines[1:2]] == [["default", "alias"]]
    assert any(line.startswith("simulated/large") for line in lines)


@pytest.mark.usefixtures("embedded")
@pytest.mark.parametrize(("command", "key"), [("explain", "candidates"), ("models", "models")])
def test_tables_as_json(run: Run, command: str, key: str) -> None:
    """`--json` prints the answer as protobuf JSON on one line."""
    ended = run(command, "--json")
    assert ended.out.count("\n") == 1
    assert json.loads(ended.out)[key]


def test_long_names_are_folded_and_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    """Tables stay within 100 columns and lose no character."""
    explanation = RouteExplanation()
    candidate = explanation.candidates.add(removed_because=["the key is quarantined until noon"] * 3)
    candidate.target.provider, candidate.target.model = "acme", LONG
    listed = ListModelsResponse()
    model = listed.models.add(name=LONG, is_alias=True, capabilities=["vision"])
    model.targets.add(provider="acme", model=LONG)
    explain._show(explanation)
    models._show(listed)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 100
    assert "…" not in out
    assert out.count("very-long") + out.count("very-\n") >= 5


def test_prices_and_predictions_are_in_their_units(capsys: pytest.CaptureFixture[str]) -> None:
    """Prices are US dollars a million tokens, costs US dollars, times seconds; what is unknown is a question mark."""
    listed = ListModelsResponse()
    listed.models.add(name="m", input_nanousd_per_million=150_000_000, context_tokens=128_000)
    models._show(listed)
    assert capsys.readouterr().out.splitlines()[1].split() == ["m", "model", "128000", "?", "0.15", "?"]
    explanation = RouteExplanation()
    candidate = explanation.candidates.add(order=1, eligible=True, predicted_cost_nanousd=1_500, weight=2)
    candidate.target.provider, candidate.target.model = "acme", "one"
    candidate.predicted_first_token.FromMilliseconds(250)
    candidate.ordered_by = "weighted"
    explain._show(explanation)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.split() == ["1", "0", "acme/one", "2", "weighted", "?", "0.250", "s", "$0.0000015"]


@pytest.mark.parametrize(
    ("ordered_by", "score", "shown"),
    [
        ("weighted", 0.5, "0.5"),
        ("sticky", 1.23456, "1.235"),
        ("least_loaded", 0.25, "0.25 s"),
        ("lowest_latency", 2.0, "2 s"),
        ("lowest_cost", 600_000.0, "$0.0006"),
    ],
)
def test_scores_are_in_the_unit_of_their_strategy(
    capsys: pytest.CaptureFixture[str], ordered_by: str, score: float, shown: str
) -> None:
    """Seconds of load and of latency, US dollars of cost, bare numbers of turns and sticky keys."""
    explanation = RouteExplanation()
    explanation.candidates.add(order=1, eligible=True, ordered_by=ordered_by, score=score)
    explain._show(explanation)
    assert f"{ordered_by}  {shown}".split() == capsys.readouterr().out.splitlines()[-1].split()[4:-2]


def test_what_stands_against_a_target_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """What removed it, that it is late, and what its keys say if that is not what removed it."""
    explanation = RouteExplanation()
    explanation.candidates.add(order=1, eligible=True, late=True, keys="all cool", circuit="RAMPING", in_flight=3)
    explanation.candidates.add(removed_because=["keys: all rejected"], keys="all rejected")
    explain._show(explanation)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 100
    told = " ".join(out.split())
    assert "3 ramping late: its first content usually comes after the limit; keys, for now: all cool" in told
    assert told.count("all rejected") == 1
