"""What the client's README shows of streams works as it stands there."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import trunkline
from trunkline import StreamBrokenError

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateways

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
