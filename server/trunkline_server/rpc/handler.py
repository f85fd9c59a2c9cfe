"""Finds the handler of an RPC, after it has found out who calls: before a byte of the message is read.

grpc reads the message of a call only once a handler for one message was returned. A call that is refused gets a
handler for a stream of messages instead, which ends the call without reading any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeAlias

import grpc

from trunkline_server.engine.frames import CallFailure
from trunkline_server.rpc.auth import CallerTable, UnauthenticatedError, failure_of_unauthenticated
from trunkline_server.rpc.boundary import Boundary, Method, StreamMethod
from trunkline_server.rpc.drain import Drain, draining_failure
from trunkline_server.rpc.sender import Sender, previous_attempts_of

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Callers = Callable[[], CallerTable]

_NOBODY = ""


class ServiceHandler(grpc.GenericRpcHandler):
    """All RPCs of ours on one server."""

    def __init__(self, boundary: Boundary, methods: Iterable[Method], callers: Callers, drain: Drain) -> None:
        """Serve `methods` to the callers of the table that `callers` returns at the time of each call."""
        self._boundary = boundary
        self._methods = {method.path: method for method in methods}
        self._callers = callers
        self._drain = drain

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """Return how to serve this call; None if it is none of ours."""
        method = self._methods.get(handler_call_details.method)
        if method is None:
            return None
        try:
            caller = self._callers().authenticate(handler_call_details.invocation_metadata)
        except UnauthenticatedError as error:
            return self._refusal(method.path, _NOBODY, failure_of_unauthenticated(error))
        except Exception as error:  # noqa: BLE001  grpc would send its text to the caller
            return self._refusal(method.path, _NOBODY, self._boundary.report(error, method.path, ""))
        if self._drain.draining:
            return self._refusal(method.path, caller.id, draining_failure())
        # Read here, where grpc has the metadata at hand: asked for later, it would be made anew.
        sender = Sender(caller, previous_attempts_of(handler_call_details.invocation_metadata))
        return self._handler(method, sender)

    def _handler(self, method: Method, sender: Sender) -> Handler:
        behaviour = partial(Boundary.serve, self._boundary, method, sender)
        if isinstance(method, StreamMethod):
            return grpc.unary_stream_rpc_method_handler(behaviour)
        return grpc.unary_unary_rpc_method_handler(behaviour)

    def _refusal(self, path: str, caller_id: str, failure: CallFailure) -> Handler:
        return grpc.stream_stream_rpc_method_handler(
            partial(Boundary.refuse, self._boundary, path, caller_id, failure),
        )


class GuardedHandler(grpc.GenericRpcHandler):
    """RPCs of a library's servicer, for known callers only."""

    def __init__(self, boundary: Boundary, handlers: dict[str, Handler], callers: Callers) -> None:
        """Serve `handlers`, by the full path of each RPC."""
        self._boundary = boundary
        self._handlers = handlers
        self._callers = callers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """Return how to serve this call; None if it is none of these."""
        path = handler_call_details.method
        handler = self._handlers.get(path)
        if handler is None:
            return None
        try:
            self._callers().authenticate(handler_call_details.invocation_metadata)
        except UnauthenticatedError as error:
            failure = failure_of_unauthenticated(error)
        except Exception as error:  # noqa: BLE001  grpc would send its text to the caller
            failure = self._boundary.report(error, path, "")
        else:
            return handler
        return grpc.stream_stream_rpc_method_handler(partial(Boundary.refuse, self._boundary, path, _NOBODY, failure))
