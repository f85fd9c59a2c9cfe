"""Quirks: each changes what it says, and nothing else; what a server lacks is left out and told."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest

from trunkline_server.chat.answer import Usage, UsageSource
from trunkline_server.chat.message import (
    Message,
    Role,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from trunkline_server.chat.request import (
    ChatRequest,
    FunctionTool,
    ReasoningEffort,
    Sampling,
    ToolChoice,
    ToolMode,
)
from trunkline_server.config.presets import shipped_presets
from trunkline_server.providers.base import AdapterTerms, RateLimitHeaders
from trunkline_server.providers.openai import OpenAIAdapter
from trunkline_server.providers.openai.adapter import FEATURES
from trunkline_server.providers.quirks import NO_QUIRKS, Quirks, read_quirks
from trunkline_server.routing.failures import FailureClass

HI = Message(Role.USER, (TextPart("hi"),))
SHORTEST = ChatRequest(model="default", messages=(HI,), request_id="r-1")
EVERYTHING = replace(
    SHORTEST,
    messages=(
        Message(Role.DEVELOPER, (TextPart("be brief"),)),
        Message(Role.USER, (TextPart("look"),), name="ann"),
        Message(
            Role.ASSISTANT,
            (
                ThinkingPart("hm", provider="one"),
                ThinkingPart("not yours", provider="two"),
                ToolCallPart("call_PTLP8xhu3uwZk4l3", "look", "{}"),
            ),
        ),
        Message(Role.TOOL, (ToolResultPart("call_PTLP8xhu3uwZk4l3", (TextPart("seen"),)),)),
        Message(Role.ASSISTANT, (ToolCallPart("abcDEF123", "look", "{}"),)),
        Message(Role.TOOL, (ToolResultPart("abcDEF123", (TextPart("again"),)),)),
    ),
    sampling=Sampling(
        temperature=0.5,
        top_p=0.9,
        top_k=7,
        max_output_tokens=64,
        stop=("a", "b", "c", "d", "e"),
        seed=11,
        frequency_penalty=0.1,
        presence_penalty=0.2,
        top_logprobs=3,
        reasoning_effort=ReasoningEffort.LOW,
        reasoning_max_tokens=99,
    ),
    tools=(FunctionTool("look", strict=True),),
    tool_choice=ToolChoice(ToolMode.REQUIRED, parallel=False),
)


def adapter_with(**quirks: Any) -> OpenAIAdapter:
    return OpenAIAdapter(AdapterTerms("one", quirks=read_quirks(quirks)))


def encoded(request: ChatRequest, *, stream: bool = False, **quirks: Any) -> tuple[dict[str, Any], list[str]]:
    call = adapter_with(**quirks).encode(request, "one", "m", stream=stream)
    return json.loads(call.body), [warning.field for warning in call.warnings]


PLAIN, WARNED = encoded(EVERYTHING, stream=True)
"""What OpenAI gets."""


def changed(**quirks: Any) -> dict[str, tuple[Any, Any]]:
    """Return what a quirk changes of the body: before and after, by field."""
    body, _ = encoded(EVERYTHING, stream=True, **quirks)
    return {
        name: (PLAIN.get(name), body.get(name))
        for name in PLAIN.keys() | body.keys()
        if PLAIN.get(name) != body.get(name)
    }


def test_without_quirks_all_goes_that_chat_completions_carry() -> None:
    """The default is OpenAI's own server: three things of this request have no place there."""
    assert WARNED == ["sampling.stop", "sampling.top_k", "sampling.reasoning_max_tokens"]
    assert PLAIN["stop"] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("quirks", "expected"),
    [
        ({"max_tokens_field": "max_tokens"}, {"max_completion_tokens": (64, None), "max_tokens": (None, 64)}),
        ({"seed_field": "random_seed"}, {"seed": (11, None), "random_seed": (None, 11)}),
        ({"stream_usage": False}, {"stream_options": ({"include_usage": True}, None)}),
        ({"required_word": "any"}, {"tool_choice": ("required", "any")}),
        ({"adds": ["top_k"]}, {"top_k": (None, 7)}),
        ({"adds": ["many_stops"]}, {"stop": (list("abcd"), list("abcde"))}),
        ({"efforts": {"low": "minimal"}}, {"reasoning_effort": ("low", "minimal")}),
        (
            {"reasoning_form": "reasoning"},
            {"reasoning_effort": ("low", None), "reasoning": (None, {"effort": "low"})},
        ),
        (
            {"reasoning_form": "reasoning", "adds": ["reasoning_max_tokens"]},
            {"reasoning_effort": ("low", None), "reasoning": (None, {"effort": "low", "max_tokens": 99})},
        ),
        ({"no_thinking": "thinking_disabled"}, {}),
        ({"limits": {"remaining_tokens": "x"}, "statuses": {"403": "CONTEXT_LENGTH"}}, {}),
    ],
)
def test_a_quirk_changes_what_it_says_and_nothing_else(
    quirks: dict[str, Any], expected: dict[str, tuple[Any, Any]]
) -> None:
    """The body of a rich request differs in the fields of the quirk alone."""
    assert changed(**quirks) == expected


LOST = {
    "temperature": ({"temperature"}, "sampling.temperature"),
    "top_p": ({"top_p"}, "sampling.top_p"),
    "seed": ({"seed"}, "sampling.seed"),
    "frequency_penalty": ({"frequency_penalty"}, "sampling.frequency_penalty"),
    "presence_penalty": ({"presence_penalty"}, "sampling.presence_penalty"),
    "stop": ({"stop"}, "sampling.stop"),
    "logprobs": ({"logprobs", "top_logprobs"}, "sampling.top_logprobs"),
    "top_logprobs": ({"top_logprobs"}, "sampling.top_logprobs"),
    "reasoning_effort": ({"reasoning_effort"}, "sampling.reasoning_effort"),
    "parallel_tool_calls": ({"parallel_tool_calls"}, "tool_choice.parallel"),
    "message_name": ({"messages"}, "messages[1].name"),
    "strict_tools": ({"tools"}, "tools[0].function.strict"),
}


@pytest.mark.parametrize("feature", LOST)
def test_what_a_server_lacks_is_left_out_and_told(feature: str) -> None:
    """A feature that may be dropped leaves the body where it stood, with a warning of that field, once."""
    fields, warned = LOST[feature]
    assert changed(lacks=[feature]).keys() == fields
    _, fields_warned = encoded(EVERYTHING, lacks=[feature])
    assert fields_warned.count(warned) == 1
    assert feature not in adapter_with(lacks=[feature]).features


@pytest.mark.parametrize(
    ("lacks", "sampling", "lost"),
    [
        ("high_temperature", Sampling(temperature=1.5), ["sampling.temperature"]),
        ("high_temperature", Sampling(temperature=1.0), []),
        ("wide_penalties", Sampling(presence_penalty=-1), ["sampling.presence_penalty"]),
        ("wide_penalties", Sampling(frequency_penalty=1), []),
    ],
)
def test_a_range_that_a_server_lacks_loses_what_is_beyond_it(lacks: str, sampling: Sampling, lost: list[str]) -> None:
    """A value inside the server's range is sent."""
    body, warned = encoded(replace(SHORTEST, sampling=sampling), lacks=[lacks])
    assert warned == lost
    assert (len(body) == 2) == bool(lost)


def test_one_call_at_a_time_that_was_not_asked_for_is_no_loss() -> None:
    """`parallel: true` is what every server does by itself."""
    request = replace(SHORTEST, tool_choice=ToolChoice(parallel=True))
    assert encoded(request, lacks=["parallel_tool_calls"]) == (
        {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
        [],
    )


def test_the_developer_speaks_as_the_system_where_there_is_no_other_role() -> None:
    """Only the role changes, in short messages and in long ones."""
    request = replace(SHORTEST, messages=(Message(Role.DEVELOPER, (TextPart("a"), TextPart("b"))), HI))
    body, _ = encoded(request, developer_role="system")
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert changed(developer_role="system")["messages"][1][0]["role"] == "system"


def test_ids_that_a_server_refuses_are_replaced_in_calls_and_results_alike() -> None:
    """Nine letters and digits stay as they are; others become such, the same each time."""
    body, _ = encoded(EVERYTHING, tool_ids="nine_alphanumerics")
    calls = [call["id"] for message in body["messages"] for call in message.get("tool_calls", ())]
    results = [message["tool_call_id"] for message in body["messages"] if message["role"] == "tool"]
    assert calls == results
    assert calls[1] == "abcDEF123"
    assert len(calls[0]) == 9
    assert calls[0].isalnum()


def test_ids_that_are_too_long_for_openai_are_replaced_in_calls_and_results_alike() -> None:
    """Forty characters of any kind stay as they are, more become fewer: its error `string_above_max_length`."""
    ids = ["functions.weather:0", "x" * 40, "chatcmpl-tool-" + "0" * 32]
    messages = tuple(
        message
        for each in ids
        for message in (
            Message(Role.ASSISTANT, (ToolCallPart(each, "weather", "{}"),)),
            Message(Role.TOOL, (ToolResultPart(each, (TextPart("dry"),)),)),
        )
    )
    body, _ = encoded(replace(SHORTEST, messages=(HI, *messages)))
    calls = [call["id"] for message in body["messages"] for call in message.get("tool_calls", ())]
    assert calls == [message["tool_call_id"] for message in body["messages"] if message["role"] == "tool"]
    assert calls[:2] == ids[:2]
    assert 9 <= len(calls[2]) <= 40


def test_own_thinking_goes_back_where_the_server_takes_it() -> None:
    """Another provider's thinking never does; a turn with calls has the field, if the server insists on it."""
    given = changed(thinking_field="reasoning_content")["messages"][1]
    assert [message.get("reasoning_content") for message in given] == [None, None, "hm", None, None, None]
    given = changed(thinking_field="reasoning_content", thinking_with_calls=True)["messages"][1]
    assert [message.get("reasoning_content") for message in given] == [None, None, "hm", None, "", None]


def test_not_to_think_is_said_in_the_words_of_the_server() -> None:
    """The effort `none` is an effort, or a switch of its own."""
    request = replace(SHORTEST, sampling=Sampling(reasoning_effort=ReasoningEffort.NONE))
    assert encoded(request)[0]["reasoning_effort"] == "none"
    body, _ = encoded(request, no_thinking="thinking_disabled")
    assert body["thinking"] == {"type": "disabled"}
    assert "reasoning_effort" not in body


def test_limits_are_read_by_the_names_of_the_server() -> None:
    """Its headers are read in place of OpenAI's; a reset that is a moment is measured from the response's date."""
    at = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
    headers = {
        "x-left": "7",
        "x-until": str(int(at.timestamp()) + 30),
        "x-until-ms": str(int(at.timestamp() * 1000) + 1500),
        "date": format_datetime(at, usegmt=True),
        "x-ratelimit-remaining-requests": "1",
    }
    names = {"remaining_requests": "x-left", "reset_requests": "x-until", "reset_is": "epoch_s"}
    assert adapter_with(limits=names).limits(headers) == RateLimitHeaders(remaining_requests=7, reset_requests_s=30.0)
    names |= {"reset_requests": "x-until-ms", "reset_is": "epoch_ms"}
    assert adapter_with(limits=names).limits(headers) == RateLimitHeaders(remaining_requests=7, reset_requests_s=1.5)
    assert adapter_with(limits={"remaining_tokens": "x-none"}).limits(headers) is None


@pytest.mark.parametrize(("value", "expected"), [("1", 0.0), ("soon", None), ("", None)])
def test_a_moment_that_is_past_or_none_is_no_time_to_wait(value: str, expected: float | None) -> None:
    """Without a date of the response the clock of this machine counts."""
    names = {"remaining_requests": "x-left", "reset_requests": "x-until", "reset_is": "epoch_s"}
    found = adapter_with(limits=names).limits({"x-left": "0", "x-until": value})
    assert found is not None
    assert found.reset_requests_s == expected
    later = adapter_with(limits=names).limits({"x-left": "0", "x-until": str(time.time() + 60)})
    assert later is not None
    assert later.reset_requests_s == pytest.approx(60, abs=5)


def test_a_status_may_mean_something_else() -> None:
    """Codes and texts still go before it."""
    adapter = adapter_with(statuses={"403": "CONTEXT_LENGTH"})
    assert adapter.classify(403, {}, b"").failure_class is FailureClass.CONTEXT_LENGTH
    body = b'{"error":{"message":"no","code":"invalid_api_key"}}'
    assert adapter.classify(403, {}, body).failure_class is FailureClass.KEY_REJECTED
    assert OpenAIAdapter().classify(403, {}, b"").failure_class is FailureClass.KEY_REJECTED


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"max_token_field": "max_tokens"}, "max_token_field"),
        ({"max_tokens_field": "maximum"}, "max_tokens_field"),
        ({"lacks": ["tols"]}, "tols"),
        ({"lacks": "tools"}, "lacks"),
        ({"adds": ["tools"]}, "tools"),
        ({"adds": ["reasoning_max_tokens"]}, "reasoning_max_tokens"),
        ({"limits": {"left": "x"}}, "limits"),
        ({"limits": {"reset_is": "date"}}, "reset_is"),
        ({"statuses": {"four": "OVERLOADED"}}, "statuses"),
        ({"statuses": {"403": "BUSY"}}, "BUSY"),
        ({"stream_usage": "no"}, "stream_usage"),
    ],
)
def test_a_quirk_that_is_none_is_refused_by_name(values: dict[str, Any], place: str) -> None:
    """Names and words are a closed set; the error says which one is wrong."""
    with pytest.raises(ValueError, match=place):
        read_quirks(values)


@pytest.mark.parametrize("preset", [name for name, one in shipped_presets().items() if one.protocol == "openai"])
def test_every_preset_has_sound_quirks(preset: str) -> None:
    """Data is typed like code: each entry reads, takes away only what the protocol has, and adds what it has not."""
    quirks = read_quirks(shipped_presets()[preset].quirks)
    assert quirks.lacks <= FEATURES
    assert not quirks.adds & FEATURES
    adapter = OpenAIAdapter(AdapterTerms(preset, quirks=quirks))
    assert adapter.features == FEATURES - quirks.lacks | quirks.adds
    assert json.loads(adapter.encode(EVERYTHING, preset, "m", stream=True).body)["model"] == "m"


def test_only_chat_completions_have_quirks() -> None:
    """Presets of other protocols, and of another wire, bring none."""
    for preset in shipped_presets().values():
        if preset.protocol != "openai" or preset.wire:
            assert read_quirks(preset.quirks) == NO_QUIRKS == Quirks()


STREAM_USAGE = {
    "Groq's own place, https://console.groq.com/docs/api-reference": (
        {"choices": [], "x_groq": {"id": "req_1", "usage": {"prompt_tokens": 9, "completion_tokens": 4}}},
        Usage(9, 4, source=UsageSource.PROVIDER),
    ),
    "cache hits as DeepSeek has them, https://api-docs.deepseek.com/guides/kv_cache": (
        {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4, "prompt_cache_hit_tokens": 8}},
        Usage(9, 4, 8, source=UsageSource.PROVIDER),
    ),
    "reasoning beside the answer, as xAI counts, https://docs.x.ai/docs/guides/reasoning": (
        {
            "choices": [],
            "usage": {
                "prompt_tokens": 32,
                "completion_tokens": 9,
                "total_tokens": 241,
                "completion_tokens_details": {"reasoning_tokens": 200},
            },
        },
        Usage(32, 209, reasoning_tokens=200, source=UsageSource.PROVIDER),
    ),
    "reasoning inside the answer, as OpenAI counts": (
        {
            "choices": [],
            "usage": {
                "prompt_tokens": 32,
                "completion_tokens": 209,
                "total_tokens": 241,
                "completion_tokens_details": {"reasoning_tokens": 200},
            },
        },
        Usage(32, 209, reasoning_tokens=200, source=UsageSource.PROVIDER),
    ),
}


@pytest.mark.parametrize("case", STREAM_USAGE)
def test_usage_is_found_where_servers_put_it(case: str) -> None:
    """Output tokens hold the reasoning, whoever counts."""
    chunk, expected = STREAM_USAGE[case]
    decoder = adapter_with().stream_decoder(SHORTEST)
    decoder.feed(f"data: {json.dumps(chunk)}\n\n".encode())
    assert decoder.usage == expected
