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
    candidate = explanation.candidates.add(order=1, eligible=True, predicted_cost_nanousd=1_500)
    candidate.target.provider, candidate.target.model = "acme", "one"
    candidate.predicted_first_token.FromMilliseconds(250)
    explain._show(explanation)
    assert capsys.readouterr().out.splitlines()[-1].split() == ["1", "0", "acme/one", "0.250", "s", "$0.0000015"]
