"""How hard to think, in the words of each generation of models.

What the models take, as of 2026-11-23: https://platform.claude.com/docs/en/build-with-claude/thinking and the pages
`whats-new-…` of each model under https://platform.claude.com/docs/en/models/.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.providers.anthropic.messages_requests import CLASSIC, HI, SHORTEST, body_of, conversation, turn, warned

from trunkline_server.chat.message import Role, TextPart, ThinkingPart, ToolCallPart, ToolResultPart
from trunkline_server.chat.request import ChatRequest, FunctionTool, ReasoningEffort, Sampling, ToolChoice, ToolMode
from trunkline_server.providers.anthropic.models import Thinking, traits_of

E = ReasoningEffort
ADAPTIVE = {"type": "adaptive"}
SHOWN = {"type": "adaptive", "display": "summarized"}
EFFORT, BUDGET = "sampling.reasoning_effort", "sampling.reasoning_max_tokens"
LEFT_OUT, ADJUSTED = "UNSUPPORTED_FIELD", "ADJUSTED_FIELD"


def budget(tokens: int) -> dict[str, Any]:
    return {"type": "enabled", "budget_tokens": tokens}


def asking(effort: ReasoningEffort | None = None, tokens: int | None = None, **more: Any) -> ChatRequest:
    return replace(SHORTEST, sampling=Sampling(reasoning_effort=effort, reasoning_max_tokens=tokens, **more))


def written(request: ChatRequest, model: str) -> tuple[Any, Any]:
    """Return what a body says of thinking and of effort."""
    body = body_of(request, model)
    return body.get("thinking"), body.get("output_config", {}).get("effort")


CASES: dict[str, tuple[str, ChatRequest, Any, str | None, list[tuple[str, str]]]] = {
    "nothing asked": ("claude-opus-5", asking(), None, None, []),
    "budget by effort": (CLASSIC, asking(E.MEDIUM), budget(8_192), None, []),
    "smallest budget": (CLASSIC, asking(E.MINIMAL), budget(1_024), None, []),
    "largest budget": (CLASSIC, asking(E.MAX), budget(32_000), None, []),
    "budget by tokens": (CLASSIC, asking(tokens=5_000), budget(5_000), None, []),
    "tokens go before effort": (CLASSIC, asking(E.HIGH, 5_000), budget(5_000), None, []),
    "no tokens say nothing beside effort": (CLASSIC, asking(E.LOW, 0), budget(2_048), None, []),
    "tokens below the least": (CLASSIC, asking(tokens=10), budget(1_024), None, [(ADJUSTED, BUDGET)]),
    "tokens above the limit": (
        CLASSIC,
        asking(tokens=9_000, max_output_tokens=8_000),
        budget(4_000),
        None,
        [(ADJUSTED, BUDGET)],
    ),
    "effort within the limit": (CLASSIC, asking(E.HIGH, max_output_tokens=3_000), budget(1_500), None, []),
    "no room to think": (CLASSIC, asking(E.HIGH, max_output_tokens=1_024), None, None, [(LEFT_OUT, EFFORT)]),
    "off where it is off": (CLASSIC, asking(E.NONE), None, None, []),
    "others' models know budgets": ("some-model", asking(E.LOW), budget(2_048), None, []),
    "4.6 by effort": ("claude-opus-4-6", asking(E.MAX), ADAPTIVE, "max", []),
    "4.6 by tokens": ("claude-sonnet-4-6", asking(tokens=2_000), budget(2_000), None, []),
    "4.7 shows it if asked to": ("claude-opus-4-7", asking(E.MINIMAL), SHOWN, "low", []),
    "4.8 has no budgets": ("claude-opus-4-8", asking(tokens=2_000), SHOWN, None, [(LEFT_OUT, BUDGET)]),
    "4.8 off": ("claude-opus-4-8", asking(E.NONE), None, None, []),
    "5 off": ("claude-opus-5", asking(E.NONE), {"type": "disabled"}, None, []),
    "5 off by tokens": ("claude-sonnet-5", asking(tokens=0), {"type": "disabled"}, None, []),
    "haiku 5.5 off": ("claude-haiku-5-5", asking(E.NONE), {"type": "disabled"}, None, []),
    "sonnet 5.5 off": ("claude-sonnet-5-5", asking(E.NONE), {"type": "between_tools"}, None, []),
    "never off": ("claude-fable-5", asking(E.NONE), None, "low", [(ADJUSTED, EFFORT)]),
    "5.5 by effort": ("claude-opus-5-5", asking(E.HIGH), SHOWN, "high", []),
}


@pytest.mark.parametrize("case", CASES)
def test_each_generation_thinks_as_it_is_told(case: str) -> None:
    """By budget, by effort or not at all; what it cannot be told is a warning."""
    model, request, thinking, effort, warnings = CASES[case]
    assert written(request, model) == (thinking, effort)
    assert warned(request, model) == warnings


FORCED = {"tools": (FunctionTool("look"),), "tool_choice": ToolChoice(mode=ToolMode.REQUIRED)}


@pytest.mark.parametrize(
    ("model", "thinking", "effort", "warnings"),
    [
        (CLASSIC, None, None, [(LEFT_OUT, EFFORT)]),
        ("claude-opus-4-6", None, "high", [(LEFT_OUT, EFFORT)]),
        ("claude-opus-5", SHOWN, "high", []),
    ],
)
def test_a_call_that_must_be_made_goes_before_thinking(
    model: str, thinking: Any, effort: str | None, warnings: list[tuple[str, str]]
) -> None:
    """Where the model refuses both together, thinking is left out and told."""
    request = replace(asking(E.HIGH), **FORCED)  # type: ignore[arg-type]  # fields by name
    assert written(request, model) == (thinking, effort)
    assert warned(request, model) == warnings


def test_a_text_to_go_on_from_goes_before_thinking() -> None:
    """A model cannot think before words that it is given."""
    request = replace(asking(E.HIGH), messages=(HI, turn(Role.ASSISTANT, TextPart("Once"))))
    assert written(request, CLASSIC) == (None, None)
    assert warned(request, CLASSIC) == [(LEFT_OUT, EFFORT)]


CALL = ToolCallPart("toolu_1", "look", "{}")
RESULT = turn(Role.TOOL, ToolResultPart("toolu_1", (TextPart("rain"),)))
OWN = ThinkingPart("hm", "sig", provider="anthropic")
FOREIGN = ThinkingPart("hm", "sig", provider="openai")


@pytest.mark.parametrize("thought", [OWN, FOREIGN])
def test_a_round_that_began_without_thinking_goes_on_without(thought: ThinkingPart) -> None:
    """The vendor refuses a budget where the calls that are answered had no thinking of its own in front of them."""
    messages = (HI, turn(Role.ASSISTANT, thought, CALL), RESULT)
    request = replace(asking(E.LOW), messages=messages)
    if thought is OWN:
        assert written(request, CLASSIC) == (budget(2_048), None)
        assert warned(request, CLASSIC) == []
    else:
        assert written(request, CLASSIC) == (None, None)
        assert warned(request, CLASSIC) == [(LEFT_OUT, EFFORT)]
    assert written(request, "claude-opus-4-6") == (ADAPTIVE, "low")


def test_a_new_question_may_be_thought_about_whatever_was_before() -> None:
    """Only the last round counts."""
    said = turn(Role.ASSISTANT, TextPart("Rain."))
    request = replace(asking(E.LOW), messages=(HI, turn(Role.ASSISTANT, FOREIGN, CALL), RESULT, said, HI))
    assert written(request, CLASSIC) == (budget(2_048), None)


def test_4_6_thinks_by_effort_in_a_round_that_has_no_thinking() -> None:
    """It needs none in front where it decides itself how much."""
    messages = (HI, turn(Role.ASSISTANT, CALL), RESULT)
    request = replace(asking(tokens=2_000), messages=messages)
    assert written(request, "claude-opus-4-6") == (ADAPTIVE, None)
    assert warned(request, "claude-opus-4-6") == [(LEFT_OUT, BUDGET)]


def test_who_thinks_draws_as_the_vendor_says() -> None:
    """While it thinks a model takes a temperature of 1, nearly all of the likeliest, and no top_k."""
    request = asking(E.LOW, temperature=0.5, top_p=0.5, top_k=5)
    body = body_of(request, "claude-3-7-sonnet-20250219")
    assert not {"temperature", "top_p", "top_k"} & set(body)
    fields = ["sampling.temperature", "sampling.top_p", "sampling.top_k"]
    assert [field for _, field in warned(request, "claude-3-7-sonnet-20250219")] == fields
    body = body_of(asking(E.LOW, temperature=1.0, top_p=0.95), "claude-3-7-sonnet-20250219")
    assert (body["temperature"], body["top_p"]) == (1.0, 0.95)


@pytest.mark.parametrize(
    ("model", "like"),
    [
        ("claude-3-haiku-20240307", "claude-3"),
        ("claude-opus-4-20250514", "claude-opus-4"),
        ("claude-opus-4-5-20251101", "claude-opus-4"),
        ("claude-opus-4-6", "claude-opus-4-6"),
        ("anthropic.claude-opus-4-7", "claude-opus-4-7"),
        ("us.anthropic.claude-sonnet-4-6-v1:0", "claude-sonnet-4-6"),
        ("claude-haiku-4-5@20251001", "claude-haiku-4"),
        ("anthropic/claude-sonnet-5-5", "claude-sonnet-5-5"),
        ("claude-fable-5-1", "claude-opus-5-5"),
        ("claude-hamlet-9", "claude-opus-5-5"),
    ],
)
def test_a_model_is_known_by_its_name(model: str, like: str) -> None:
    """Dates, and what platforms put around it, change nothing; a name of the vendor's to come is like its latest."""
    assert traits_of(model) == traits_of(like)


def test_models_of_others_are_taken_for_the_first_that_spoke_the_protocol() -> None:
    """Budgets, sampling parameters, prefills and forced calls."""
    traits = traits_of("glm-5.2")
    assert traits.thinking is Thinking.BUDGET
    assert traits.prefill
    assert traits.forced_tools
    assert body_of(conversation(HI, sampling=Sampling(temperature=0.5, top_p=0.5)), "glm-5.2")["top_p"] == 0.5
