"""Channelz: grpc's own figures of connections and calls, for operators."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.message import Message
from grpc_channelz.v1 import channelz_pb2
from grpc_channelz.v1.channelz import aio as channelz_aio

SERVICE = "grpc.channelz.v1.Channelz"


def channelz_handlers() -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    """Return the handlers of the service by path."""
    servicer = channelz_aio.ChannelzServicer()
    requests: dict[str, type[Message]] = {
        "GetTopChannels": channelz_pb2.GetTopChannelsRequest,
        "GetServers": channelz_pb2.GetServersRequest,
        "GetServer": channelz_pb2.GetServerRequest,
        "GetServerSockets": channelz_pb2.GetServerSocketsRequest,
        "GetChannel": channelz_pb2.GetChannelRequest,
        "GetSubchannel": channelz_pb2.GetSubchannelRequest,
        "GetSocket": channelz_pb2.GetSocketRequest,
    }
    return {
        f"/{SERVICE}/{name}": grpc.unary_unary_rpc_method_handler(
            getattr(servicer, name),
            request_deserializer=request.FromString,
            response_serializer=Message.SerializeToString,
        )
        for name, request in requests.items()
    }
