"""Cohere's dialect, as the vendor's own package reads it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import cohere
import httpx
import pytest
from cohere.core.api_error import ApiError

from trunkline_server.simulator.cohere.errors import ERRORS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trunkline_server.simulator.server import Simulator

HELLO = [{"role": "user", "content": "good morning"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 3}},
            "required": ["city"],
        },
    },
}
ONCE: Any = {"max_retries": 0}


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[cohere.AsyncClientV2]:
    async with httpx.AsyncClient(timeout=20, trust_env=False) as http:
        yield cohere.AsyncClientV2(api_key="co-a", base_url=simulator.url_of("cohere"), httpx_client=http)


async def chat(client: cohere.AsyncClientV2, **fields: Any) -> cohere.V2ChatResponse:
    return await client.chat(**{"model": "command-a", "messages": HELLO, "request_options": ONCE, **fields})


async def streamed(client: cohere.AsyncClientV2, **fields: Any) -> list[Any]:
    asked = {"model": "command-a", "messages": HELLO, "request_options": ONCE, **fields}
    return [event async for event in client.chat_stream(**asked)]


def texts(events: list[Any]) -> str:
    contents = [event.delta.message.content for event in events if event.type == "content-delta"]
    return "".join(content.text or "" for content in contents)


async def test_unary_echoes_the_last_user_message(client: cohere.AsyncClientV2) -> None:
    """Text of the last user message, and usage in both of the vendor's counts."""
    answer = await chat(client)
    assert answer.message.content is not None
    assert [item.type for item in answer.message.content] == ["text"]
    assert answer.message.content[0].text == "You said: good morning"  # type: ignore[union-attr]  # it is text
    assert answer.finish_reason == "COMPLETE"
    assert answer.usage is not None
    assert answer.usage.tokens is not None
    assert answer.usage.billed_units is not None
    assert answer.usage.tokens.output_tokens == answer.usage.billed_units.output_tokens == 4
    assert answer.message.tool_calls is None


async def test_stream_gives_the_same_text_and_usage(client: cohere.AsyncClientV2) -> None:
    """Events in the vendor's order; the end has reason and usage."""
    events = await streamed(client)
    assert [event.type for event in events] == [
        "message-start", "content-start", *["content-delta"] * 4, "content-end", "message-end",
    ]  # fmt: skip
    assert texts(events) == "You said: good morning"
    unary = await chat(client)
    assert events[-1].delta.finish_reason == unary.finish_reason
    assert events[-1].delta.usage == unary.usage


async def test_reasoning_is_a_block_of_its_own(client: cohere.AsyncClientV2, simulator: Simulator) -> None:
    """Before the text, with an index of its own."""
    simulator.configure({"default": {"reasoning": "let me see"}})
    answer = await chat(client)
    assert answer.message.content is not None
    assert [item.type for item in answer.message.content] == ["thinking", "text"]
    events = await streamed(client)
    started = [event for event in events if event.type == "content-start"]
    assert [(event.index, event.delta.message.content.type) for event in started] == [(0, "thinking"), (1, "text")]
    assert [event.index for event in events if event.type == "content-end"] == [0, 1]
    thoughts = [event.delta.message.content.thinking or "" for event in events if event.type == "content-delta"]
    assert "".join(thoughts) == "let me see"


async def test_tool_calls_come_after_their_plan(client: cohere.AsyncClientV2, simulator: Simulator) -> None:
    """A model that was not told to reason says what it is about to do; calls come one after the other."""
    simulator.configure({"default": {"reasoning": "I will look.", "tool_calls": 2, "tool_pieces": 3}})
    answer = await chat(client, tools=[WEATHER])
    assert (answer.finish_reason, answer.message.tool_plan) == ("TOOL_CALL", "I will look.")
    calls = answer.message.tool_calls or []
    assert len({call.id for call in calls}) == 2
    events = await streamed(client, tools=[WEATHER])
    kinds = [event.type for event in events]
    one = ["tool-call-start", *["tool-call-delta"] * 3, "tool-call-end"]
    assert kinds == ["message-start", *["tool-plan-delta"] * 3, *one, *one, "message-end"]
    starts = [event for event in events if event.type == "tool-call-start"]
    assert [event.index for event in starts] == [0, 1]
    pieces = [event.delta.message.tool_calls.function.arguments for event in events if event.type == "tool-call-delta"]
    assert calls[0].function is not None
    assert "".join(pieces[:3]) == calls[0].function.arguments
    assert set(json.loads("".join(pieces[3:]))) == {"city", "days"}


async def test_a_model_that_reasons_thinks_before_its_calls(client: cohere.AsyncClientV2, simulator: Simulator) -> None:
    """Then there is no plan."""
    simulator.configure({"default": {"reasoning": "let me see", "tool_calls": 1}})
    answer = await chat(client, tools=[WEATHER], thinking=cohere.Thinking(type="enabled", token_budget=100))
    assert answer.message.tool_plan is None
    assert answer.message.content is not None
    assert [item.type for item in answer.message.content] == ["thinking"]


async def test_a_call_can_be_forced_and_forbidden(client: cohere.AsyncClientV2, simulator: Simulator) -> None:
    """REQUIRED makes one, NONE none."""
    assert (await chat(client, tools=[WEATHER], tool_choice="REQUIRED")).message.tool_calls
    simulator.configure({"default": {"tool_calls": 1}})
    assert (await chat(client, tools=[WEATHER], tool_choice="NONE")).message.tool_calls is None


async def test_limits_stops_and_formats_are_kept(client: cohere.AsyncClientV2) -> None:
    """Output limit, stop sequences, JSON of a schema."""
    cut = await chat(client, max_tokens=2)
    assert cut.finish_reason == "MAX_TOKENS"
    stopped = await streamed(client, stop_sequences=["morning"])
    assert texts(stopped) == "You said: good "
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    formed = await streamed(client, response_format=cohere.JsonObjectResponseFormatV2(json_schema=schema))
    assert set(json.loads(texts(formed))) == {"n"}


async def test_log_probabilities_come_if_asked_for(client: cohere.AsyncClientV2) -> None:
    """For each piece of text, whole and as it comes."""
    answer = await chat(client, logprobs=True)
    assert answer.logprobs is not None
    assert "".join(item.text or "" for item in answer.logprobs) == "You said: good morning"
    events = await streamed(client, logprobs=True)
    assert [event.logprobs for event in events if event.type == "content-delta"] == answer.logprobs
    assert (await chat(client)).logprobs is None


@pytest.mark.parametrize("name", ERRORS)
async def test_every_error_is_the_package_s_own(client: cohere.AsyncClientV2, simulator: Simulator, name: str) -> None:
    """By its status, with the body's words; a trace goes with it."""
    simulator.configure({"default": {"error": name}})
    with pytest.raises(ApiError) as caught:
        await chat(client)
    assert caught.value.status_code == ERRORS[name].status
    assert caught.value.headers is not None
    assert caught.value.headers["x-debug-trace-id"]
    if not ERRORS[name].html:
        assert caught.value.body["message"] == ERRORS[name].message.replace("{model}", "command-a")


async def test_an_error_inside_a_stream_is_in_its_end(client: cohere.AsyncClientV2, simulator: Simulator) -> None:
    """The vendor has no other place for it."""
    simulator.configure({"default": {"error": "server_error", "error_after_chunks": 2}})
    events = await streamed(client)
    assert [event.type for event in events] == ["message-start", "content-start", *["content-delta"] * 2, "message-end"]
    assert (events[-1].delta.finish_reason, events[-1].delta.error) == ("ERROR", ERRORS["server_error"].message)


async def test_a_stream_without_its_reason_ends_without_it(client: cohere.AsyncClientV2, simulator: Simulator) -> None:
    """Its usage comes all the same."""
    simulator.configure({"default": {"no_finish_reason": True}})
    events = await streamed(client)
    assert events[-1].type == "message-end"
    assert events[-1].delta.finish_reason is None
    assert events[-1].delta.usage is not None


async def test_a_trial_key_s_calls_are_told(simulator: Simulator) -> None:
    """By the three headers that the vendor has; a refusal says the figure, and not when to come back."""
    simulator.configure({"capacity": {"requests_per_minute": 1}})
    headers = {"authorization": "Bearer co-a"}
    async with httpx.AsyncClient(base_url=simulator.url_of("cohere"), headers=headers, trust_env=False) as http:
        body = {"model": "m", "messages": HELLO}
        first = await http.post("/v2/chat", json=body)
        assert first.headers["x-trial-endpoint-call-limit"] == "1"
        assert first.headers["x-trial-endpoint-call-remaining"] == "0"
        second = await http.post("/v2/chat", json=body)
    assert second.status_code == 429
    assert "limited to 1 API calls / minute" in second.json()["message"]
    assert "retry-after" not in second.headers


CALLS = [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]
ASKED = [*HELLO, {"role": "assistant", "tool_calls": CALLS, "tool_plan": "I will look."}]
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no model": ({"model": ""}, "a model parameter is required"),
    "no messages": ({"messages": []}, "message must be at least 1 token long"),
    "an empty turn": ({"messages": [{"role": "user", "content": ""}]}, "message must not be empty"),
    "a late system turn": ({"messages": [*HELLO, {"role": "system", "content": "x"}]}, "system turn must be the first"),
    "another role": ({"messages": [{"role": "developer", "content": "x"}]}, "Invalid role"),
    "text beside calls": (
        {"messages": [*HELLO, {"role": "assistant", "tool_calls": CALLS, "content": "wait"}]},
        "text content is not allowed when tool_calls are provided",
    ),
    "thinking without thinking": (
        {
            "messages": [*HELLO, {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}]}],
            "thinking": {"type": "disabled"},
        },
        "thinking content is not allowed",
    ),
    "a picture of the assistant": (
        {"messages": [{"role": "assistant", "content": [{"type": "image_url", "image_url": {"url": "https://a"}}]}]},
        "content of type 'image_url' is not allowed",
    ),
    "a picture that is none": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x"}}]}]},
        "no URL of a picture",
    ),
    "a result of nothing": (
        {"messages": [*ASKED, {"role": "tool", "tool_call_id": "c2", "content": "4"}]},
        "tool call id not found",
    ),
    "a result without its call": (
        {"messages": [*ASKED, {"role": "tool", "content": "4"}]},
        "tool call id must be provided",
    ),
    "a call twice": ({"messages": [*ASKED, *ASKED]}, "cannot have duplicate tool ids"),
    "a high temperature": ({"temperature": 1.5}, "temperature must be between 0 and 1.0 inclusive"),
    "p of 1": ({"p": 1.0}, "p must be between 0.01 and 0.99"),
    "a negative penalty": ({"presence_penalty": -1.0}, "presence_penalty must be between 0 and 1"),
    "many stops": ({"stop_sequences": list("abcdef")}, "stop_sequences must have at most 5"),
    "no budget": ({"thinking": {"type": "enabled", "token_budget": 0}}, "positive integer"),
    "a choice without tools": ({"tool_choice": "REQUIRED"}, "tool_choice must not be specified without tools"),
    "another choice": ({"tools": [WEATHER], "tool_choice": "AUTO"}, "invalid type"),
    "a function's name": (
        {"tools": [{"type": "function", "function": {"name": "7up", "parameters": {"type": "object"}}}]},
        "tool names can only contain",
    ),
    "a function without parameters": ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "invalid type"),
    "strict without required": (
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
         "strict_tools": True},
        "required field name not found",
    ),
    "a format beside tools": (
        {"tools": [WEATHER], "response_format": {"type": "json_object"}},
        "response_format is not supported",
    ),
    "a schema that is no object": (
        {"response_format": {"type": "json_object", "json_schema": {"type": "array"}}},
        "schema must be an object",
    ),
    "an unknown field": ({"top_k": 5}, "unknown field: parameter 'top_k' is not a valid field"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
async def test_what_the_vendor_refuses_is_refused(simulator: Simulator, case: str) -> None:
    """In its words, where they are known."""
    simulator.configure({"strict_parameters": True})
    fields, words = REFUSED[case]
    headers = {"authorization": "Bearer co-a"}
    async with httpx.AsyncClient(base_url=simulator.url_of("cohere"), headers=headers, trust_env=False) as http:
        answer = await http.post("/v2/chat", json={"model": "m", "messages": HELLO, **fields})
    assert answer.status_code == (422 if case == "an unknown field" else 400)
    assert words in answer.json()["message"]


async def test_a_whole_tool_conversation_is_taken(client: cohere.AsyncClientV2) -> None:
    """With results as text and as documents, and a plan that went back."""
    results = [{"role": "tool", "tool_call_id": "c1", "content": [{"type": "document", "document": {"data": "4"}}]}]
    answer = await chat(client, messages=[*ASKED, *results], tools=[WEATHER])
    assert answer.finish_reason == "COMPLETE"


async def test_embeddings_are_made_of_texts(client: cohere.AsyncClientV2) -> None:
    """One vector for each, in each encoding that was asked for; the same each time."""
    asked: dict[str, Any] = {"model": "embed-v4.0", "texts": ["a", "b"], "input_type": "search_query"}
    answer = await client.embed(**asked, output_dimension=256, embedding_types=["float", "base64"])
    floats, packed = answer.embeddings.float_, answer.embeddings.base64
    assert floats is not None
    assert packed is not None
    assert [len(vector) for vector in floats] == [256, 256]
    assert len(packed) == 2
    assert answer.meta is not None
    assert answer.meta.billed_units is not None
    assert answer.meta.billed_units.input_tokens
    again = await client.embed(**asked, output_dimension=256, embedding_types=["float"])
    assert again.embeddings.float_ == floats
    usual = await client.embed(**{**asked, "model": "embed-english-v3.0"}, embedding_types=["float"])
    assert usual.embeddings.float_ is not None
    assert len(usual.embeddings.float_[0]) == 1024


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": ""}, "a model parameter is required"),
        ({"texts": []}, "empty string"),
        ({"texts": ["a", ""]}, "empty string at index 1"),
        ({"texts": ["a"] * 97}, "total number of texts must be at most 96 - received 97"),
        ({"input_type": None}, "valid input_type must be provided"),
        ({"embedding_types": None}, "embedding_types parameter is required"),
        ({"embedding_types": ["int8"]}, "float and base64 only"),
        ({"output_dimension": 100}, "output_dimension must be one of"),
        ({"model": "embed-english-v3.0", "output_dimension": 256}, "output_dimension must be one of"),
    ],
)
async def test_embeddings_that_the_vendor_refuses(simulator: Simulator, fields: dict[str, Any], words: str) -> None:
    """In its words, where they are known."""
    body = {"model": "embed-v4.0", "texts": ["a"], "input_type": "search_query", "embedding_types": ["float"], **fields}
    headers = {"authorization": "Bearer co-a"}
    async with httpx.AsyncClient(base_url=simulator.url_of("cohere"), headers=headers, trust_env=False) as http:
        answer = await http.post("/v2/embed", json=body)
    assert answer.status_code == 400
    assert words in answer.json()["message"]


@pytest.mark.parametrize(
    ("method", "path", "key", "status"),
    [("POST", "/v2/chat", "", 401), ("GET", "/v2/chat", "co-a", 405), ("POST", "/v2/rerank", "co-a", 404)],
)
async def test_what_is_no_call_has_its_status(
    simulator: Simulator, method: str, path: str, key: str, status: int
) -> None:
    """Without a key, with another method, at another path."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(base_url=simulator.url_of("cohere"), headers=headers, trust_env=False) as http:
        assert (await http.request(method, path, json={})).status_code == status
