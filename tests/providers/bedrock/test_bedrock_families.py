"""What each family of models is sent beyond what is common to all: a golden table."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from trunkline_server.chat.message import Message, Role, TextPart, ToolCallPart, ToolResultPart
from trunkline_server.chat.request import (
    ChatRequest,
    FunctionTool,
    ReasoningEffort,
    Sampling,
    ToolChoice,
    ToolMode,
)
from trunkline_server.providers.base import AdapterTerms, ModelTerms
from trunkline_server.providers.bedrock import BedrockAdapter
from trunkline_server.providers.bedrock.families import family_of

E = ReasoningEffort
SHORTEST = ChatRequest("default", (Message(Role.USER, (TextPart("hi"),)),), "r-1")

FAMILIES = {
    "anthropic.claude-v2:1": "Claude without thinking",
    "anthropic.claude-3-5-sonnet-20241022-v2:0": "Claude without thinking",
    "us.anthropic.claude-3-7-sonnet-20250219-v1:0": "Claude",
    "anthropic.claude-opus-4-20250514-v1:0": "Claude",
    "anthropic.claude-opus-4-1-20250805-v1:0": "Claude",
    "global.anthropic.claude-sonnet-4-5-20250929-v1:0": "Claude",
    "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-haiku-4-5-20251001-v1:0": "Claude",
    "anthropic.claude-opus-4-6-v1": "Claude",
    "anthropic.claude-sonnet-4-6": "Claude",
    "anthropic.claude-opus-4-7": "Claude",
    "anthropic.claude-opus-5": "Claude",
    "us.amazon.nova-2-lite-v1:0": "Nova 2",
    "amazon.nova-pro-v1:0": "Nova",
    "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0": "Nova",
    "openai.gpt-oss-120b-1:0": "gpt-oss",
    "cohere.command-r-plus-v1:0": "Command R",
    "mistral.mistral-large-2407-v1:0": "Mistral",
    "ai21.jamba-1-5-large-v1:0": "Jamba",
    "meta.llama3-3-70b-instruct-v1:0": "other models",
    "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3d4e5f6": "other models",
}
"""Ids: docs.aws.amazon.com/bedrock/latest/userguide/models-supported.html, inference-profiles-support.html and
claude-messages-adaptive-thinking.html, as of 2026-11-23."""


@pytest.mark.parametrize("model", FAMILIES)
def test_the_family_is_told_from_the_id(model: str) -> None:
    """Ids, profiles and ARNs of all makers."""
    assert family_of(model).name == FAMILIES[model]


CLAUDE_35 = "anthropic.claude-3-5-sonnet-20241022-v2:0"
CLAUDE_37 = "us.anthropic.claude-3-7-sonnet-20250219-v1:0"
CLAUDE_45 = "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0"
CLAUDE_46, CLAUDE_47, CLAUDE_NEW = (
    "anthropic.claude-opus-4-6-v1",
    "anthropic.claude-opus-4-7",
    "anthropic.claude-opus-9",
)
NOVA_1, NOVA_2 = "amazon.nova-pro-v1:0", "amazon.nova-2-lite-v1:0"
OSS, COMMAND, LLAMA = "openai.gpt-oss-20b-1:0", "cohere.command-r-v1:0", "meta.llama3-1-8b-instruct-v1:0"
EFFORT, BUDGET = "sampling.reasoning_effort", "sampling.reasoning_max_tokens"


def thinking(tokens: int) -> dict[str, Any]:
    return {"thinking": {"type": "enabled", "budget_tokens": tokens}}


def nova(effort: str) -> dict[str, Any]:
    return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": effort}}


ADAPTIVE = {"thinking": {"type": "adaptive"}}
SHOWN = {"thinking": {"type": "adaptive", "display": "summarized"}}

GOLDEN: list[tuple[str, Sampling, dict[str, Any] | None, str | None, list[str]]] = [
    # model, what is asked for, the model's own fields, the API's effort, warnings
    (CLAUDE_45, Sampling(top_k=3), {"top_k": 3}, None, []),
    (CLAUDE_45, Sampling(reasoning_effort=E.NONE), None, None, []),
    (CLAUDE_45, Sampling(reasoning_max_tokens=0), None, None, []),
    (CLAUDE_45, Sampling(reasoning_effort=E.MINIMAL), thinking(1024), None, []),
    (CLAUDE_45, Sampling(reasoning_effort=E.HIGH), thinking(16_384), None, []),
    (CLAUDE_45, Sampling(reasoning_effort=E.MAX), thinking(32_000), None, []),
    (CLAUDE_45, Sampling(reasoning_effort=E.HIGH, max_output_tokens=4096), thinking(2048), None, []),
    (CLAUDE_45, Sampling(reasoning_max_tokens=5000), thinking(5000), None, []),
    (CLAUDE_45, Sampling(reasoning_max_tokens=100), thinking(1024), None, [BUDGET]),
    (CLAUDE_45, Sampling(reasoning_effort=E.LOW, max_output_tokens=1024), None, None, [EFFORT]),
    (CLAUDE_45, Sampling(reasoning_effort=E.LOW, temperature=0.5, top_p=0.5, top_k=3), thinking(2048), None,
     ["sampling.temperature", "sampling.top_p", "sampling.top_k"]),
    (CLAUDE_45, Sampling(temperature=0.5, top_p=0.5), None, None, ["sampling.top_p"]),
    (CLAUDE_37, Sampling(temperature=0.5, top_p=0.5), None, None, []),
    (CLAUDE_37, Sampling(reasoning_effort=E.LOW), thinking(2048), None, []),
    (CLAUDE_35, Sampling(reasoning_effort=E.LOW, reasoning_max_tokens=9), None, None, [BUDGET, EFFORT]),
    (CLAUDE_35, Sampling(reasoning_effort=E.NONE), None, None, []),
    (CLAUDE_46, Sampling(reasoning_effort=E.MEDIUM), ADAPTIVE, "medium", []),
    (CLAUDE_46, Sampling(reasoning_max_tokens=5000), thinking(5000), None, []),
    (CLAUDE_47, Sampling(reasoning_effort=E.NONE), None, None, []),
    (CLAUDE_47, Sampling(reasoning_effort=E.MINIMAL), SHOWN, "low", []),
    (CLAUDE_47, Sampling(reasoning_effort=E.MAX), SHOWN, "max", []),
    (CLAUDE_47, Sampling(reasoning_max_tokens=5000), SHOWN, None, [BUDGET]),
    (CLAUDE_47, Sampling(temperature=1.0), None, None, ["sampling.temperature"]),
    (CLAUDE_NEW, Sampling(reasoning_effort=E.HIGH), SHOWN, "high", []),
    (NOVA_1, Sampling(top_k=3), {"inferenceConfig": {"topK": 3}}, None, []),
    (NOVA_1, Sampling(reasoning_effort=E.LOW), None, None, [EFFORT]),
    (NOVA_2, Sampling(reasoning_effort=E.NONE), {"reasoningConfig": {"type": "disabled"}}, None, []),
    (NOVA_2, Sampling(reasoning_effort=E.MINIMAL), nova("low"), None, []),
    (NOVA_2, Sampling(reasoning_effort=E.MAX), nova("high"), None, []),
    (NOVA_2, Sampling(reasoning_effort=E.HIGH, max_output_tokens=9), nova("medium"), None, [EFFORT]),
    (NOVA_2, Sampling(reasoning_max_tokens=9), None, None, [BUDGET]),
    (OSS, Sampling(reasoning_effort=E.HIGH), {"reasoning_effort": "high"}, None, []),
    (OSS, Sampling(reasoning_effort=E.NONE), None, None, [EFFORT]),
    (COMMAND, Sampling(top_k=3, seed=0, frequency_penalty=0.5, presence_penalty=0.25),
     {"k": 3, "seed": 0, "frequency_penalty": 0.5, "presence_penalty": 0.25}, None, []),
    (LLAMA, Sampling(top_k=3, seed=1, reasoning_effort=E.LOW), None, None,
     [EFFORT, "sampling.top_k", "sampling.seed"]),
]  # fmt: skip
"""As of 2026-11-23, from docs.aws.amazon.com: bedrock/latest/userguide/claude-messages-extended-thinking.html and
claude-messages-adaptive-thinking.html, nova/latest/nova2-userguide/core-inference.html and using-converse-api.html,
bedrock/latest/userguide/model-parameters-openai.html; the effort of the API from botocore 1.44.5's model."""


@pytest.mark.parametrize(("model", "sampling", "extra", "effort", "told"), GOLDEN)
def test_settings_by_family(
    model: str, sampling: Sampling, extra: dict[str, Any] | None, effort: str | None, told: list[str]
) -> None:
    """Each family gets what it takes in its own words, and whoever asked for more is told."""
    call = BedrockAdapter().encode(replace(SHORTEST, sampling=sampling), "bedrock", model, stream=False)
    body = json.loads(call.body)
    assert body.get("additionalModelRequestFields") == extra
    assert body.get("outputConfig", {}).get("effort") == effort
    assert [warning.field for warning in call.warnings] == told
    assert not any("Messages API" in warning.message for warning in call.warnings)


SETTINGS = {
    "temperature": Sampling(temperature=0.5),
    "top_p": Sampling(top_p=0.5),
    "top_k": Sampling(top_k=3),
    "seed": Sampling(seed=1),
    "frequency_penalty": Sampling(frequency_penalty=0.5),
    "presence_penalty": Sampling(presence_penalty=0.5),
    "reasoning_effort": Sampling(reasoning_effort=E.HIGH),
    "reasoning_max_tokens": Sampling(reasoning_max_tokens=2000),
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("model", FAMILIES)
def test_a_model_has_the_features_that_it_is_sent(model: str, name: str) -> None:
    """What would be left out is no feature of the model, so that such a request goes to another target."""
    request = replace(SHORTEST, sampling=SETTINGS[name])
    told = [warning.field for warning in BedrockAdapter().encode(request, "bedrock", model, stream=False).warnings]
    assert told == ([] if name in BedrockAdapter().features_of(model) else [f"sampling.{name}"])


FORCED = replace(SHORTEST, tools=(FunctionTool("f"),), tool_choice=ToolChoice(mode=ToolMode.REQUIRED))


def test_thinking_gives_way_to_what_must_be() -> None:
    """A call that must be made, and a round of tools that began without thinking, go before it."""
    thoughtful = Sampling(reasoning_effort=E.LOW)
    begun = (
        *SHORTEST.messages,
        Message(Role.ASSISTANT, (ToolCallPart("c", "f", "{}"),)),
        Message(Role.TOOL, (ToolResultPart("c", (TextPart("4"),)),)),
    )
    for request in (
        replace(FORCED, sampling=thoughtful),
        replace(FORCED, messages=begun, tool_choice=None, sampling=thoughtful),
    ):
        call = BedrockAdapter().encode(request, "bedrock", CLAUDE_45, stream=False)
        assert "additionalModelRequestFields" not in json.loads(call.body)
        assert [warning.field for warning in call.warnings] == [EFFORT]


def test_a_model_that_cannot_be_made_to_call() -> None:
    """The latest Claudes choose for themselves: such a request goes elsewhere, or is told."""
    call = BedrockAdapter().encode(FORCED, "bedrock", CLAUDE_NEW, stream=False)
    assert json.loads(call.body)["toolConfig"]["toolChoice"] == {"auto": {}}
    assert [warning.field for warning in call.warnings] == ["tool_choice"]
    assert not BedrockAdapter().features_of(CLAUDE_NEW) & {"tool_choice_required", "tool_choice_function"}


def test_what_the_routes_know_of_a_model_bounds_its_budget() -> None:
    """A budget stays below what the model writes at most."""
    terms = AdapterTerms("bedrock", models={CLAUDE_45: ModelTerms(max_output_tokens=8000)})
    request = replace(SHORTEST, sampling=Sampling(reasoning_effort=E.MAX))
    body = json.loads(BedrockAdapter(terms).encode(request, "bedrock", CLAUDE_45, stream=False).body)
    assert body["additionalModelRequestFields"] == thinking(4000)
