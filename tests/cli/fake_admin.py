"""An admin port that answers what a test tells it: a real server on loopback, with the generated servicer."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from trunkline import v1 as pb


@dataclass(frozen=True)
class Refusal:
    """What a call is answered with instead."""

    code: str
    reason: str
    message: str
    metadata: Mapping[str, str]
    violations: Sequence[tuple[str, str]]

    def status(self) -> grpc.Status:
        details: list[Message] = [
            error_details_pb2.ErrorInfo(reason=self.reason, domain="trunkline", metadata=self.metadata)
        ]
        if self.violations:
            fields = [
                error_details_pb2.BadRequest.FieldViolation(field=field, description=description)
                for field, description in self.violations
            ]
            details.append(error_details_pb2.BadRequest(field_violations=fields))
        packed = [any_pb2.Any() for _ in details]
        for box, detail in zip(packed, details, strict=True):
            box.Pack(detail)
        number = code_pb2.Code.Value(self.code)
        return rpc_status.to_status(status_pb2.Status(code=number, message=self.message, details=packed))


UNARY = (
    "GetRoutes",
    "PlanRoutes",
    "ReloadRoutes",
    "RollbackRoutes",
    "ListRouteVersions",
    "GetStatus",
    "OverrideTarget",
    "OverrideKey",
    "Drain",
)
WATCHES = ("WatchRoutes", "WatchStatus")


class FakeAdmin:
    """Remembers what it was asked, and answers with `answers`, by the RPC's name: a message, several, or a refusal."""

    def __init__(self) -> None:
        self.address = ""
        self.answers: dict[str, Any] = {}
        self.requests: list[Any] = []
        self.tokens: list[str] = []
        self.deadlines_s: list[float | None] = []
        self.hold = threading.Event()
        """A watch that has said all ends when it is set, or when its reader leaves."""
        self.hold.set()
        self.said_all = threading.Event()
        for name in UNARY:
            setattr(self, name, partial(self._answer, name))
        for name in WATCHES:
            setattr(self, name, partial(self._watch, name))

    def refuse(
        self,
        rpc: str,
        code: str,
        reason: str,
        message: str = "no",
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Answer an RPC with a status and its details."""
        self.answers[rpc] = Refusal(code, reason, message, metadata or {}, violations)

    def _note(self, request: Any, context: Any) -> None:
        self.requests.append(request)
        self.tokens += [value for key, value in context.invocation_metadata() if key == "authorization"]
        self.deadlines_s.append(context.time_remaining())

    def _answer(self, rpc: str, request: Any, context: Any) -> Any:
        self._note(request, context)
        found = self.answers[rpc]
        if isinstance(found, Refusal):
            context.abort_with_status(found.status())
        return found

    def _watch(self, rpc: str, request: Any, context: Any) -> Iterator[Any]:
        self._note(request, context)
        left = threading.Event()
        context.add_callback(left.set)
        for found in self.answers[rpc]:
            if isinstance(found, Refusal):
                context.abort_with_status(found.status())
            yield found
        self.said_all.set()
        while not self.hold.wait(0.02) and not left.is_set():
            pass


@contextmanager
def served(fake: FakeAdmin, port: int = 0) -> Iterator[FakeAdmin]:
    """Serve on loopback until the block ends; the address is set on the fake."""
    # One port is one server's: a second one on it fails instead of sharing its calls.
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    pb.add_AdminServiceServicer_to_server(cast("pb.AdminServiceServicer", fake), server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    fake.address = f"127.0.0.1:{bound}"
    server.start()
    try:
        yield fake
    finally:
        server.stop(None).wait(10)
