"""How hard a model should think: in the words of its generation, and told where they fall short."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trunkline_server.chat.message import Message, Role, TextPart
from trunkline_server.chat.request import ChatRequest, ReasoningEffort, Sampling
from trunkline_server.providers.gemini import GeminiAdapter
from trunkline_server.providers.gemini.models import Thinking, traits_of

E = ReasoningEffort
EFFORT = ("ADJUSTED_FIELD", "sampling.reasoning_effort")
BUDGET = ("ADJUSTED_FIELD", "sampling.reasoning_max_tokens")


def sent(model: str, sampling: Sampling) -> tuple[dict[str, Any] | None, list[tuple[str, str]]]:
    request = ChatRequest("default", (Message(Role.USER, (TextPart("hi"),)),), "r", sampling)
    call = GeminiAdapter().encode(request, "google", model, stream=False)
    config = json.loads(call.body).get("generationConfig", {}).get("thinkingConfig")
    return config, [(warning.code, warning.field) for warning in call.warnings]


def level(name: str, *, shown: bool = True) -> dict[str, Any]:
    return {"thinkingLevel": name, **({"includeThoughts": True} if shown else {})}


def budget(tokens: int) -> dict[str, Any]:
    return {"thinkingBudget": tokens, **({"includeThoughts": True} if tokens else {})}


@pytest.mark.parametrize(
    ("model", "effort", "config", "warnings"),
    [
        ("gemini-3-flash", E.NONE, level("MINIMAL", shown=False), [EFFORT]),
        ("gemini-3-flash", E.MINIMAL, level("MINIMAL"), []),
        ("gemini-3-flash", E.LOW, level("LOW"), []),
        ("gemini-3-flash", E.MEDIUM, level("MEDIUM"), []),
        ("gemini-3-flash", E.HIGH, level("HIGH"), []),
        ("gemini-3-flash", E.MAX, level("HIGH"), []),
        ("gemini-3.5-flash-lite", E.MINIMAL, level("MINIMAL"), []),
        ("gemini-3.8-flash", E.MINIMAL, level("LOW"), [EFFORT]),
        ("gemini-3.8-flash", E.NONE, level("LOW", shown=False), [EFFORT]),
        ("gemini-3.1-pro", E.MINIMAL, level("LOW"), [EFFORT]),
        ("gemini-4-hydrogen", E.HIGH, level("HIGH"), []),
        ("gemini-pro-latest", E.HIGH, level("HIGH"), []),
        ("a-model-of-tomorrow", E.HIGH, level("HIGH"), []),
        ("gemini-2.5-flash", E.NONE, budget(0), []),
        ("gemini-2.5-flash", E.MINIMAL, budget(1024), []),
        ("gemini-2.5-flash", E.LOW, budget(1024), []),
        ("gemini-2.5-flash", E.MEDIUM, budget(8192), []),
        ("gemini-2.5-flash", E.HIGH, budget(24_576), []),
        ("gemini-2.5-flash", E.MAX, budget(24_576), []),
        ("gemini-2.5-pro", E.MAX, budget(32_768), []),
        ("gemini-2.5-pro", E.NONE, budget(128), [EFFORT]),
        ("gemini-2.0-flash", E.HIGH, None, [("UNSUPPORTED_FIELD", "sampling.reasoning_effort")]),
    ],
)
def test_efforts(
    model: str, effort: ReasoningEffort, config: dict[str, Any] | None, warnings: list[tuple[str, str]]
) -> None:
    """Each generation has its own scale; reasoning is shown whenever any is asked for."""
    assert sent(model, Sampling(reasoning_effort=effort)) == (config, warnings)


@pytest.mark.parametrize(
    ("model", "tokens", "config", "warnings"),
    [
        ("gemini-3-flash", 5000, budget(5000), []),
        ("gemini-2.5-flash", 0, budget(0), []),
        ("gemini-2.5-flash", 5000, budget(5000), []),
        ("gemini-2.5-flash", 50_000, budget(24_576), [BUDGET]),
        ("gemini-2.5-pro", 0, budget(128), [BUDGET]),
        ("gemini-2.0-flash", 5000, None, [("UNSUPPORTED_FIELD", "sampling.reasoning_max_tokens")]),
    ],
)
def test_budgets(model: str, tokens: int, config: dict[str, Any] | None, warnings: list[tuple[str, str]]) -> None:
    """A number of tokens is sent as it is, within what the model takes."""
    assert sent(model, Sampling(reasoning_max_tokens=tokens)) == (config, warnings)


def test_a_budget_goes_before_an_effort() -> None:
    """The provider takes only one of the two."""
    both = Sampling(reasoning_effort=E.LOW, reasoning_max_tokens=100)
    assert sent("gemini-3-flash", both) == (budget(100), [("UNSUPPORTED_FIELD", "sampling.reasoning_effort")])


def test_nothing_asked_is_nothing_said() -> None:
    """The model thinks as it does by itself."""
    assert sent("gemini-3-flash", Sampling(temperature=1.0)) == (None, [])


@pytest.mark.parametrize(
    ("model", "thinking", "signs"),
    [
        ("gemini-2.5-flash-lite", Thinking.BUDGET, False),
        ("gemini-2.0-flash", Thinking.NONE, False),
        ("gemini-1.5-pro-002", Thinking.NONE, False),
        ("gemini-3.1-flash-lite-preview", Thinking.LEVEL, True),
        ("gemini-12.10-pro", Thinking.LEVEL, True),
        ("publishers/google/models/gemini-2.5-pro", Thinking.BUDGET, False),
        ("gemini-flash-lite-latest", Thinking.LEVEL, True),
        ("my-gemini-2.5-pro", Thinking.LEVEL, False),
        ("gemini-robotics-er-2", Thinking.LEVEL, False),
        ("", Thinking.LEVEL, False),
    ],
)
def test_what_a_name_tells(model: str, thinking: Thinking, signs: bool) -> None:  # noqa: FBT001  a column of the table
    """The generation, where it stands at its place."""
    traits = traits_of(model)
    assert (traits.thinking, traits.signs_calls) == (thinking, signs)


def test_older_models_carry_less() -> None:
    """What came with the third generation rules the older ones out, and thinking those before 2.5."""
    adapter = GeminiAdapter()
    assert adapter.features_of("gemini-3-flash") == adapter.features
    assert adapter.features - adapter.features_of("gemini-2.5-pro") == {
        "json_with_tools",
        "tool_result_images",
        "tool_result_documents",
    }
    assert {"reasoning_effort", "reasoning_max_tokens"} <= adapter.features - adapter.features_of("gemini-2.0-flash")
