"""Scenarios: which behaviour a request gets, and what is wrong with a bad file."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from trunkline_server.simulator.delays import Exponential, LogNormal, Uniform, draw_delay_s
from trunkline_server.simulator.errors import ScenarioError
from trunkline_server.simulator.rules import RuleBook, merge
from trunkline_server.simulator.scenario import Fault, Rule, Scenario, load_scenario, parse_fault_header, parse_scenario

if TYPE_CHECKING:
    from pathlib import Path


def fired(scenario: Scenario, count: int, key: str = "k", model: str = "m") -> list[int]:
    """Return the numbers, from 1, of the requests that got a status."""
    book = RuleBook(scenario)
    return [n for n in range(1, count + 1) if book.behaviour(key, model, stream=False, own=None).status is not None]


def test_counts_thin_a_rule() -> None:
    """`skip`, `every` and `times` say exactly which matching requests a rule applies to."""
    bad = Fault(status=500)
    assert fired(Scenario(rules=[Rule(fault=bad, times=2)]), 5) == [1, 2]
    assert fired(Scenario(rules=[Rule(fault=bad, skip=2, times=2)]), 9) == [3, 4]
    assert fired(Scenario(rules=[Rule(fault=bad, every=3)]), 9) == [3, 6, 9]
    assert fired(Scenario(rules=[Rule(fault=bad, skip=1, every=2, times=2)]), 9) == [3, 5]


def test_rules_match_key_model_and_stream() -> None:
    """A rule applies only to the key, model and kind of call that it names, and only those count in its `times`."""
    book = RuleBook(Scenario(rules=[Rule(fault=Fault(status=500), key="a", model="m", stream=True, times=1)]))
    calls = [("b", "m", True), ("a", "n", True), ("a", "m", False), ("a", "m", True), ("a", "m", True)]
    statuses = [book.behaviour(key, model, stream=stream, own=None).status for key, model, stream in calls]
    assert statuses == [None, None, None, 500, None]
    assert book.counts() == [{"matched": 2, "fired": 1}]


def test_first_firing_rule_is_used() -> None:
    """When a rule is used up the next matching one takes over."""
    scenario = Scenario(rules=[Rule(fault=Fault(status=500), times=1), Rule(fault=Fault(status=503), times=1)])
    book = RuleBook(scenario)
    assert [book.behaviour("k", "m", stream=False, own=None).status for _ in range(3)] == [500, 503, None]


def test_probability_is_seeded() -> None:
    """The same seed hits the same requests; another seed hits others; the share is about what was asked."""
    scenario = Scenario(rules=[Rule(fault=Fault(status=500), probability=0.3)], seed=1)
    first = fired(scenario, 1000)
    assert first == fired(scenario, 1000)
    assert first != fired(Scenario(rules=scenario.rules, seed=2), 1000)
    assert 250 < len(first) < 350


def test_layers_merge_field_by_field() -> None:
    """Default, key, model, rule and header merge in that order; `fresh` forgets what is below."""
    scenario = Scenario(
        default=Fault(chunks=1, first_byte_s=1.0),
        keys={"k": Fault(chunks=2)},
        models={"m": Fault(chunk_gap_s=0.5)},
        rules=[Rule(fault=Fault(chunks=3))],
    )
    book = RuleBook(scenario)
    assert book.behaviour("k", "m", stream=False, own=None) == Fault(chunks=3, first_byte_s=1.0, chunk_gap_s=0.5)
    own = Fault(fresh=True, chunks=4)
    assert book.behaviour("k", "m", stream=False, own=own) == Fault(fresh=True, chunks=4)
    assert merge([Fault(status=500), Fault(status=200)]) == Fault(status=200)


def test_header_in_both_forms() -> None:
    """The header takes JSON and a comma-separated list for the same fault."""
    assert parse_fault_header('{"status": 429, "retry_after_s": 1, "no_done": true}') == parse_fault_header(
        " status=429, retry_after_s=1 ,no_done"
    )
    assert parse_fault_header("content=hello world") == Fault(content="hello world")


def test_distributions_are_seeded_and_bounded() -> None:
    """Delays drawn with the same seed are the same, and stay within their bounds."""
    for delay in (Uniform(0.1, 0.2), Exponential(0.1, max_s=0.3), LogNormal(0.1, 1.0, max_s=0.3)):
        drawn = [draw_delay_s(delay, random) for random in [Random(5)] for _ in range(200)]
        assert drawn == [draw_delay_s(delay, random) for random in [Random(5)] for _ in range(200)]
        assert all(0 <= value <= 0.3 for value in drawn)
        assert len(set(drawn)) > 50
    assert draw_delay_s(0.25, Random(5)) == 0.25
    assert draw_delay_s(None, Random(5)) == 0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rules: [{fault: {status: 700}}]", "rules[0].fault.status: Expected `int` <= 599"),
        ("rules: [{times: 1}]", "rules[0]: Object missing required field `fault`"),
        ("nonsense: 1", "unknown field `nonsense`"),
        ("keys: {a: {error: zzz}}", "unknown error 'zzz'"),
        ("default: {first_byte_s: -1}", "default.first_byte_s"),
        ('default: {headers: {a: "b\\r\\nc: d"}}', "line break"),
        ("- 1", "Expected `object`, got `array`"),
        ("a: [", "not YAML"),
    ],
)
def test_bad_file_names_path_and_field(tmp_path: Path, text: str, problem: str) -> None:
    """What is wrong with a scenario file is said with its path and field."""
    file = tmp_path / "s.yaml"
    file.write_text(text)
    with pytest.raises(ScenarioError) as failed:
        load_scenario(file)
    assert str(failed.value).startswith(f"{file}: ")
    assert problem in str(failed.value)


def test_good_file_is_read(tmp_path: Path) -> None:
    """A scenario file becomes a scenario; an empty one is a healthy provider; a missing one is named."""
    file = tmp_path / "s.yaml"
    file.write_text("{default: {chunk_gap_s: {dist: uniform, low_s: 0, high_s: 1}}, rules: [{fault: {status: 500}}]}")
    assert load_scenario(file) == Scenario(
        default=Fault(chunk_gap_s=Uniform(0, 1)), rules=[Rule(fault=Fault(status=500))]
    )
    file.write_text("")
    assert load_scenario(file) == Scenario()
    with pytest.raises(ScenarioError, match="No such file"):
        load_scenario(tmp_path / "none.yaml")


def test_scenarios_built_in_code_are_checked_too() -> None:
    """A scenario made in Python is held to the same bounds as one from a file."""
    with pytest.raises(ScenarioError, match=r"default\.status"):
        parse_scenario(Scenario(default=Fault(status=42)))
