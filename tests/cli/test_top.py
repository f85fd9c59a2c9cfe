"""`trunkline top` while it follows a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.cli.admin_answers import status
from tests.cli.fake_admin import FakeAdmin, served

from trunkline import v1 as pb
from trunkline_server.cli.top_frame import frame

if TYPE_CHECKING:
    from tests.cli.conftest import Run


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 12), (100, 40)])
def test_a_picture_fits_the_terminal(width: int, height: int) -> None:
    """It is as large as the terminal at most, and says what it leaves out."""
    crowded = status()
    for number in range(50):
        crowded.keys.add(provider="openai", key_id=f"k{number}", state="ACTIVE")
    lines = frame(crowded, "127.0.0.1:50052", "", width=width, height=height).plain.splitlines()
    assert len(lines) <= height
    assert max(map(len, lines)) <= width


def test_trouble_stands_first() -> None:
    """An open circuit stands above a sound target."""
    lines = frame(status(), "here", "", width=100, height=None).plain
    assert lines.index("anthropic/claude-haiku") < lines.index("openai/gpt-4o-mini")


def test_top_connects_again_and_says_so(fake: FakeAdmin, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost watch is told, and a new server is known as one; a refusal ends it."""
    restarted = status()
    restarted.workers[0].pid = 4712
    fake.answers["WatchStatus"] = [pb.WatchStatusResponse(status=status())]

    def meanwhile(_: float) -> None:
        again = [pb.WatchStatusResponse(status=restarted)]
        fake.answers["WatchStatus"] = again
        if len(fake.requests) > 1:
            fake.refuse("GetStatus", "UNAUTHENTICATED", "UNAUTHENTICATED")
            fake.answers["WatchStatus"] = [fake.answers["GetStatus"]]

    monkeypatch.setattr("trunkline_server.cli.top.time.sleep", meanwhile)
    ended = run("top")
    assert ended.code == 1
    assert "the server is gone" in ended.err
    assert "the server has restarted" in ended.out
    assert "TRUNKLINE_ADMIN_TOKEN" in ended.err


def test_top_without_a_server_ends(run: Run) -> None:
    """Nobody there at the start is a failure, not something to wait for."""
    with served(FakeAdmin()) as gone:
        address = gone.address
    ended = run("top", "--server", address)
    assert ended.code == 1
    assert "cannot reach a server" in ended.err
