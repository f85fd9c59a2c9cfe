"""The process is killed while it reloads: the next start has a whole version, the old one or the new."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from scripts.benchmarks.storm_routes import ENVIRONMENT, document, on_file
from tests.e2e.serving import serve

from trunkline import failure_of
from trunkline.v1 import AdminServiceStub, GetRoutesRequest, ListRouteVersionsRequest, ReloadRoutesRequest

if TYPE_CHECKING:
    from trunkline.v1 import AdminServiceAsyncStub

Sized = Callable[..., int]


@pytest.mark.timeout(900)
async def test_kill_nine_in_the_middle_of_a_reload(tmp_path: Path, sized: Sized, rng: random.Random) -> None:
    """100 times at random moments: what runs next is a document that was given, the last one or the one after it."""
    data = ("--data-dir", str(tmp_path / "data"), "--log-level", "error")
    # The file is the same at each start, so that the version that was published last wins; the upstream is never asked.
    routes = on_file("http://127.0.0.1:9/v1", random.Random(1))
    given: dict[int, str] = {}
    known = (1, "")
    cut_short = 0
    for _ in range(sized(full=100, gate=4)):
        async with serve(tmp_path, routes, *data, environ=ENVIRONMENT) as running:
            admin: AdminServiceAsyncStub = AdminServiceStub(running.admin_channel)
            shown = await admin.GetRoutes(GetRoutesRequest(), timeout=20)
            version = shown.version.version
            assert version in {known[0], known[0] + 1}, (version, known)
            if version in given:
                assert shown.document == given[version]
            cut_short += version == known[0] + 1
            listed = await admin.ListRouteVersions(ListRouteVersionsRequest(page_size=100), timeout=20)
            numbers = [entry.version for entry in listed.versions]
            assert numbers == sorted(numbers, reverse=True)
            assert numbers[0] == version
            # One that is whole, then one that is killed at a moment of its own.
            whole = document("http://127.0.0.1:9/v1", rng)
            done = await admin.ReloadRoutes(ReloadRoutesRequest(source=whole, reason="whole"), timeout=20)
            known = (done.version.version, whole)
            given[done.version.version] = whole
            cut = document("http://127.0.0.1:9/v1", rng)
            given[done.version.version + 1] = cut
            call = asyncio.ensure_future(_reload(admin, cut))
            await asyncio.sleep(rng.uniform(0.0, 0.08))
            running.signal(signal.SIGKILL)
            assert await running.ended() == -signal.SIGKILL
            await call
    print(f"\nkilled in the middle of a reload: {cut_short} of those after a kill ran on the new version")


async def _reload(admin: AdminServiceAsyncStub, source: str) -> None:
    try:
        await admin.ReloadRoutes(ReloadRoutesRequest(source=source, reason="cut"), timeout=20)
    except grpc.aio.AioRpcError as error:
        assert error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}  # noqa: PT017  it may succeed


async def test_two_operators_with_the_same_etag(tmp_path: Path, sized: Sized, rng: random.Random) -> None:
    """Exactly one wins, the other gets ABORTED with the version that runs; round for round."""
    routes = on_file("http://127.0.0.1:9/v1", rng)
    async with serve(tmp_path, routes, "--data-dir", str(tmp_path / "data"), environ=ENVIRONMENT) as running:
        admin: AdminServiceAsyncStub = AdminServiceStub(running.admin_channel)
        for _ in range(sized(full=100, gate=10)):
            etag = (await admin.GetRoutes(GetRoutesRequest(), timeout=20)).version.etag
            orders = [
                ReloadRoutesRequest(source=document("http://127.0.0.1:9/v1", rng), if_match_etag=etag) for _ in range(2)
            ]
            results = await asyncio.gather(
                *(admin.ReloadRoutes(order, timeout=20) for order in orders), return_exceptions=True
            )
            won = [result for result in results if not isinstance(result, BaseException)]
            lost = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
            assert (len(won), len(lost)) == (1, 1), results
            failure = failure_of(lost[0])
            assert (lost[0].code(), failure.reason) == (grpc.StatusCode.ABORTED, "STALE_ETAG")
            assert failure.metadata["current_version"] == str(won[0].version.version)
