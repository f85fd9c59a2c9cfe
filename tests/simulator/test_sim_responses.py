"""The Responses API of the simulator, with OpenAI's official package as its client."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseReasoningItem,
    ResponseStreamEvent,
)

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types.responses import Response

    from trunkline_server.simulator.server import Simulator

LOOK: Any = {
    "type": "function",
    "name": "look",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}
SEALED: Any = ["reasoning.encrypted_content"]


async def created(client: AsyncOpenAI, given: Any = "hello", **more: Any) -> Response:
    answer: Response = await client.responses.create(model="o3-pro", input=given, **more)
    return answer


async def streamed(client: AsyncOpenAI, given: Any = "hello", **more: Any) -> list[ResponseStreamEvent]:
    stream: Any = await client.responses.create(model="o3-pro", input=given, stream=True, **more)
    return [event async for event in stream]


def ended(events: list[ResponseStreamEvent]) -> Response:
    """Return the response of the last event, after a look at the numbers of all."""
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last = events[-1]
    assert last.type in {"response.completed", "response.incomplete"}
    assert isinstance(
        last, openai.types.responses.ResponseCompletedEvent | openai.types.responses.ResponseIncompleteEvent
    )
    return last.response


async def refused(client: AsyncOpenAI, given: Any = "hello", **more: Any) -> Any:
    with pytest.raises(openai.BadRequestError) as caught:
        await created(client, given, **more)
    return caught.value.body


async def test_an_answer(client: AsyncOpenAI) -> None:
    """It echoes the last message of the user, with usage and what was asked for."""
    answer = await created(client, instructions="Be brief.", store=False, metadata={"a": "b"}, temperature=0.5)
    assert (answer.status, answer.output_text) == ("completed", "You said: hello")
    assert answer.usage is not None
    assert (answer.usage.output_tokens, answer.usage.total_tokens) == (3, answer.usage.input_tokens + 3)
    assert (answer.instructions, answer.metadata, answer.temperature) == ("Be brief.", {"a": "b"}, 0.5)


@pytest.mark.parametrize(
    "fault",
    [
        {},
        {"content": "one two three"},
        {"reasoning": "let me think", "content": "so"},
        {"refusal": "I will not"},
        {"tool_calls": 2, "tool_pieces": 3},
        {"tool_calls": 2, "tool_pieces": 2, "tool_interleaved": True, "reasoning": "hm"},
        {"content": "wait a moment", "tool_calls": 1},
        {"empty": "content"},
        {"empty": "choices"},
        {"finish_reason": "length"},
        {"finish_reason": "content_filter"},
    ],
    ids=str,
)
async def test_a_stream_tells_what_a_whole_answer_holds(
    simulator: Simulator, client: AsyncOpenAI, fault: dict[str, Any]
) -> None:
    """Item by item, but for the ids; and the pieces are those of its items."""
    simulator.configure({"default": fault})
    asked: dict[str, Any] = {"tools": [LOOK], "include": SEALED, "store": False}
    events = await streamed(client, **asked)
    told, whole = ended(events), await created(client, **asked)
    assert (told.status, told.incomplete_details, told.usage) == (whole.status, whole.incomplete_details, whole.usage)
    kept = {"id", "call_id", "encrypted_content"}
    assert [item.model_dump(exclude=kept) for item in told.output] == [
        item.model_dump(exclude=kept) for item in whole.output
    ]
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert done == told.output
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == told.output_text
    for index, item in enumerate(told.output):
        if isinstance(item, ResponseFunctionToolCall):
            pieces = [
                event.delta
                for event in events
                if event.type == "response.function_call_arguments.delta" and event.output_index == index
            ]
            assert "".join(pieces) == item.arguments
            assert len(pieces) == fault.get("tool_pieces", 4)


async def test_reasoning_is_sealed_for_who_asks(simulator: Simulator, client: AsyncOpenAI) -> None:
    """What comes sealed may go back, as it came."""
    simulator.configure({"default": {"reasoning": "let me think", "tool_calls": 1}})
    first = await created(client, tools=[LOOK], include=SEALED, store=False)
    thought, call = first.output
    assert isinstance(thought, ResponseReasoningItem)
    assert isinstance(call, ResponseFunctionToolCall)
    assert "".join(part.text for part in thought.summary) == "let me think"
    assert thought.encrypted_content
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    history: list[Any] = [{"role": "user", "content": "hello"}, thought.model_dump(exclude_none=True)]
    history += [call.model_dump(exclude_none=True), result]
    second = await created(client, history, tools=[LOOK], store=False)
    assert second.status == "completed"
    unsealed = (await created(client, tools=[LOOK], store=False)).output[0]
    assert isinstance(unsealed, ResponseReasoningItem)
    assert unsealed.encrypted_content is None


async def test_log_probabilities(client: AsyncOpenAI) -> None:
    """For who asks, in streams too."""
    asked: dict[str, Any] = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
    answer = (await created(client, **asked)).output[0]
    assert isinstance(answer, ResponseOutputMessage)
    content = answer.content[0]
    assert content.type == "output_text"
    assert content.logprobs is not None
    assert "".join(token.token for token in content.logprobs) == "You said: hello"
    assert all(len(token.top_logprobs) == 2 for token in content.logprobs)
    events = await streamed(client, **asked)
    tokens = [event.logprobs[0].token for event in events if event.type == "response.output_text.delta"]
    assert "".join(tokens) == "You said: hello"


async def test_json_of_a_schema(client: AsyncOpenAI) -> None:
    """The text is a sample of it."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    answer = await created(client, text={"format": {"type": "json_schema", "name": "s", "schema": schema}})
    assert isinstance(json.loads(answer.output_text)["n"], int)


async def test_a_limit_of_the_output(client: AsyncOpenAI) -> None:
    """What is beyond it is missing, and the response says why."""
    answer = await created(client, "one " * 40, max_output_tokens=16)
    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert answer.usage is not None
    assert answer.usage.output_tokens == 16


USER: Any = {"role": "user", "content": "hi"}
CALL: Any = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}
RESULT: Any = {"type": "function_call_output", "call_id": "c1", "output": "rain"}
THOUGHT: Any = {"type": "reasoning", "id": "rs_1", "summary": []}

REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "empty": ([], {}, "empty array"),
    "role": ([{"role": "tool", "content": "x"}], {}, "Invalid value: 'tool'"),
    "type of an item": ([{"type": "item_reference", "id": "msg_1"}], {}, "Invalid value: 'item_reference'"),
    "part of chat completions": (
        [{"role": "user", "content": [{"type": "text", "text": "x"}]}],
        {},
        "Invalid value: 'text'",
    ),
    "part of the model's": (
        [{"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}],
        {},
        "Invalid value: 'input_text'",
    ),
    "unknown field of an item": ([{**USER, "name": "ann"}], {}, "Unknown parameter: 'input[0].name'"),
    "picture that is none": (
        [{"role": "user", "content": [{"type": "input_image", "image_url": "ftp://x"}]}],
        {},
        "Expected a valid URL",
    ),
    "file without a name": (
        [{"role": "user", "content": [{"type": "input_file", "file_data": "data:x"}]}],
        {},
        "Missing required parameter",
    ),
    "call without a result": ([USER, CALL], {}, "No tool output found for function call c1"),
    "call answered by words": ([USER, CALL, USER], {}, "No tool output found for function call c1"),
    "result without a call": ([USER, RESULT], {}, "No tool call found for function call output with call_id c1"),
    "long id": ([USER, {**CALL, "call_id": "x" * 65}], {}, "string too long"),
    "reasoning that nothing follows": ([USER, THOUGHT], {}, "without its required following item"),
    "reasoning of somebody else": (
        [USER, {**THOUGHT, "encrypted_content": "gAAAAABwrong"}, CALL, RESULT],
        {},
        "could not be verified",
    ),
    "few tokens": ("hi", {"max_output_tokens": 5}, "Expected a value >= 16"),
    "hot": ("hi", {"temperature": 2.5}, "Expected a value <= 2"),
    "include": ("hi", {"include": ["everything"]}, "Invalid value: 'everything'"),
    "tool of chat completions": ("hi", {"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools[0].name"),
    "choice of no tool": ("hi", {"tool_choice": {"type": "function", "name": "f"}}, "not found in 'tools'"),
    "choice that is none": ("hi", {"tool_choice": "any"}, "Invalid value: 'any'"),
    "choice without tools": ("hi", {"tool_choice": "required"}, "must be specified with 'tools'"),
    "schema without a name": ("hi", {"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
    "stored": ("hi", {"previous_response_id": "resp_1"}, "stores no responses"),
    "field of chat completions": ("hi", {"extra_body": {"seed": 7}}, "Unknown parameter: 'seed'"),
    "stop sequences": ("hi", {"extra_body": {"stop": ["x"]}}, "Unknown parameter: 'stop'"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_requests_that_openai_refuses(client: AsyncOpenAI, case: str) -> None:
    """In its words."""
    given, more, words = REFUSED[case]
    body = await refused(client, given, **more)
    assert words in body["message"]
    assert body["type"] == "invalid_request_error"


async def test_reasoning_that_was_not_stored_is_not_found(client: AsyncOpenAI) -> None:
    """An id alone does not bring it back."""
    with pytest.raises(openai.NotFoundError, match="Items are not persisted"):
        await created(client, [USER, THOUGHT, CALL, RESULT], store=False)


async def test_errors_inside_a_stream(simulator: Simulator, client: AsyncOpenAI) -> None:
    """They are events of their own type, and the official client tells them as such."""
    simulator.configure({"default": {"error_after_chunks": 1, "error": "server_error"}})
    events = await streamed(client)
    assert [event.type for event in events[-2:]] == ["response.output_text.delta", "error"]
    assert "had an error" in str(getattr(events[-1], "message", ""))


async def test_refusals_and_limits_are_those_of_chat_completions(simulator: Simulator, client: AsyncOpenAI) -> None:
    """Bodies, statuses and headers."""
    simulator.configure({"capacity": {"requests_per_minute": 1}})
    await created(client)
    with pytest.raises(openai.RateLimitError) as caught:
        await created(client)
    assert caught.value.code == "rate_limit_exceeded"
    assert caught.value.response.headers["x-ratelimit-remaining-requests"] == "0"
    simulator.configure({"accept_keys": ["sk-b"]})
    with pytest.raises(openai.AuthenticationError):
        await created(client)


async def test_without_a_finish_reason_nothing_ends(simulator: Simulator, client: AsyncOpenAI) -> None:
    """A stream has no last event, a whole answer no status."""
    simulator.configure({"default": {"no_finish_reason": True}})
    assert (await streamed(client))[-1].type == "response.output_item.done"
    assert (await created(client)).status is None


async def test_only_posts_are_taken(simulator: Simulator) -> None:
    """Responses that were not stored cannot be asked for."""
    async with httpx.AsyncClient(base_url=simulator.base_url, headers={"authorization": "Bearer k"}) as http:
        assert (await http.get("/responses")).status_code == 405
        assert (await http.get("/responses/resp_1")).status_code == 404
