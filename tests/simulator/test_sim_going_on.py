"""Answers that go on from what a request already holds of them, as the official client asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from openai import APIError

from trunkline_server.simulator.going_on import repeated_characters, without_front

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

    from trunkline_server.simulator.server import Simulator

QUESTION: ChatCompletionMessageParam = {"role": "user", "content": "good morning to you"}
WHOLE = "You said: good morning to you"
GO_ON: ChatCompletionMessageParam = {"role": "user", "content": "Go on exactly where you stopped."}
PREFILL = {"prefill_models": ["p"]}


def from_text(said: str, *more: ChatCompletionMessageParam) -> list[ChatCompletionMessageParam]:
    """Return a conversation in which `said` of the answer was said already."""
    return [QUESTION, {"role": "assistant", "content": said}, *more]


def told(answer: ChatCompletion) -> tuple[str | None, str, int]:
    """Return text, finish reason and number of completion tokens."""
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    choice = answer.choices[0]
    return choice.message.content, choice.finish_reason, answer.usage.completion_tokens


@pytest.mark.parametrize(
    ("said", "rest", "tokens"),
    [
        ("You said: ", "good morning to you", 4),
        ("You said:", " good morning to you", 5),
        ("You said:\n\n ", " good morning to you", 5),
        ("You said: good mor", "ning to you", 3),
        (WHOLE, "", 0),
        ("Something else", WHOLE, 6),
    ],
)
async def test_a_prefill_is_gone_on_from(
    simulator: Simulator, client: AsyncOpenAI, said: str, rest: str, tokens: int
) -> None:
    """A prefill model says only the rest, streamed or not, white space at the seam apart, and counts only that."""
    simulator.configure(PREFILL)
    messages = from_text(said)
    assert told(await client.chat.completions.create(model="p", messages=messages)) == (rest, "stop", tokens)
    stream = await client.chat.completions.create(
        model="p", messages=messages, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == rest
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == tokens
    record = simulator.stats.last_requests[-1]
    assert record.json["messages"] == messages
    assert record.went_on_after_bytes == (None if rest == WHOLE else len(said.rstrip() if rest[:1] == " " else said))


async def test_other_models_take_a_prefill_for_a_message(simulator: Simulator, client: AsyncOpenAI) -> None:
    """A model without prefill answers whole, from the beginning, as OpenAI's do."""
    simulator.configure(PREFILL)
    answer = await client.chat.completions.create(model="m", messages=from_text("You said: good"))
    assert told(answer) == (WHOLE, "stop", 6)
    assert simulator.snapshot()["last_requests"][-1]["went_on_after_bytes"] is None


@pytest.mark.parametrize(
    ("repeat_bytes", "rest"),
    [(0, " to you"), (7, "morning to you"), (1000, WHOLE)],
)
async def test_a_prompt_to_go_on_is_followed(
    simulator: Simulator, client: AsyncOpenAI, repeat_bytes: int, rest: str
) -> None:
    """With `goes_on` a model that is asked to goes on from its text, after as much of it again as the scenario says."""
    simulator.configure({"default": {"goes_on": {"repeat_bytes": repeat_bytes}}})
    messages = from_text("You said: good morning", GO_ON)
    assert (await client.chat.completions.create(model="m", messages=messages)).choices[0].message.content == rest
    assert simulator.snapshot()["last_requests"][-1]["went_on_after_bytes"] == len("You said: good morning")


async def test_without_goes_on_a_prompt_is_answered(simulator: Simulator, client: AsyncOpenAI) -> None:
    """Other models answer what the last message says; a first message is answered by any."""
    answer = await client.chat.completions.create(model="m", messages=from_text("You said:", GO_ON))
    assert answer.choices[0].message.content == f"You said: {GO_ON['content']}"
    simulator.configure({"default": {"goes_on": {}}})
    assert told(await client.chat.completions.create(model="m", messages=[QUESTION])) == (WHOLE, "stop", 6)


def test_only_whole_characters_are_repeated() -> None:
    """A repetition that would begin inside a character begins after it."""
    said = "grün 🎉!"
    assert [repeated_characters(said, n) for n in (0, 1, 2, 4, 5, 6, 8, 9, 99)] == [0, 1, 1, 1, 2, 3, 4, 5, 7]


def test_the_front_is_left_off_by_characters() -> None:
    """Pieces that were said are gone, the one at the seam keeps its rest, none is empty."""
    pieces = ["ab", "cd", "ef"]
    assert [without_front(pieces, n) for n in (0, 1, 2, 5, 6)] == [pieces, ["b", "cd", "ef"], ["cd", "ef"], ["f"], []]


async def test_the_output_limit_counts_the_rest(simulator: Simulator, client: AsyncOpenAI) -> None:
    """A limit on the output, under either name, holds for what is said anew, and ends it with `length`."""
    simulator.configure(PREFILL)
    messages = from_text("You said: good ")
    answer = await client.chat.completions.create(model="p", messages=messages, max_completion_tokens=2)
    assert told(answer) == ("morning to ", "length", 2)
    answer = await client.chat.completions.create(model="p", messages=messages, max_tokens=3)
    assert told(answer) == ("morning to you", "stop", 3)


@pytest.mark.parametrize(
    "fault",
    [
        {"content": "zwölf Boxkämpfer jagen Viktor"},
        {"content": "zwölf Boxkämpfer jagen Viktor", "chunks": 5},
        {"chunks": 9},
        {"chunks": 9, "chunk_text": "tök "},
    ],
)
async def test_both_calls_agree_on_the_whole(simulator: Simulator, client: AsyncOpenAI, fault: dict[str, Any]) -> None:
    """However the text is made, what came before a break and what a prefill or a prompt gets make the whole."""
    simulator.configure({**PREFILL, "default": {**fault, "goes_on": {}}})
    whole = (await client.chat.completions.create(model="m", messages=[QUESTION])).choices[0].message.content
    assert whole is not None
    for end in range(1, len(whole)):
        # A gateway leaves white space out of what it hands on, and as much off the front of what comes.
        said = whole[:end].rstrip()
        for model, messages in (("p", from_text(said)), ("m", from_text(said, GO_ON))):
            answer = await client.chat.completions.create(model=model, messages=messages)
            assert said + (answer.choices[0].message.content or "") == whole


async def test_reasoning_comes_again_only_after_a_prompt(simulator: Simulator, client: AsyncOpenAI) -> None:
    """A prefill stands after the model's reasoning, so none comes; a model that is asked to go on reasons anew."""
    simulator.configure({**PREFILL, "default": {"reasoning": "let me think", "goes_on": {}}})
    filled = await client.chat.completions.create(model="p", messages=from_text("You said: good"))
    assert filled.choices[0].message.model_extra == {}
    asked = await client.chat.completions.create(model="p", messages=from_text("You said: good", GO_ON))
    assert asked.choices[0].message.model_extra == {"reasoning_content": "let me think"}
    assert filled.choices[0].message.content == asked.choices[0].message.content == " morning to you"


async def test_a_rest_breaks_where_it_is_told(simulator: Simulator, client: AsyncOpenAI) -> None:
    """Faults count the chunks of the rest: an answer that goes on can break again."""
    simulator.configure({**PREFILL, "default": {"error_after_chunks": 2, "error": "server_error"}})
    stream = await client.chat.completions.create(model="p", messages=from_text("You said: "), stream=True)
    with pytest.raises(APIError):
        [chunk async for chunk in stream]
    assert simulator.stats.last_requests[-1].chunks_sent == 2
    assert simulator.stats.broken == 1
