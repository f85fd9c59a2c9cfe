"""`grpc.health.v1`: whether the server, and each service, takes calls.

Our own servicer, because the stock one can be blocked for ever by one watcher that does not read, and its open watches
hold up a server that stops. Here a watcher has no queue: it is told the latest value when it is ready for one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from enum import IntEnum
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from grpc import aio
from grpc_health.v1 import health_pb2

SERVICE = "grpc.health.v1.Health"
WHOLE_SERVER = ""


class Status(IntEnum):
    """A service's state, by the protocol's numbers."""

    SERVING = health_pb2.HealthCheckResponse.SERVING
    NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
    SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


Context: TypeAlias = "aio.ServicerContext[bytes, bytes]"


class Health(grpc.GenericRpcHandler):
    """The state of each service, and those who watch it. Open to everybody: load balancers carry no token."""

    def __init__(self, services: Iterable[str]) -> None:
        """Take the services' full names; they and the whole server start as NOT_SERVING."""
        self._states: dict[str, Status] = dict.fromkeys((WHOLE_SERVER, *services), Status.NOT_SERVING)
        self._watchers: dict[asyncio.Task[Any], asyncio.Event] = {}
        self._ended = False
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            f"/{SERVICE}/Check": grpc.unary_unary_rpc_method_handler(self._check),
            f"/{SERVICE}/Watch": grpc.unary_stream_rpc_method_handler(self._watch),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return how to serve this call; None if it is none of health."""
        return self._handlers.get(handler_call_details.method)

    @property
    def watchers(self) -> int:
        """How many watches are open."""
        return len(self._watchers)

    def set_all(self, status: Status) -> None:
        """Give the whole server and each service this state, and tell the watchers."""
        for service in self._states:
            self._states[service] = status
        self._wake()

    async def end_watches(self, timeout_s: float) -> None:
        """End every watch, telling its last state; after `timeout_s` also those whose watchers do not read."""
        self._ended = True
        self._wake()
        open_now = set(self._watchers)
        if not open_now:
            return
        _, stalled = await asyncio.wait(open_now, timeout=timeout_s)
        for task in stalled:
            task.cancel()

    def _wake(self) -> None:
        for changed in self._watchers.values():
            changed.set()

    async def _check(self, raw: bytes, context: Context) -> bytes:
        state = self._states.get(await _service_of(raw, context))
        if state is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return health_pb2.HealthCheckResponse(status=state).SerializeToString()

    async def _watch(self, raw: bytes, context: Context) -> None:
        service = await _service_of(raw, context)
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an RPC is served in a task")
        changed = self._watchers[task] = asyncio.Event()
        try:
            await self._tell_changes(service, changed, context)
        except aio.InternalError:
            raise asyncio.CancelledError from None  # the watcher is gone
        finally:
            del self._watchers[task]

    async def _tell_changes(self, service: str, changed: asyncio.Event, context: Context) -> None:
        told: Status | None = None
        while True:
            changed.clear()
            state = self._states.get(service, Status.SERVICE_UNKNOWN)
            if state != told:
                await context.write(health_pb2.HealthCheckResponse(status=state).SerializeToString())
                told = state
                continue
            if self._ended:
                return
            await changed.wait()


async def _service_of(raw: bytes, context: Context) -> str:
    """Return the service that is asked about; bytes that are no request end the call."""
    try:
        service: str = health_pb2.HealthCheckRequest.FromString(raw).service
    except DecodeError:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not a valid HealthCheckRequest message")
    return service
