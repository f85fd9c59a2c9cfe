"""The Messages API, by the official client: streams and what breaks them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anthropic
import httpx2
import pytest
from anthropic import AsyncAnthropic

from trunkline_server.simulator.anthropic.job import WITHHOLD

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trunkline_server.simulator.server import Simulator

CLASSIC = "claude-haiku-4-5"
HI: list[Any] = [{"role": "user", "content": "one two three"}]
LOOK: dict[str, Any] = {
    "name": "look",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture
async def claude(simulator: Simulator) -> AsyncIterator[AsyncAnthropic]:
    url = simulator.url_of("anthropic")
    async with AsyncAnthropic(api_key="sk-a", base_url=url, max_retries=0, timeout=20) as client:
        yield client


async def events(claude: AsyncAnthropic, got: list[Any], **changes: Any) -> None:
    """Read a stream to its end, adding its events to `got`."""
    asked = {"model": CLASSIC, "max_tokens": 100, "messages": HI, **changes}
    stream = await claude.messages.create(**asked, stream=True)
    async for event in stream:
        got.append(event)  # noqa: PERF401 - what came before a break counts too


async def final(claude: AsyncAnthropic, **changes: Any) -> Any:
    """Return the message that the official client puts together from a stream."""
    asked = {"model": CLASSIC, "max_tokens": 100, "messages": HI, **changes}
    async with claude.messages.stream(**asked) as stream:
        return await stream.get_final_message()


def kinds(got: list[Any]) -> list[str]:
    return [event.type for event in got]


def text_of(got: list[Any]) -> str:
    pieces = (event.delta for event in got if event.type == "content_block_delta")
    return "".join(delta.text for delta in pieces if delta.type == "text_delta")


async def test_a_stream_has_the_vendor_s_events_in_their_order(claude: AsyncAnthropic) -> None:
    """Start, block, pieces, end of the block, reason with usage, stop; pings are the client's own affair."""
    got: list[Any] = []
    await events(claude, got)
    assert kinds(got) == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * 5,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert text_of(got) == "You said: one two three"
    assert (got[0].message.usage.input_tokens, got[-2].usage.output_tokens) == (3 + 4 + 4, 5)
    assert got[-2].delta.stop_reason == "end_turn"


@pytest.mark.parametrize("interleaved", [False, True])
async def test_a_stream_adds_up_to_the_whole_answer(
    simulator: Simulator, claude: AsyncAnthropic, *, interleaved: bool
) -> None:
    """Thinking, sealed thinking, text and parallel calls come out of a stream as they stand in an answer."""
    simulator.configure(
        {
            "default": {
                "reasoning": "let me think",
                "content": "One look.",
                "tool_calls": 2,
                "tool_pieces": 3,
                "tool_interleaved": interleaved,
            }
        }
    )
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": WITHHOLD}], "tools": [LOOK]}
    streamed = await final(claude, **asked)
    whole = await claude.messages.create(model=CLASSIC, max_tokens=100, **asked)
    assert [block.type for block in streamed.content] == [
        "thinking",
        "redacted_thinking",
        "text",
        "tool_use",
        "tool_use",
    ]
    assert [_comparable(block) for block in streamed.content] == [_comparable(block) for block in whole.content]
    assert (streamed.stop_reason, streamed.usage.output_tokens) == (whole.stop_reason, whole.usage.output_tokens)


def _comparable(block: Any) -> dict[str, Any]:
    """Return a block without what differs from answer to answer: its ids, and which answer it was withheld in."""
    return {
        name: value
        for name, value in block.model_dump(exclude_none=True).items()
        if name in {"type", "text", "thinking", "input"}
    }


async def test_thinking_that_is_not_shown_has_no_pieces(simulator: Simulator, claude: AsyncAnthropic) -> None:
    """Only its signature comes, at the end of its block."""
    simulator.configure({"default": {"reasoning": "let me think"}})
    message = await final(claude, model="claude-opus-5", thinking={"type": "adaptive"})
    assert (message.content[0].thinking, bool(message.content[0].signature)) == ("", True)
    assert message.content[1].text == "You said: one two three"


async def test_a_refusal_is_words_with_a_reason(simulator: Simulator, claude: AsyncAnthropic) -> None:
    """And a filter's has a category."""
    simulator.configure({"default": {"refusal": "I can't."}})
    message = await final(claude)
    assert (message.content[0].text, message.stop_reason, message.stop_details) == ("I can't.", "refusal", None)
    simulator.configure({"default": {"finish_reason": "content_filter"}})
    message = await final(claude)
    assert message.stop_details is not None
    assert (message.stop_reason, message.stop_details.category) == ("refusal", "cyber")


@pytest.mark.parametrize(
    ("name", "raised"),
    [
        ("overloaded", "overloaded_error"),
        ("server_error", "api_error"),
        ("rate_limit_exceeded", "rate_limit_error"),
        ("gateway_timeout", "timeout_error"),
        ("request_too_large", "request_too_large"),
    ],
)
@pytest.mark.parametrize("after", [0, 2])
async def test_an_error_event_is_raised_by_the_official_client(
    simulator: Simulator, claude: AsyncAnthropic, name: str, raised: str, after: int
) -> None:
    """With its type; what came before it was read."""
    simulator.configure({"default": {"error_after_chunks": after, "error": name}})
    got: list[Any] = []
    with pytest.raises(anthropic.APIStatusError) as caught:
        await events(claude, got)
    assert caught.value.type == raised
    assert kinds(got).count("content_block_delta") == after


@pytest.mark.parametrize("fault", ["cut_after_chunks", "reset_after_chunks"])
async def test_a_broken_stream_breaks_for_the_client(simulator: Simulator, claude: AsyncAnthropic, fault: str) -> None:
    """After exactly so many pieces, with their block left open."""
    simulator.configure({"default": {fault: 2}})
    got: list[Any] = []
    with pytest.raises((httpx2.TransportError, anthropic.APIConnectionError)):
        await events(claude, got)
    assert kinds(got) == ["message_start", "content_block_start", *["content_block_delta"] * 2]
    assert simulator.stats.last_requests[-1].ended == "broken"


async def test_a_stream_that_ends_in_silence_has_no_reason(simulator: Simulator, claude: AsyncAnthropic) -> None:
    """One sign or both of its end can be missing."""
    simulator.configure({"default": {"no_finish_reason": True, "no_done": True}})
    got: list[Any] = []
    await events(claude, got)
    assert (kinds(got)[-1], got[-1].delta.stop_reason) == ("message_delta", None)
    simulator.configure({"default": {"no_done": True}})
    got.clear()
    await events(claude, got)
    assert (kinds(got)[-1], got[-1].delta.stop_reason) == ("message_delta", "end_turn")


async def test_nothing_can_be_said(simulator: Simulator, claude: AsyncAnthropic) -> None:
    """With a reason to stop, or without any."""
    simulator.configure({"default": {"empty": "content"}})
    message = await final(claude)
    assert (message.content, message.stop_reason) == ([], "end_turn")
    simulator.configure({"default": {"empty": "choices"}})
    got: list[Any] = []
    await events(claude, got)
    assert kinds(got) == ["message_start", "message_stop"]


async def test_garbage_is_no_event(simulator: Simulator, claude: AsyncAnthropic) -> None:
    """Half an object where an event should be."""
    simulator.configure({"default": {"malformed_after_chunks": 1}})
    got: list[Any] = []
    with pytest.raises(ValueError, match=r"(?i)json|EOF|expected|unterminated"):
        await events(claude, got)
    assert kinds(got).count("content_block_delta") == 1


async def test_pings_fill_a_silence(simulator: Simulator, claude: AsyncAnthropic) -> None:
    """They keep a slow stream alive, and its content is whole."""
    simulator.configure({"default": {"heartbeat_s": 0.01, "chunk_gap_s": 0.03}})
    raw = await claude.messages.with_raw_response.create(model=CLASSIC, max_tokens=100, messages=HI, stream=True)
    body = b"".join([chunk async for chunk in raw.iter_bytes()])
    assert body.count(b"event: ping\n") > 4
    assert body.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')


async def test_a_stream_that_is_left_is_counted(simulator: Simulator, claude: AsyncAnthropic) -> None:
    """A client that leaves in the middle of a stall closes its connection, which the simulator sees."""
    simulator.configure({"default": {"stall_after_chunks": 2}})
    stream = await claude.messages.create(model=CLASSIC, max_tokens=100, messages=HI, stream=True)
    got = [(await anext(stream)).type for _ in range(4)]
    assert got == ["message_start", "content_block_start", "content_block_delta", "content_block_delta"]
    await stream.close()
    await simulator.until(lambda stats: stats.in_flight == 0)
    assert simulator.stats.last_requests[-1].ended == "cancelled"
