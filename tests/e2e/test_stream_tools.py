"""Tool calls where a stream breaks, over real connections: never half a call, never one that is run twice unawares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.stream_books import settled
from tests.e2e.stream_wishes import ROUTES, request, stream

from trunkline.v1 import FINISH_REASON_TOOL_CALLS, ON_BREAK_CONTINUE, ON_BREAK_FAIL, ON_BREAK_RESTART

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateways

TOOLS: dict[str, Any] = {
    "content": "Let me look. ",
    "tool_calls": [
        {"name": "weather", "id": "call-1", "arguments": '{"city": "Brno"}'},
        {"name": "clock", "id": "call-2", "arguments": '{"zone": "CET"}'},
    ],
}
"""Three chunks of text, then four of each call's arguments."""


@pytest.mark.parametrize("on_break", [ON_BREAK_RESTART, ON_BREAK_CONTINUE])
async def test_an_open_tool_call_is_taken_back(gateway: Gateways, on_break: Any) -> None:
    """Nothing of a half call stays: the reset names the frame before it, or all; the answer then has whole calls."""
    scenario = {
        "default": TOOLS,
        "models": {"primary": {"cut_after_chunks": 5}},
        "prefill_models": ["fallback"],
    }
    async with gateway(scenario, routes=ROUTES) as running:
        reading = await stream(running, request(tools=True, on_break=on_break))
        assert reading.error is None
        (broken,) = reading.all_of("attempt_failed")
        assert (list(broken.tool_calls_done), list(broken.tool_calls_open)) == ([], ["call-1"])
        assert broken.on_break_applied == on_break
        (reset,) = reading.all_of("reset")
        content = [frame for frame in reading.frames if frame.HasField("deltas") and frame.attempt == 1]
        opened = next(frame.seq for frame in content if frame.deltas.items[0].HasField("tool_call"))
        last_text = max(frame.seq for frame in content if frame.seq < opened)
        assert reset.keep_through_seq == (0 if on_break == ON_BREAK_RESTART else last_text)
        assert [call.arguments_json for call in reading.answer.tool_calls] == ['{"city": "Brno"}', '{"zone": "CET"}']
        assert reading.answer.finish_reason == FINISH_REASON_TOOL_CALLS
        assert not reading.answer.open_tool_calls
        assert reading.answer.text.startswith("Let me look.")


@pytest.mark.parametrize("on_break", [ON_BREAK_RESTART, ON_BREAK_CONTINUE])
async def test_a_call_that_is_done_bars_everything_but_the_truth(gateway: Gateways, on_break: Any) -> None:
    """The caller may be running it: the stream ends as broken, with the calls done and open told apart."""
    scenario = {"default": TOOLS, "models": {"primary": {"cut_after_chunks": 8}}, "prefill_models": ["fallback"]}
    async with gateway(scenario, routes=ROUTES) as running:
        reading = await stream(running, request(tools=True, on_break=on_break))
        assert reading.status == ("ABORTED", "STREAM_BROKEN")
        (broken,) = reading.all_of("attempt_failed")
        assert (list(broken.tool_calls_done), list(broken.tool_calls_open)) == (["call-1"], ["call-2"])
        assert (broken.on_break_asked, broken.on_break_applied) == (on_break, ON_BREAK_FAIL)
        assert broken.degraded_because
        assert [call.id for call in reading.answer.tool_calls] == ["call-1"]
        assert [call.id for call in reading.answer.open_tool_calls] == ["call-2"]
        assert running.simulator.stats.requests == 1


async def test_a_restart_takes_back_whatever_was_shown(gateway: Gateways) -> None:
    """Reasoning, text and half a call of many frames: none of it counts in the length and checksum of the end."""
    said = {**TOOLS, "reasoning": "thinking about the žluťoučký kůň ", "chunk_gap_s": 0.002}
    scenario = {"default": said, "models": {"primary": {"cut_after_chunks": 9}}}
    async with gateway(scenario, routes=ROUTES) as running:
        reading = await stream(running, request(tools=True, on_break=ON_BREAK_RESTART))
        assert reading.error is None
        assert [reset.keep_through_seq for reset in reading.all_of("reset")] == [0]
        assert reading.answer.thinking == said["reasoning"]
        assert [attempt.discarded for attempt in reading.answer.attempts] == [True, False]
        assert reading.answer.attempts[0].bytes_emitted > 0
        sent = said["reasoning"] + TOOLS["content"] + '{"city": "Brno"}{"zone": "CET"}'
        assert reading.frames[-1].end.content_bytes == len(sent.encode())


async def test_complete_restarts_freely(gateway: Gateways) -> None:
    """Nothing was shown, so a body that breaks off halfway is one failover, whatever `on_break` says."""
    faults: list[dict[str, Any]] = [{"cut_after_chunks": 1}, {"reset_after_chunks": 1}, {"malformed_after_chunks": 1}]
    for fault in faults:
        async with gateway({"default": TOOLS, "models": {"primary": fault}}, routes=ROUTES) as running:
            for on_break in (ON_BREAK_FAIL, ON_BREAK_RESTART, ON_BREAK_CONTINUE):
                response = await running.stub.Complete(request(tools=True, on_break=on_break), timeout=30)
                calls = [part.tool_call.arguments_json for part in response.message.parts if part.HasField("tool_call")]
                assert calls == ['{"city": "Brno"}', '{"zone": "CET"}']
                assert [attempt.HasField("error") for attempt in response.attempts] == [True, False]
            await settled(running)
