"""A server on loopback that sends the frames it is given, and the whole gateway of the end-to-end tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from tests.e2e.conftest import gateway

from trunkline.v1 import CompleteRequest, StreamFrame

__all__ = ["gateway"]

PATIENCE_S = 10


@dataclass
class Wire:
    """What the server sends: frames, then a status. `hold_after`: it waits after so many until the caller leaves."""

    target: str = ""
    frames: list[StreamFrame] = field(default_factory=list)
    code: grpc.StatusCode = grpc.StatusCode.OK
    reason: str = "STREAM_BROKEN"
    hold_after: int | None = None
    left: threading.Event = field(default_factory=threading.Event)

    def stream_complete(self, _request: CompleteRequest, context: grpc.ServicerContext) -> Iterator[StreamFrame]:
        """Send what was given."""
        context.add_callback(self.left.set)
        for number, frame in enumerate(self.frames):
            if number == self.hold_after:
                self.left.wait(PATIENCE_S)
            yield frame
        if self.code is not grpc.StatusCode.OK:
            context.set_trailing_metadata((("grpc-status-details-bin", self._details()),))
            context.abort(self.code, "refused")

    def _details(self) -> bytes:
        detail = any_pb2.Any()
        detail.Pack(error_details_pb2.ErrorInfo(reason=self.reason, domain="trunkline"))
        status = status_pb2.Status(code=self.code.value[0], message="refused", details=[detail])
        return bytes(status.SerializeToString())

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the RPC for a server."""
        rpc = grpc.unary_stream_rpc_method_handler(
            self.stream_complete, CompleteRequest.FromString, StreamFrame.SerializeToString
        )
        return grpc.method_handlers_generic_handler("trunkline.v1.CompletionService", {"StreamComplete": rpc})


@pytest.fixture
def wire() -> Iterator[Wire]:
    """Serve frames on loopback for one test."""
    wire = Wire()
    with ThreadPoolExecutor(4) as threads:
        server = grpc.server(threads, handlers=[wire.handler()], options=[("grpc.so_reuseport", 0)])
        wire.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield wire
        finally:
            wire.left.set()
            server.stop(0).wait(PATIENCE_S)
