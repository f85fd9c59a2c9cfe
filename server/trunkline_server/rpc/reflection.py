"""Server reflection, under its old and its new name, so that `grpcurl` and `ghz` need no files.

Both versions have the same messages field by field; only the names of service and messages differ. So the servicer of
the old one serves the new one's name as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import Default, DescriptorPool
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha import _async, reflection_pb2

_OLD, _NEW = "grpc.reflection.v1alpha", "grpc.reflection.v1"
SERVICES = (f"{_OLD}.ServerReflection", f"{_NEW}.ServerReflection")


def reflection_handlers(services: Iterable[str]) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    """Return the handlers of both versions by path, for a server that has `services` besides."""
    servicer = _Servicer(tuple(services))
    handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=_request,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return {f"/{service}/ServerReflectionInfo": handler for service in SERVICES}


class _Servicer(_async.ReflectionServicer):
    """The library's servicer, which also knows methods by their names: `ghz` asks for nothing else."""

    def __init__(self, services: tuple[str, ...]) -> None:
        self._files = _pool_of(services)
        super().__init__((*services, *SERVICES), pool=self._files)

    def _file_containing_symbol(self, request: Any, fully_qualified_name: str) -> Any:
        """Answer with the file of a symbol; protobuf's own pool finds a method's by its service only."""
        owner, _, name = fully_qualified_name.rpartition(".")
        try:
            is_method = name in self._files.FindServiceByName(owner).methods_by_name
        except KeyError:
            is_method = False
        symbol = owner if is_method else fully_qualified_name
        return super()._file_containing_symbol(request, symbol)  # type: ignore[misc]  # the stubs leave it out


def _pool_of(services: Iterable[str]) -> DescriptorPool:
    """Return a pool with the files of `services`, of reflection itself, and of the details that errors carry."""
    pool, added = DescriptorPool(), set[str]()
    for service in services:
        _add(Default().FindFileContainingSymbol(service), pool, added)
    _add(reflection_pb2.DESCRIPTOR, pool, added)
    _add(error_details_pb2.DESCRIPTOR, pool, added)
    pool.AddSerializedFile(_new_reflection_file().SerializeToString())
    return pool


def _add(file: Any, pool: DescriptorPool, added: set[str]) -> None:
    """Add a file after those that it imports, each once."""
    if file.name in added:
        return
    added.add(file.name)
    for imported in file.dependencies:
        _add(imported, pool, added)
    pool.AddSerializedFile(file.serialized_pb)


def _new_reflection_file() -> FileDescriptorProto:
    """Return the new version's file: the old one's, renamed."""
    file = FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    file.name = file.name.replace("v1alpha", "v1")
    file.package = _NEW
    for field in (field for message in file.message_type for field in message.field if field.type_name):
        field.type_name = field.type_name.replace(_OLD, _NEW)
    for method in (method for service in file.service for method in service.method):
        method.input_type = method.input_type.replace(_OLD, _NEW)
        method.output_type = method.output_type.replace(_OLD, _NEW)
    return file


def _request(raw: bytes) -> reflection_pb2.ServerReflectionRequest:
    """Return the request. Bytes that are none become an empty one, which the servicer answers as invalid."""
    try:
        return reflection_pb2.ServerReflectionRequest.FromString(raw)
    except DecodeError:
        return reflection_pb2.ServerReflectionRequest()
