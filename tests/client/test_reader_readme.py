"""What the client's README shows of streams works as it stands there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import google_crc32c
import pytest
from tests.client.cutting_proxy import CuttingProxy
from tests.rpc.conftest import FakeEngine, opening, serving, text, whole_end

import trunkline
from trunkline import StreamBrokenError, StreamLostError

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateways

    from trunkline_server.chat.request import ChatRequest
    from trunkline_server.engine.api import CallScope
    from trunkline_server.engine.frames import Frame

README = (Path(__file__).resolve().parents[2] / "clients/python/README.md").read_text()


def example(name: str) -> Any:
    """Return the function of that name from the README's code."""
    scope: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(block, scope)  # noqa: S102 - our own README is what is tested
    return scope[name]


async def test_the_stream_example_prints_and_returns_the_answer(
    gateway: Gateways, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pieces are printed as they come, and the answer is returned."""
    async with gateway() as running:
        answer = await example("tell")(running.address, "hello")
    assert answer.text == capsys.readouterr().out == "You said: hello"


async def test_the_stream_example_tells_of_a_break(gateway: Gateways, capsys: pytest.CaptureFixture[str]) -> None:
    """A broken stream is told after what came of it."""
    broken = {"default": {"chunks": 4, "chunk_text": "word ", "cut_after_chunks": 2, "chunk_gap_s": 0.01}}
    async with gateway(broken) as running:
        with pytest.raises(StreamBrokenError):
            await example("tell")(running.address, "hello")
    assert capsys.readouterr().out == "word word \nbroken after 10 characters: STREAM_BROKEN\n"


async def test_the_synchronous_example_returns_the_answer(gateway: Gateways) -> None:
    """The answer can be had in one line."""
    async with gateway() as running:
        answer = await asyncio.to_thread(example("tell_all"), running.address, "hello")
    assert answer.text == "You said: hello"


async def test_the_example_that_reads_on_loses_nothing() -> None:
    """A connection that is lost in the middle of an answer costs no piece, and none comes twice."""
    frames = (*opening(), text("one "), text("two", 4))
    sums = {"content_bytes": 7, "content_crc32c": google_crc32c.value(b"one two")}
    whole = (*frames, replace(whole_end(), **sums))

    async def begins(_request: ChatRequest, _scope: CallScope) -> AsyncGenerator[Frame, None]:
        for frame in frames[:3]:
            yield frame
        await asyncio.Event().wait()

    async def goes_on(_stream_id: str, after_seq: int, _scope: CallScope) -> AsyncGenerator[Frame, None]:
        for frame in whole[after_seq:]:
            yield frame

    printed: list[str] = []
    tell = example("tell_to_the_end")
    async with (
        serving(FakeEngine(on_stream=begins, on_resume=goes_on)) as served,
        CuttingProxy(served.address).listening() as line,
    ):

        def show(piece: str, **_how: object) -> None:
            printed.append(piece)
            if len(printed) == 1:
                line.cut()

        tell.__globals__["print"] = show
        answer = await asyncio.wait_for(tell(line.address, "hello"), 20)
    assert printed == ["one ", "two"]
    assert (answer.text, answer.complete) == ("one two", True)


async def test_the_example_that_reads_on_stops_where_the_server_says_so() -> None:
    """A stream that the server does not know any more is lost for good, with what had come."""

    async def begins(_request: ChatRequest, _scope: CallScope) -> AsyncGenerator[Frame, None]:
        for frame in (*opening(), text("one ")):
            yield frame
        await asyncio.Event().wait()

    tell = example("tell_to_the_end")
    async with (
        serving(FakeEngine(on_stream=begins)) as served,
        CuttingProxy(served.address).listening() as line,
    ):
        tell.__globals__["print"] = lambda *_pieces, **_how: line.cut()
        with pytest.raises(StreamLostError) as caught:
            await asyncio.wait_for(tell(line.address, "hello"), 20)
    assert (caught.value.failure.reason, caught.value.partial.text) == ("STREAM_NOT_FOUND", "one ")


def test_the_readme_names_every_error_and_what_an_answer_has() -> None:
    """Each error that is exported stands in the README."""
    named = set(re.findall(r"`(\w+)[`(]", README))
    errors = {name for name in trunkline.__all__ if name.endswith("Error")}
    assert errors <= named
    assert set(re.findall(r"`(\w+)`", README)) >= {
        "message",
        "text",
        "tool_calls",
        "open_tool_calls",
        "seams",
        "partial",
    }
