"""Channelz: grpc's own figures of connections and calls, for operators."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from grpc import aio
from grpc_channelz.v1 import channelz_pb2
from grpc_channelz.v1.channelz import aio as channelz_aio

SERVICE = "grpc.channelz.v1.Channelz"

_REQUESTS: dict[str, type[Message]] = {
    "GetTopChannels": channelz_pb2.GetTopChannelsRequest,
    "GetServers": channelz_pb2.GetServersRequest,
    "GetServer": channelz_pb2.GetServerRequest,
    "GetServerSockets": channelz_pb2.GetServerSocketsRequest,
    "GetChannel": channelz_pb2.GetChannelRequest,
    "GetSubchannel": channelz_pb2.GetSubchannelRequest,
    "GetSocket": channelz_pb2.GetSocketRequest,
}


def channelz_handlers() -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    """Return the handlers of the service by path."""
    servicer = channelz_aio.ChannelzServicer()
    return {
        f"/{SERVICE}/{name}": grpc.unary_unary_rpc_method_handler(partial(_answer, request, getattr(servicer, name)))
        for name, request in _REQUESTS.items()
    }


async def _answer(
    request: type[Message],
    ask: Callable[[Message, aio.ServicerContext[bytes, bytes]], Awaitable[Message | None]],
    raw: bytes,
    context: aio.ServicerContext[bytes, bytes],
) -> bytes:
    """Answer one call; bytes that are no request end it, since an exception while grpc decodes ends on the wire."""
    try:
        asked = request.FromString(raw)
    except DecodeError:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"not a valid {request.__name__} message")
    answer = await ask(asked, context)
    if answer is None:
        # The library has set a status with its exception's text, which abort replaces.
        await context.abort(grpc.StatusCode.NOT_FOUND, "channelz has nothing under this id")
    return answer.SerializeToString()
