"""Ordinary answers, as the official client reads them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from openai import BadRequestError

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

    from trunkline_server.simulator.server import Simulator

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "good morning"}]
WEATHER: ChatCompletionToolParam = {
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
CLOCK: ChatCompletionToolParam = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}


async def test_unary_echoes_the_last_user_message(client: AsyncOpenAI) -> None:
    """A unary call answers with text made of the last user message, plausible usage and a stop reason."""
    raw = await client.chat.completions.with_raw_response.create(model="gpt-4o-mini", messages=HELLO)
    assert raw.headers["x-request-id"].startswith("req_sim_")
    answer = raw.parse()
    assert answer.choices[0].message.content == "You said: good morning"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.system_fingerprint == "fp_trunkline_sim"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 4
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 4


async def test_stream_gives_the_same_text_and_usage(client: AsyncOpenAI) -> None:
    """A stream's chunks join to the unary text; usage comes last, with no choices, only if it was asked for."""
    unary = await client.chat.completions.create(model="m", messages=HELLO)
    stream = await client.chat.completions.create(
        model="m", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == unary.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage == unary.usage
    plain = await client.chat.completions.create(model="m", messages=HELLO, stream=True)
    assert all(chunk.usage is None and chunk.choices for chunk in [chunk async for chunk in plain])


async def test_output_limit_ends_with_length(client: AsyncOpenAI) -> None:
    """`max_completion_tokens` cuts the answer after that many chunks, with finish_reason length."""
    answer = await client.chat.completions.create(model="m", messages=HELLO, max_completion_tokens=2)
    assert answer.choices[0].message.content == "You said: "
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 2


async def test_stop_sequence_ends_the_text_before_it(client: AsyncOpenAI) -> None:
    """A stop sequence, even one that spans chunks, is where the text ends."""
    answer = await client.chat.completions.create(model="m", messages=HELLO, stop=["d: go", "zebra"])
    assert answer.choices[0].message.content == "You sai"


async def test_json_schema_is_satisfied(client: AsyncOpenAI) -> None:
    """With a JSON schema the answer is valid JSON that has what the schema requires, streamed or not."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "kind": {"enum": ["a", "b"]},
            "items": {"type": "array", "items": {"$ref": "#/$defs/item"}, "minItems": 2},
        },
        "$defs": {"item": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 7}}}},
    }
    stream = await client.chat.completions.create(
        model="m",
        messages=HELLO,
        stream=True,
        response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": schema}},
    )
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert json.loads(text) == {"kind": "a", "items": [{"n": 7}, {"n": 7}]}


async def test_json_object_is_json(client: AsyncOpenAI) -> None:
    """With response_format json_object the answer is a JSON object."""
    answer = await client.chat.completions.create(model="m", messages=HELLO, response_format={"type": "json_object"})
    assert json.loads(answer.choices[0].message.content or "") == {"answer": "good morning"}


async def test_logprobs_come_for_each_token(client: AsyncOpenAI) -> None:
    """Log-probabilities come for each chunk, with as many alternatives as were asked for."""
    answer = await client.chat.completions.create(model="m", messages=HELLO, logprobs=True, top_logprobs=2)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert [entry.token for entry in logprobs.content] == ["You ", "said: ", "good ", "morning"]
    assert all(len(entry.top_logprobs) == 2 and entry.logprob <= 0 for entry in logprobs.content)
    stream = await client.chat.completions.create(model="m", messages=HELLO, logprobs=True, stream=True)
    tokens = [
        c.choices[0].logprobs.content[0].token
        async for c in stream
        if c.choices[0].logprobs and c.choices[0].logprobs.content
    ]
    assert tokens == ["You ", "said: ", "good ", "morning"]


async def test_required_tool_is_called(client: AsyncOpenAI) -> None:
    """`required` calls the first tool with arguments of its schema; `auto` answers text."""
    answer = await client.chat.completions.create(
        model="m", messages=HELLO, tools=[WEATHER, CLOCK], tool_choice="required"
    )
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.choices[0].message.content is None
    assert answer.choices[0].message.tool_calls is not None
    [call] = answer.choices[0].message.tool_calls
    assert call.type == "function"
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments) == {"city": "sample", "days": 3}
    text = await client.chat.completions.create(model="m", messages=HELLO, tools=[WEATHER])
    assert text.choices[0].message.tool_calls is None


async def test_named_tool_ends_with_stop(client: AsyncOpenAI) -> None:
    """A tool forced by name is called, and the finish reason is `stop`, as OpenAI has it."""
    answer = await client.chat.completions.create(
        model="m",
        messages=HELLO,
        tools=[WEATHER, CLOCK],
        tool_choice={"type": "function", "function": {"name": "clock"}},
    )
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.tool_calls is not None
    assert len(answer.choices[0].message.tool_calls) == 1


@pytest.mark.parametrize("interleaved", [False, True])
async def test_parallel_tool_calls_come_in_pieces(
    simulator: Simulator, client: AsyncOpenAI, *, interleaved: bool
) -> None:
    """Parallel calls arrive in pieces that assemble to their arguments, one after another or interleaved."""
    simulator.configure({"default": {"tool_calls": 2, "tool_pieces": 5, "tool_interleaved": interleaved}})
    stream = await client.chat.completions.create(model="m", messages=HELLO, stream=True, tools=[WEATHER, WEATHER])
    arguments = ["", ""]
    order: list[int] = []
    async for chunk in stream:
        for piece in chunk.choices[0].delta.tool_calls or ():
            order.append(piece.index)
            assert piece.function is not None
            arguments[piece.index] += piece.function.arguments or ""
            assert (piece.id is None) == (order.count(piece.index) > 1)
    assert order == ([0, 1] * 5 if interleaved else [0] * 5 + [1] * 5)
    assert [json.loads(text) for text in arguments] == [{"city": "sample", "days": 3}] * 2


async def test_scripted_tool_call_goes_out_as_it_is(simulator: Simulator, client: AsyncOpenAI) -> None:
    """Scripted arguments may be broken JSON: they are sent unchanged."""
    simulator.configure({"default": {"tool_calls": [{"name": "f", "arguments": '{"half": ', "id": "c1"}]}})
    answer = await client.chat.completions.create(model="m", messages=HELLO)
    assert answer.choices[0].message.tool_calls is not None
    call = answer.choices[0].message.tool_calls[0]
    assert call.type == "function"
    assert (call.id, call.function.arguments) == ("c1", '{"half": ')


async def test_reasoning_and_refusal_have_fields_of_their_own(simulator: Simulator, client: AsyncOpenAI) -> None:
    """Reasoning goes out before the text and counts in usage; a refusal replaces the text."""
    simulator.configure({"models": {"r": {"reasoning": "let me think"}, "no": {"refusal": "I cannot"}}})
    answer = await client.chat.completions.create(model="r", messages=HELLO)
    assert answer.choices[0].message.model_extra == {"reasoning_content": "let me think"}
    assert answer.usage is not None
    assert answer.usage.completion_tokens_details is not None
    assert answer.usage.completion_tokens_details.reasoning_tokens == 3
    stream = await client.chat.completions.create(model="r", messages=HELLO, stream=True)
    deltas = [(chunk.choices[0].delta.model_extra or {}).get("reasoning_content") async for chunk in stream]
    assert "".join(filter(None, deltas)) == "let me think"
    refused = await client.chat.completions.create(model="no", messages=HELLO)
    assert (refused.choices[0].message.content, refused.choices[0].message.refusal) == (None, "I cannot")


async def test_chunk_count_and_text_are_exact(simulator: Simulator, client: AsyncOpenAI) -> None:
    """`chunks` and `chunk_text` decide exactly what is streamed."""
    simulator.configure({"default": {"chunks": 100, "chunk_text": "tok "}})
    stream = await client.chat.completions.create(model="m", messages=HELLO, stream=True)
    assert [c.choices[0].delta.content async for c in stream] == ["", *["tok "] * 100, None]


async def test_models_are_listed(simulator: Simulator, client: AsyncOpenAI) -> None:
    """`GET /v1/models` tells the scenario's models."""
    simulator.configure({"known_models": ["one", "two"]})
    assert [model.id async for model in client.models.list()] == ["one", "two"]
    assert (await client.models.retrieve("two")).id == "two"


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"model": "m"}, "messages", "missing_required_parameter"),
        ({"model": "m", "messages": []}, "messages", "empty_array"),
        ({"model": 1, "messages": HELLO}, "model", "invalid_type"),
        ({"model": "m", "messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role", "invalid_value"),
        ({"model": "m", "messages": [{"role": "user", "content": 5}]}, "messages[0].content", "invalid_type"),
        ({"model": "m", "messages": HELLO, "temperature": 3}, "temperature", "decimal_above_max_value"),
        ({"model": "m", "messages": HELLO, "max_tokens": 0}, "max_tokens", "integer_below_min_value"),
        ({"model": "m", "messages": HELLO, "nonsense": 1}, "nonsense", "unknown_parameter"),
        ({"model": "m", "messages": HELLO, "top_logprobs": 2}, "top_logprobs", "invalid_value"),
        ({"model": "m", "messages": HELLO, "stop": ["a"] * 5}, "stop", "array_above_max_length"),
        ({"model": "m", "messages": HELLO, "tool_choice": "auto"}, "tool_choice", None),
        ({"model": "m", "messages": [*HELLO, {"role": "assistant"}]}, "messages[1].content", "invalid_type"),
        (
            {"model": "m", "messages": [{"role": "assistant", "tool_calls": [{"id": "c" * 41}]}]},
            "messages[0].tool_calls[0].id",
            "string_above_max_length",
        ),
        (
            {"model": "m", "messages": [{"role": "tool", "content": "x", "tool_call_id": "c"}]},
            "messages.[0].role",
            None,
        ),
    ],
)
async def test_bad_requests_are_refused_in_openais_words(
    client: AsyncOpenAI, body: dict[str, Any], param: str, code: str | None
) -> None:
    """What OpenAI refuses is refused with 400, naming the parameter and the code."""
    with pytest.raises(BadRequestError) as refused:
        await client.post("/chat/completions", body=body, cast_to=object)
    assert (refused.value.param, refused.value.code) == (param, code)
    assert refused.value.type == "invalid_request_error"


async def test_lenient_scenario_takes_unknown_parameters(simulator: Simulator, client: AsyncOpenAI) -> None:
    """`strict_parameters: false` ignores top-level fields that OpenAI does not know."""
    simulator.configure({"strict_parameters": False})
    await client.chat.completions.create(model="m", messages=HELLO, extra_body={"top_k": 5})
    assert simulator.stats.last_requests[-1].json["top_k"] == 5
