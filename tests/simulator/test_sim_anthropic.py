"""The Messages API, by the official client: whole answers, tools, thinking, errors, limits."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from anthropic import AsyncAnthropic

from trunkline_server.simulator.anthropic.errors import ERRORS
from trunkline_server.simulator.anthropic.job import WITHHOLD

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trunkline_server.simulator.server import Simulator

CLASSIC = "claude-haiku-4-5"
HI: list[Any] = [{"role": "user", "content": "hi"}]
LOOK: dict[str, Any] = {
    "name": "look",
    "description": "Looks.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture
async def claude(simulator: Simulator) -> AsyncIterator[AsyncAnthropic]:
    url = simulator.url_of("anthropic")
    async with AsyncAnthropic(api_key="sk-a", base_url=url, max_retries=0, timeout=20) as client:
        yield client


async def ask(claude: AsyncAnthropic, **changes: Any) -> Any:
    """Return a whole answer."""
    return await claude.messages.create(**{"model": CLASSIC, "max_tokens": 100, "messages": HI, **changes})


async def test_the_official_client_reads_an_answer(simulator: Simulator, claude: AsyncAnthropic) -> None:
    """Text, reason to stop, usage, ids; the key is known by the bearer token that the package sends."""
    answer = await ask(claude, system="Be brief.")
    assert [(block.type, block.text) for block in answer.content] == [("text", "You said: hi")]
    assert (answer.stop_reason, answer.model, answer.role) == ("end_turn", CLASSIC, "assistant")
    assert answer.usage.input_tokens == 3 + (4 + 3) + (4 + 1)
    assert answer.usage.output_tokens == 3
    assert answer._request_id == "req_sim00000000000000000001"
    record = simulator.stats.last_requests[-1]
    assert (record.protocol, record.key, record.model) == ("anthropic", "sk-a", CLASSIC)


async def test_a_key_may_stand_in_its_own_header(simulator: Simulator) -> None:
    """`x-api-key`, as every version of the API takes it."""
    headers: Any = {"x-api-key": "sk-b", "Authorization": anthropic.Omit()}
    url = simulator.url_of("anthropic")
    async with AsyncAnthropic(api_key="sk-a", base_url=url, default_headers=headers, max_retries=0) as claude:
        await ask(claude)
    assert simulator.stats.last_requests[-1].key == "sk-b"


async def test_a_limit_cuts_an_answer_off(claude: AsyncAnthropic) -> None:
    """As the reason to stop says."""
    answer = await ask(claude, max_tokens=2)
    assert (answer.content[0].text, answer.stop_reason) == ("You said: ", "max_tokens")


async def test_a_stop_sequence_ends_an_answer(claude: AsyncAnthropic) -> None:
    """In front of it."""
    assert (await ask(claude, stop_sequences=["said"])).content[0].text == "You "


async def test_two_rounds_of_tools(simulator: Simulator, claude: AsyncAnthropic) -> None:
    """Calls that are forced, answered in the next turn, and the answer to what the user adds."""
    simulator.configure({"rules": [{"times": 2, "fault": {"tool_calls": 2}}]})
    turns = list(HI)
    for round_number in range(2):
        answer = await ask(claude, messages=turns, tools=[LOOK], tool_choice={"type": "any"})
        assert answer.stop_reason == "tool_use"
        assert [(block.type, block.name) for block in answer.content] == [("tool_use", "look")] * 2
        assert len({block.id for block in answer.content}) == 2
        assert all(block.input["city"] for block in answer.content)
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": f"rain {round_number}"}
            for block in answer.content
        ]
        turns += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]
    turns.append({"role": "user", "content": "So?"})
    answer = await ask(claude, messages=turns, tools=[LOOK], tool_choice={"type": "none"})
    assert answer.content[0].text == "You said: So?"


async def test_a_named_tool_is_called_once_if_asked(simulator: Simulator, claude: AsyncAnthropic) -> None:
    """And none where calls are forbidden."""
    simulator.configure({"default": {"tool_calls": 3}})
    choice = {"type": "tool", "name": "look", "disable_parallel_tool_use": True}
    assert len((await ask(claude, tools=[LOOK], tool_choice=choice)).content) == 1
    assert (await ask(claude, tools=[LOOK], tool_choice={"type": "none"})).stop_reason == "end_turn"


async def test_thinking_comes_signed_and_goes_back(simulator: Simulator, claude: AsyncAnthropic) -> None:
    """As it came it is taken back; changed, or from elsewhere, it is refused."""
    simulator.configure({"default": {"reasoning": "let me think", "tool_calls": 1}})
    thinking = {"type": "enabled", "budget_tokens": 1024}
    answer = await ask(claude, max_tokens=2000, thinking=thinking, tools=[LOOK])
    assert [block.type for block in answer.content] == ["thinking", "tool_use"]
    assert answer.content[0].thinking == "let me think"
    assert answer.usage.output_tokens_details.thinking_tokens == 3
    result = {"type": "tool_result", "tool_use_id": answer.content[1].id, "content": "rain"}

    def again(*content: Any) -> Any:
        turns = [*HI, {"role": "assistant", "content": content}, {"role": "user", "content": [result]}]
        return ask(claude, max_tokens=2000, thinking=thinking, tools=[LOOK], messages=turns)

    thought, call = answer.content
    await again(thought, call)
    for broken, words in (
        ({**thought.model_dump(), "thinking": "let me cheat"}, "Invalid `signature`"),
        ({**thought.model_dump(), "signature": "c2ln"}, "Invalid `signature`"),
        ({"type": "redacted_thinking", "data": "c2VhbGVk"}, "Invalid `data`"),
    ):
        with pytest.raises(anthropic.BadRequestError, match=words):
            await again(broken, call)
    with pytest.raises(anthropic.BadRequestError, match="Expected `thinking` or `redacted_thinking`"):
        await again(call)


async def test_later_models_show_their_thinking_only_if_asked_to(simulator: Simulator, claude: AsyncAnthropic) -> None:
    """Its signature comes either way, and is taken back."""
    simulator.configure({"default": {"reasoning": "let me think"}})
    hidden = await ask(claude, model="claude-opus-5", thinking={"type": "adaptive"})
    assert (hidden.content[0].thinking, bool(hidden.content[0].signature)) == ("", True)
    turns = [*HI, {"role": "assistant", "content": hidden.content}, *HI]
    shown = await ask(
        claude, model="claude-opus-5", thinking={"type": "adaptive", "display": "summarized"}, messages=turns
    )
    assert shown.content[0].thinking == "let me think"


async def test_thinking_is_withheld_where_the_service_s_own_test_asks_for_it(claude: AsyncAnthropic) -> None:
    """It comes sealed, and is taken back sealed."""
    asked = [{"role": "user", "content": WITHHOLD}]
    answer = await ask(claude, messages=asked)
    assert answer.content[0].type == "redacted_thinking"
    await ask(claude, messages=[*asked, {"role": "assistant", "content": answer.content}, *HI])


async def test_an_answer_of_a_schema(claude: AsyncAnthropic) -> None:
    """Its text is JSON of the schema."""
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    }
    answer = await ask(claude, output_config={"format": {"type": "json_schema", "schema": schema}})
    assert set(json.loads(answer.content[0].text)) == {"city"}


async def test_what_is_marked_is_written_to_the_cache(claude: AsyncAnthropic) -> None:
    """Both figures together are the prompt."""
    plain = await ask(claude)
    text = {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}
    marked = await ask(claude, messages=[{"role": "user", "content": [text]}])
    assert marked.usage.cache_creation_input_tokens > 0
    assert marked.usage.cache_creation_input_tokens + marked.usage.input_tokens == plain.usage.input_tokens


async def test_a_model_of_the_scenario_goes_on_from_its_own_words(simulator: Simulator, claude: AsyncAnthropic) -> None:
    """It says the rest alone."""
    simulator.configure({"prefill_models": [CLASSIC], "default": {"content": "Once upon a time"}})
    turns = [*HI, {"role": "assistant", "content": "Once upon"}]
    assert (await ask(claude, messages=turns)).content[0].text == " a time"


CLASSES = {
    400: anthropic.BadRequestError,
    401: anthropic.AuthenticationError,
    402: anthropic.PaymentRequiredError,
    403: anthropic.PermissionDeniedError,
    404: anthropic.NotFoundError,
    413: anthropic.RequestTooLargeError,
    429: anthropic.RateLimitError,
    500: anthropic.InternalServerError,
    504: anthropic.DeadlineExceededError,
    529: anthropic.OverloadedError,
}


@pytest.mark.parametrize("name", ERRORS)
async def test_every_error_is_the_official_client_s_own(
    simulator: Simulator, claude: AsyncAnthropic, name: str
) -> None:
    """By its status, type and code."""
    simulator.configure({"default": {"error": name}})
    kind = ERRORS[name]
    with pytest.raises(CLASSES[kind.status]) as caught:
        await ask(claude)
    error = caught.value
    assert error.status_code == kind.status
    assert error.request_id == "req_sim00000000000000000001"
    if not kind.html:
        assert (error.type, error.error_code) == (kind.type, kind.code)
        assert error.api_message == kind.message.replace("{model}", CLASSIC)


async def test_a_key_and_a_model_that_are_not_known(simulator: Simulator, claude: AsyncAnthropic) -> None:
    """Are refused in the service's words."""
    simulator.configure({"known_models": ["claude-opus-5"]})
    with pytest.raises(anthropic.NotFoundError, match=f"model: {CLASSIC}"):
        await ask(claude)
    simulator.configure({"accept_keys": ["sk-z"]})
    with pytest.raises(anthropic.AuthenticationError, match="invalid x-api-key"):
        await ask(claude)


async def test_limits_are_told_and_kept(simulator: Simulator, claude: AsyncAnthropic) -> None:
    """Headers with times of day on every answer; beyond a limit a 429 that says when to come back."""
    simulator.configure({"capacity": {"requests_per_minute": 2, "tokens_per_minute": 10_000}})
    raw = await claude.messages.with_raw_response.create(model=CLASSIC, max_tokens=100, messages=HI)
    headers = raw.headers
    assert headers["anthropic-ratelimit-requests-limit"] == "2"
    assert headers["anthropic-ratelimit-requests-remaining"] == "1"
    assert headers["anthropic-ratelimit-tokens-limit"] == "10000"
    assert headers["anthropic-ratelimit-tokens-reset"].endswith("Z")
    await ask(claude)
    with pytest.raises(anthropic.RateLimitError, match="2 requests per minute") as caught:
        await ask(claude)
    assert 0 < int(caught.value.response.headers["retry-after"]) <= 60


async def test_a_client_that_leaves_is_counted(simulator: Simulator, claude: AsyncAnthropic) -> None:
    """A cancelled call closes its connection, which the simulator sees."""
    simulator.configure({"default": {"first_byte_s": 60}})
    asking = asyncio.create_task(ask(claude))
    await simulator.until(lambda stats: stats.in_flight == 1)
    asking.cancel()
    await asyncio.wait([asking])
    await simulator.until(lambda stats: stats.in_flight == 0)
    assert simulator.stats.last_requests[-1].ended == "cancelled"
