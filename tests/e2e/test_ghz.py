"""`ghz` against a running gateway: a bounded load by reflection, and every call of it is answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from tests.e2e.outside import run

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateways

REQUEST = '{"model":"default","messages":[{"role":"ROLE_USER","parts":[{"text":"call {{.RequestNumber}}"}]}]}'
CALLS = 300


@pytest.mark.parametrize("method", ["Complete", "StreamComplete"])
async def test_a_load_is_answered_whole(gateway: Gateways, program: Callable[[str], str], method: str) -> None:
    """300 calls, 10 at a time over 2 connections: all OK, each served once, and nothing is left behind."""
    ghz = program("ghz")
    async with gateway({"default": {"chunks": 5, "chunk_text": "tok "}}) as running:
        ran = await run(
            ghz, "--insecure", "--call", f"trunkline.v1.CompletionService.{method}", "--data", REQUEST,
            "--total", str(CALLS), "--concurrency", "10", "--connections", "2", "--timeout", "20s",
            "--format", "json", running.address,
        )  # fmt: skip
        report = ran.document()
        assert report["count"] == CALLS
        assert report["statusCodeDistribution"] == {"OK": CALLS}
        assert report["errorDistribution"] == {}
        assert running.simulator.stats.requests == CALLS
        await running.quiet()
    print(f"{method}: {report['rps']:.0f} a second, average {report['average'] / 1e6:.1f} ms")
