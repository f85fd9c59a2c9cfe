"""Finds the handler of an RPC, after it has found out who calls and whether they may: before the message is read.

grpc reads the message of a call only once a handler for one message was returned. A call that is refused gets a
handler for a stream of messages instead, which ends the call without reading any.

A token is in the metadata, which is at hand here. A certificate is not: a call without a token is let through to a
handler that looks at the certificate first. By then grpc reads its message, so only peers whose certificate the
clients' authority has signed get that far.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Generic, TypeAlias

import grpc

from trunkline_server.control.types import Role
from trunkline_server.engine.frames import CallFailedError, CallFailure
from trunkline_server.routing.types import Caller, Reason
from trunkline_server.rpc.auth import (
    Administrator,
    AdminTable,
    CallerTable,
    IdentityTable,
    NoTokenError,
    UnauthenticatedError,
    Who,
    failure_of_unauthenticated,
)
from trunkline_server.rpc.boundary import Boundary, Method, UnaryMethod
from trunkline_server.rpc.call import Context
from trunkline_server.rpc.certificate import names_of
from trunkline_server.rpc.drain import Drain, draining_failure
from trunkline_server.rpc.sender import Sender, previous_attempts_of

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Details: TypeAlias = grpc.HandlerCallDetails
Metadata: TypeAlias = "Iterable[tuple[str, str | bytes]]"
Callers = Callable[[], CallerTable]
Admins = Callable[[], AdminTable]

_NOBODY = ""


class ServiceHandler(grpc.GenericRpcHandler, Generic[Who]):
    """All RPCs of one service of ours on one server."""

    def __init__(
        self, boundary: Boundary, methods: Iterable[Method], table: Callable[[], IdentityTable[Who]], drain: Drain
    ) -> None:
        """Serve `methods` to those in the table that `table` returns at the time of each call."""
        self._boundary = boundary
        self._methods = {method.path: method for method in methods}
        self._table = table
        self._drain = drain

    def service(self, handler_call_details: Details) -> Handler | None:
        """Return how to serve this call; None if it is none of ours."""
        method = self._methods.get(handler_call_details.method)
        if method is None:
            return None
        metadata = handler_call_details.invocation_metadata
        caller_id = _NOBODY
        try:
            table = self._table()
            try:
                who = table.authenticate(metadata)
            except NoTokenError:
                if not table.knows_certificates:
                    raise
                return _mounted(method, self._certified(method, table, metadata))
            caller_id = who.id
            # Read here, where grpc has the metadata at hand: asked for later, it would be made anew.
            sender = self._admit(method, who, metadata)
        except Exception as error:  # noqa: BLE001  grpc would send its text to the caller
            failure = _failure_of(error, method.path, self._boundary)
            return _refusal(self._boundary, method.path, caller_id, failure)
        return _mounted(method, partial(Boundary.serve, self._boundary, method, sender))

    @abstractmethod
    def _sender(self, method: Method, who: Who, metadata: Metadata) -> Sender:
        """Return who sends. Raises CallFailedError if they may not call `method`."""

    def _admit(self, method: Method, who: Who, metadata: Metadata) -> Sender:
        """Return who sends, if they may and the server takes calls. Raises CallFailedError."""
        sender = self._sender(method, who, metadata)
        if self._drain.draining:
            raise CallFailedError(draining_failure())
        return sender

    def _certified(
        self, method: Method, table: IdentityTable[Who], metadata: Metadata
    ) -> Callable[[bytes, Context], Awaitable[bytes]]:
        """Return what serves a call that is known by its certificate alone."""

        async def serve(raw: bytes, context: Context) -> bytes:
            caller_id = _NOBODY
            try:
                who = table.identify(names_of(context.auth_context()))
                caller_id = who.id
                sender = self._admit(method, who, metadata)
            except Exception as error:  # noqa: BLE001  grpc would send its text to the caller
                failure = _failure_of(error, method.path, self._boundary)
            else:
                served = self._boundary.serve(method, sender, raw, context)
                del context  # see `Boundary.serve`
                return await served
            refused = self._boundary.refuse(method.path, caller_id, failure, raw, context)
            del context
            await refused
            return b""  # grpc sends no message after a status

        return serve


class CallerHandler(ServiceHandler[Caller]):
    """The service for callers: whoever is known may call all of it, and the engine knows what each may use."""

    def _sender(self, method: Method, who: Caller, metadata: Metadata) -> Sender:  # noqa: ARG002  all may call all
        return Sender(who, previous_attempts_of(metadata))


class AdminHandler(ServiceHandler[Administrator]):
    """The service for admins: each method says which role it takes."""

    def _sender(self, method: Method, who: Administrator, metadata: Metadata) -> Sender:  # noqa: ARG002  admins' libraries are not counted
        if method.role is Role.OPERATOR and who.role is not Role.OPERATOR:
            raise CallFailedError(
                CallFailure(
                    Reason.PERMISSION_DENIED,
                    f"this takes the role {Role.OPERATOR.value}, and you are a {who.role.value}",
                )
            )
        return Sender(Caller(who.id), 0)


class GuardedHandler(grpc.GenericRpcHandler, Generic[Who]):
    """RPCs of a library's servicer, for all who are known."""

    def __init__(
        self, boundary: Boundary, handlers: dict[str, Handler], table: Callable[[], IdentityTable[Who]]
    ) -> None:
        """Serve `handlers`, by the full path of each RPC."""
        self._boundary = boundary
        self._handlers = handlers
        self._table = table

    def service(self, handler_call_details: Details) -> Handler | None:
        """Return how to serve this call; None if it is none of these."""
        path = handler_call_details.method
        handler = self._handlers.get(path)
        if handler is None:
            return None
        try:
            table = self._table()
            try:
                table.authenticate(handler_call_details.invocation_metadata)
            except NoTokenError:
                if not table.knows_certificates:
                    raise
                return self._certified(path, handler, table)
        except Exception as error:  # noqa: BLE001  grpc would send its text to the caller
            return _refusal(self._boundary, path, _NOBODY, _failure_of(error, path, self._boundary))
        return handler

    def _certified(self, path: str, handler: Handler, table: IdentityTable[Who]) -> Handler:
        """Return a handler that serves as `handler` does whoever is known by the certificate."""
        one: Any = handler.unary_unary
        many: Any = handler.stream_stream

        async def is_known(context: Context) -> bool:
            try:
                table.identify(names_of(context.auth_context()))
            except Exception as error:  # noqa: BLE001  grpc would send its text to the caller
                failure = _failure_of(error, path, self._boundary)
                await self._boundary.refuse(path, _NOBODY, failure, None, context)
                return False
            return True

        async def answer(raw: Any, context: Context) -> Any:
            return await one(raw, context) if await is_known(context) else None

        async def converse(requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
            if await is_known(context):
                async for response in many(requests, context):
                    yield response

        codec = (handler.request_deserializer, handler.response_serializer)
        if many is not None:
            return grpc.stream_stream_rpc_method_handler(converse, *codec)
        return grpc.unary_unary_rpc_method_handler(answer, *codec)


def _mounted(method: Method, behaviour: Callable[..., Awaitable[bytes]]) -> Handler:
    """Return grpc's handler of a method; bytes go in and out as they are."""
    if isinstance(method, UnaryMethod):
        return grpc.unary_unary_rpc_method_handler(behaviour)
    return grpc.unary_stream_rpc_method_handler(behaviour)


def _refusal(boundary: Boundary, path: str, caller_id: str, failure: CallFailure) -> Handler:
    """Return a handler that ends the call without reading its message."""
    return grpc.stream_stream_rpc_method_handler(partial(Boundary.refuse, boundary, path, caller_id, failure))


def _failure_of(error: Exception, path: str, boundary: Boundary) -> CallFailure:
    """Return what is told to whoever is not let in."""
    match error:
        case UnauthenticatedError():
            return failure_of_unauthenticated(error)
        case CallFailedError():
            return error.failure
        case _:
            return boundary.report(error, path, "")
