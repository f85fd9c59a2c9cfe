"""Golden pairs: a neutral request and the JSON that the Messages API gets for it."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from tests.providers.anthropic.messages_requests import (
    CLASSIC,
    LATEST,
    SHORTEST,
    TERMS,
    body_of,
    conversation,
    turn,
    warned,
)

from trunkline_server.chat.message import MediaPart, Role
from trunkline_server.chat.request import (
    FunctionTool,
    JsonObjectOutput,
    JsonSchemaOutput,
    ProviderTool,
    Sampling,
    ToolChoice,
    ToolMode,
)
from trunkline_server.providers.anthropic import AnthropicAdapter
from trunkline_server.providers.base import AdapterTerms

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CLOSED = {**SCHEMA, "additionalProperties": False}
LOOK = FunctionTool("look", "Looks at a city.", SCHEMA)


def test_the_shortest_call_has_a_model_a_limit_and_messages_only() -> None:
    """What was not asked for is not written, but for the limit, which the API wants and the model has."""
    call = AnthropicAdapter(TERMS).encode(SHORTEST, "anthropic", CLASSIC, stream=False)
    assert call.body == (
        b'{"model":"claude-sonnet-4-5","max_tokens":64000,"messages":[{"role":"user","content":"hi"}]}'
    )
    assert call.path == "/v1/messages"
    assert dict(call.headers) == {
        "content-type": "application/json",
        "accept": "application/json",
        "anthropic-version": "2023-06-01",
    }
    assert call.warnings == ()


def test_a_stream_is_asked_for() -> None:
    """Only a streamed call has `stream`."""
    call = AnthropicAdapter(TERMS).encode(SHORTEST, "anthropic", CLASSIC, stream=True)
    assert call.body.endswith(b',"stream":true}')
    assert call.headers["accept"] == "text/event-stream"


@pytest.mark.parametrize(
    ("base_url", "path"),
    [
        ("https://api.anthropic.com", "/v1/messages"),
        ("https://api.example/v1", "/messages"),
        ("https://api.example/anthropic", "/v1/messages"),
    ],
)
def test_a_base_url_may_end_with_the_version_or_not(base_url: str, path: str) -> None:
    """Either way the call goes to `/v1/messages` below it."""
    adapter = AnthropicAdapter(AdapterTerms("anthropic", base_url))
    assert adapter.encode(SHORTEST, "anthropic", CLASSIC, stream=False).path == path


@pytest.mark.parametrize(
    ("asked", "model", "written", "warnings"),
    [
        (None, CLASSIC, 64_000, []),
        (None, "unheard-of", 4_096, []),
        (100, CLASSIC, 100, []),
        (100_000, "unheard-of", 100_000, []),
        (100_000, CLASSIC, 64_000, [("ADJUSTED_FIELD", "sampling.max_output_tokens")]),
    ],
)
def test_there_is_always_a_limit(asked: int | None, model: str, written: int, warnings: list[tuple[str, str]]) -> None:
    """The request's, never above the model's; else the model's; else one that every model takes."""
    request = replace(SHORTEST, sampling=Sampling(max_output_tokens=asked))
    assert body_of(request, model)["max_tokens"] == written
    assert warned(request, model) == warnings


def test_a_version_of_the_api_can_be_asked_for() -> None:
    """The routes' `api_version` is sent; from 2026-10-21 on no model takes sampling parameters."""
    adapter = AnthropicAdapter(replace(TERMS, api_version="2026-10-21"))
    call = adapter.encode(replace(SHORTEST, sampling=Sampling(temperature=0.5)), "anthropic", CLASSIC, stream=False)
    assert call.headers["anthropic-version"] == "2026-10-21"
    assert b"temperature" not in call.body
    assert [warning.field for warning in call.warnings] == ["sampling.temperature"]
    assert "temperature" not in adapter.features_of(CLASSIC)
    assert "temperature" in AnthropicAdapter(TERMS).features_of(CLASSIC)


SAMPLING: dict[str, tuple[str, Sampling, dict[str, Any], list[str]]] = {
    "one of two": (CLASSIC, Sampling(temperature=0.5, top_p=0.9), {"temperature": 0.5}, ["sampling.top_p"]),
    "top_p alone": (CLASSIC, Sampling(top_p=0.9, top_k=5), {"top_p": 0.9, "top_k": 5}, []),
    "both, of old": (
        "claude-3-7-sonnet-20250219",
        Sampling(temperature=0.5, top_p=0.9, top_k=5),
        {"temperature": 0.5, "top_p": 0.9, "top_k": 5},
        [],
    ),
    "hot": (CLASSIC, Sampling(temperature=1.5), {"temperature": 1.0}, ["sampling.temperature"]),
    "none any more": (
        LATEST,
        Sampling(temperature=1.0, top_p=0.9, top_k=5),
        {},
        ["sampling.temperature", "sampling.top_p", "sampling.top_k"],
    ),
    "stops": (LATEST, Sampling(stop=("a", "b")), {"stop_sequences": ["a", "b"]}, []),
    "no place": (
        CLASSIC,
        Sampling(seed=1, frequency_penalty=0.5, presence_penalty=0.5, top_logprobs=0),
        {},
        ["sampling.seed", "sampling.frequency_penalty", "sampling.presence_penalty", "sampling.top_logprobs"],
    ),
}


@pytest.mark.parametrize("case", SAMPLING)
def test_sampling_is_what_the_model_takes(case: str) -> None:
    """The rest is told: what the API has no place for, and what this generation refuses."""
    model, sampling, written, left_out = SAMPLING[case]
    body = body_of(replace(SHORTEST, sampling=sampling), model)
    assert {key: body[key] for key in body if key not in {"model", "max_tokens", "messages"}} == written
    assert [field for _, field in warned(replace(SHORTEST, sampling=sampling), model)] == left_out


def test_functions_become_tools() -> None:
    """With a schema each, as the API wants, and `strict` only where it is asked for."""
    tools = (LOOK, FunctionTool("ping"), FunctionTool("exact", None, CLOSED, strict=True))
    assert body_of(replace(SHORTEST, tools=tools))["tools"] == [
        {"name": "look", "description": "Looks at a city.", "input_schema": SCHEMA},
        {"name": "ping", "input_schema": {"type": "object", "properties": {}}},
        {"name": "exact", "input_schema": CLOSED, "strict": True},
    ]


def test_tools_of_the_provider_pass_and_those_of_others_do_not() -> None:
    """A tool that this provider runs is written as it is; another's is left out with a warning."""
    search = MappingProxyType({"type": "web_search_20260318", "name": "web_search"})
    request = replace(SHORTEST, tools=(ProviderTool("anthropic", search), ProviderTool("openai", {"type": "x"})))
    assert body_of(request)["tools"] == [{"type": "web_search_20260318", "name": "web_search"}]
    assert warned(request) == [("UNSUPPORTED_FIELD", "tools[1].provider")]


CHOICES: dict[str, tuple[ToolChoice, dict[str, Any] | None]] = {
    "auto": (ToolChoice(mode=ToolMode.AUTO), {"type": "auto"}),
    "none": (ToolChoice(mode=ToolMode.NONE), {"type": "none"}),
    "required": (ToolChoice(mode=ToolMode.REQUIRED), {"type": "any"}),
    "one function": (ToolChoice(function="look"), {"type": "tool", "name": "look"}),
    "one at a time": (ToolChoice(parallel=False), {"type": "auto", "disable_parallel_tool_use": True}),
    "one, required": (
        ToolChoice(mode=ToolMode.REQUIRED, parallel=False),
        {"type": "any", "disable_parallel_tool_use": True},
    ),
    "none at all": (ToolChoice(mode=ToolMode.NONE, parallel=False), {"type": "none"}),
    "several": (ToolChoice(parallel=True), None),
}


@pytest.mark.parametrize("case", CHOICES)
def test_choices_of_tools(case: str) -> None:
    """Each mode has its type, and one call at a time its switch."""
    choice, written = CHOICES[case]
    request = replace(SHORTEST, tools=(LOOK,), tool_choice=choice)
    assert body_of(request).get("tool_choice") == written
    assert warned(request) == []


def test_a_choice_without_tools_is_not_written() -> None:
    """The API refuses one; what demands a call is told."""
    request = replace(SHORTEST, tool_choice=ToolChoice(mode=ToolMode.NONE))
    assert "tool_choice" not in body_of(request)
    assert warned(request) == []
    assert warned(replace(SHORTEST, tool_choice=ToolChoice(function="look"))) == [("UNSUPPORTED_FIELD", "tool_choice")]


@pytest.mark.parametrize("choice", [ToolChoice(mode=ToolMode.REQUIRED), ToolChoice(function="look")])
def test_the_latest_models_cannot_be_made_to_call(choice: ToolChoice) -> None:
    """They may call, which is told, and the protocol's features say so for the router."""
    request = replace(SHORTEST, tools=(LOOK,), tool_choice=choice)
    assert body_of(request, LATEST)["tool_choice"] == {"type": "auto"}
    assert warned(request, LATEST) == [("ADJUSTED_FIELD", "tool_choice")]
    assert not {"tool_choice_required", "tool_choice_function"} & AnthropicAdapter().features_of(LATEST)


def test_an_answer_of_a_schema() -> None:
    """The schema goes into the output's configuration, its objects closed; its name is ours alone."""
    request = replace(SHORTEST, output=JsonSchemaOutput("place", SCHEMA, strict=True))
    assert body_of(request)["output_config"] == {"format": {"type": "json_schema", "schema": CLOSED}}
    assert warned(request) == []


def test_json_without_a_schema_cannot_be_asked_for() -> None:
    """It is left out with a warning."""
    request = replace(SHORTEST, output=JsonObjectOutput())
    assert "output_config" not in body_of(request)
    assert warned(request) == [("UNSUPPORTED_FIELD", "output.json_object")]


def test_options_of_the_provider_join_the_body_and_go_first() -> None:
    """They have passed `check_options`; those of other providers stay out."""
    options: dict[str, dict[str, Any]] = {
        "anthropic": {"metadata": {"user_id": "u-1"}, "max_tokens": 5},
        "openai": {"user": "u"},
    }
    body = body_of(replace(SHORTEST, provider_options=options))
    assert (body["metadata"], body["max_tokens"]) == ({"user_id": "u-1"}, 5)
    assert "user" not in body


def test_files_that_were_uploaded_need_the_api_s_leave() -> None:
    """A call that names one says so in a header; other calls do not."""
    request = conversation(turn(Role.USER, MediaPart("application/pdf", file_id="file_1", provider="anthropic")))
    call = AnthropicAdapter(TERMS).encode(request, "anthropic", CLASSIC, stream=True)
    assert call.headers["anthropic-beta"] == "files-api-2025-04-14"
    assert "anthropic-beta" not in AnthropicAdapter(TERMS).encode(SHORTEST, "anthropic", CLASSIC, stream=True).headers
