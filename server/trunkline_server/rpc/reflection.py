"""Server reflection, under its old and its new name, so that `grpcurl` needs no files.

Both versions have the same messages field by field; only the names of service and messages differ. So the servicer of
the old one serves the new one's name as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import _async, reflection_pb2

SERVICES = ("grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1.ServerReflection")


def reflection_handlers(services: Iterable[str]) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    """Return the handlers of both versions by path, for a server that has `services` besides."""
    servicer = _async.ReflectionServicer((*services, *SERVICES))
    handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=_request,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return {f"/{service}/ServerReflectionInfo": handler for service in SERVICES}


def _request(raw: bytes) -> reflection_pb2.ServerReflectionRequest:
    """Return the request. Bytes that are none become an empty one, which the servicer answers as invalid."""
    try:
        return reflection_pb2.ServerReflectionRequest.FromString(raw)
    except DecodeError:
        return reflection_pb2.ServerReflectionRequest()
