"""Calls that end in an error: what grpc keeps of them is let go at once, or the connection's streams run out."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import grpc
import pytest
from tests.e2e.conftest import ENVIRONMENT, ROUTES, ask
from tests.e2e.test_operator_fuzz import raw_call

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateways

SERVICE = "/trunkline.v1.CompletionService/"


@pytest.mark.parametrize("method", ["Complete", "StreamComplete"])
@pytest.mark.parametrize("payload", [b"\xff", ask("hi", model="nobody").SerializeToString()])
async def test_a_refused_call_is_gone_with_its_status(gateway: Gateways, method: str, payload: bytes) -> None:
    """Nothing of the server's side of it waits for the garbage collector."""
    async with (
        gateway(routes=ROUTES, environ=ENVIRONMENT) as running,
        grpc.aio.insecure_channel(running.address) as channel,
    ):
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                assert await raw_call(channel, SERVICE + method, payload) is not None
                for _ in range(20):  # the server's side ends a few turns of the loop after the status came
                    await asyncio.sleep(0.001)
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            left = {type(each).__name__ for each in gc.garbage}
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
    assert not left & {"RPCState", "_ServicerContext", "Call"}, left
