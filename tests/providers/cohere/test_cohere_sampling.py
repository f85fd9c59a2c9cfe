"""Golden pairs: settings of sampling and reasoning, in Cohere's names and ranges (SPEC, ERRORS, REASONING)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.providers.cohere.cohere_golden import PROVIDER, adapter

from trunkline_server.chat.message import Message, Role, TextPart
from trunkline_server.chat.request import ChatRequest, ReasoningEffort, Sampling

E = ReasoningEffort


def sampled(**settings: Any) -> ChatRequest:
    return ChatRequest("default", (Message(Role.USER, (TextPart("hi"),)),), "r-1", sampling=Sampling(**settings))


def encoded(request: ChatRequest) -> dict[str, Any]:
    body = json.loads(adapter().encode(request, PROVIDER, "command-a", stream=False).body)
    assert isinstance(body, dict)
    return body


def warned(request: ChatRequest) -> list[tuple[str, str]]:
    call = adapter().encode(request, PROVIDER, "command-a", stream=False)
    return [(warning.code, warning.field) for warning in call.warnings]


def test_sampling() -> None:
    """Every setting has the vendor's name; five stops are taken."""
    request = sampled(
        temperature=0.0,
        top_p=0.5,
        top_k=40,
        max_output_tokens=7,
        stop=tuple("abcde"),
        seed=0,
        frequency_penalty=0.25,
        presence_penalty=1.0,
        top_logprobs=0,
    )
    body = encoded(request)
    assert {name: body[name] for name in body if name not in {"model", "messages", "stream"}} == {
        "temperature": 0.0,
        "p": 0.5,
        "k": 40,
        "max_tokens": 7,
        "stop_sequences": list("abcde"),
        "seed": 0,
        "frequency_penalty": 0.25,
        "presence_penalty": 1.0,
        "logprobs": True,
    }
    assert warned(request) == []


@pytest.mark.parametrize(
    ("settings", "name", "sent"),
    [
        ({"temperature": 1.5}, "temperature", 1.0),
        ({"top_p": 1.0}, "p", 0.99),
        ({"top_p": 0.0}, "p", 0.01),
        ({"top_k": 1000}, "k", 500),
        ({"frequency_penalty": -1.0}, "frequency_penalty", 0.0),
        ({"presence_penalty": 2.0}, "presence_penalty", 1.0),
    ],
)
def test_figures_out_of_range_become_the_nearest_and_are_told(settings: Any, name: str, sent: float) -> None:
    """The ranges are those of SPEC and of the error texts of ERRORS."""
    request = sampled(**settings)
    assert encoded(request)[name] == sent
    assert warned(request) == [("ADJUSTED_FIELD", f"sampling.{next(iter(settings))}")]


@pytest.mark.parametrize(
    ("settings", "thinking"),
    [
        ({"reasoning_effort": E.NONE}, {"type": "disabled"}),
        ({"reasoning_max_tokens": 0}, {"type": "disabled"}),
        ({"reasoning_effort": E.MINIMAL}, {"type": "enabled", "token_budget": 1024}),
        ({"reasoning_effort": E.HIGH}, {"type": "enabled", "token_budget": 16384}),
        ({"reasoning_effort": E.MAX}, {"type": "enabled"}),
        ({"reasoning_effort": E.LOW, "reasoning_max_tokens": 500}, {"type": "enabled", "token_budget": 500}),
        ({"reasoning_effort": E.HIGH, "max_output_tokens": 5000}, {"type": "enabled", "token_budget": 3976}),
        ({"reasoning_effort": E.HIGH, "max_output_tokens": 100}, {"type": "enabled", "token_budget": 1}),
    ],
)
def test_reasoning_is_a_budget(settings: Any, thinking: dict[str, Any]) -> None:
    """An effort is a number of tokens, of which an output limit leaves a thousand for the text; REASONING."""
    request = sampled(**settings)
    assert encoded(request)["thinking"] == thinking
    assert warned(request) == []


@pytest.mark.parametrize(
    ("settings", "field", "kept"),
    [
        ({"top_logprobs": 2}, "sampling.top_logprobs", ("logprobs", True)),
        ({"stop": tuple("abcdef")}, "sampling.stop", ("stop_sequences", list("abcde"))),
    ],
)
def test_what_goes_beyond_the_api_is_left_out_and_told(settings: Any, field: str, kept: tuple[str, Any]) -> None:
    """What it has of it is sent."""
    request = sampled(**settings)
    assert warned(request) == [("UNSUPPORTED_FIELD", field)]
    assert encoded(request)[kept[0]] == kept[1]
