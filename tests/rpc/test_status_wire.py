from __future__ import annotations

from typing import NoReturn

import grpc
import pytest
from grpc import aio

from trunkline_server.engine.frames import AttemptSummary, CallFailure, FieldViolation, ServedBy
from trunkline_server.routing.events import Why
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.types import Reason, TargetId
from trunkline_server.rpc.status import RpcStatus, status_of

LOST = Failure(FailureClass.CONNECT, "漢" * 500, upstream_text="%\n" * 500)
ATTEMPT = AttemptSummary(
    1, ServedBy(TargetId("provider", "model"), "key"), Why.RETRY, 0.1, None, 9.9, LOST, None, 0, discarded=False
)
FULLEST = CallFailure(
    Reason.UPSTREAM_EXHAUSTED,
    "50 % of 漢字\n" * 100,
    FailureClass.CONNECT,
    1.0,
    tuple(FieldViolation(f"messages[{index}]", "x" * 100) for index in range(9)),
    {f"key{index}": "ü" * 100 for index in range(20)},
    (ATTEMPT,) * 9,
    LOST,
    503,
)


class Refuser(grpc.GenericRpcHandler):
    """Ends every call with one status."""

    def __init__(self, status: RpcStatus) -> None:
        self._status = status

    def service(self, _details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        return grpc.unary_unary_rpc_method_handler(self._refuse)

    async def _refuse(self, _request: bytes, context: aio.ServicerContext[bytes, bytes]) -> NoReturn:
        await context.abort(self._status.code, self._status.message, self._status.trailing_metadata())


@pytest.mark.parametrize("failure", [FULLEST, CallFailure(Reason.QUEUE_FULL, "full", retry_after_s=0.5)])
async def test_a_status_arrives_whole(failure: CallFailure) -> None:
    """Message, details and pushback come through grpc as they were made."""
    status = status_of(failure)
    server = aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((Refuser(status),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            with pytest.raises(aio.AioRpcError) as caught:
                await channel.unary_unary("/trunkline.v1.Any/Call", bytes, bytes)(b"", timeout=10)
    finally:
        await server.stop(None)
    error = caught.value
    assert (error.code(), error.details()) == (status.code, status.message)
    assert set(error.trailing_metadata()) == set(status.trailing_metadata())
