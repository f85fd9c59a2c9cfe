"""What callers spent outlasts the process."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from trunkline_server.control.spending import BLOB, SpendingKeeper
from trunkline_server.control.store import Store
from trunkline_server.engine.callers import CallerAccounts
from trunkline_server.routing.caller_limits import CallerLimits
from trunkline_server.routing.types import Caller
from trunkline_server.telemetry.logs import make_log
from trunkline_server.telemetry.sink import LineSink

SHOP = Caller("shop", limits=CallerLimits(budget_nanousd_per_day=1_000))


@pytest.fixture
def said(tmp_path: Path) -> Path:
    return tmp_path / "log"


async def kept(directory: Path, said: Path, spend: int) -> int:
    """Run a process's worth of accounts that spends; return what it knew at its start."""
    with Store(directory) as store, said.open("ab") as file:
        sink = LineSink(file.fileno())
        accounts = CallerAccounts()
        keeper = SpendingKeeper(accounts, store, make_log(sink, "info"))
        await keeper.restore()
        before = json.loads(accounts.export())["spent"].get("shop", [0, 0])[1]
        if spend:
            admitted = accounts.admit(SHOP, 1, spend)
            assert admitted is not None
            admitted.book(1, spend)
            admitted.settle()
        await keeper.write()
        sink.close()
    return int(before)


async def test_spending_outlasts_a_restart(tmp_path: Path, said: Path) -> None:
    """What one process spent the next one knows, and adds to it."""
    assert [await kept(tmp_path / "data", said, spend) for spend in (300, 200, 0)] == [0, 300, 500]


async def test_a_damaged_book_is_told_and_begun_anew(tmp_path: Path, said: Path) -> None:
    """The server serves on, and says loudly what it has lost."""
    with Store(tmp_path / "data") as store:
        await asyncio.to_thread(store.write_blob, BLOB, b"no book")
    assert await kept(tmp_path / "data", said, 100) == 0
    assert "spending_lost" in await asyncio.to_thread(said.read_text, encoding="utf-8")
    assert await kept(tmp_path / "data", said, 0) == 100
