from __future__ import annotations

from typing import Any

import pytest
from grpc import aio
from grpc_channelz.v1 import channelz_pb2
from grpc_reflection.v1alpha import reflection_pb2
from tests.rpc.conftest import FakeEngine, MemoryLog, chat, serving

from trunkline_server.rpc.auth import OPEN_ADMINS, OPEN_TABLE
from trunkline_server.rpc.listen import ListenError, join_address, split_address
from trunkline_server.rpc.server import ServerOptions, admin_server, channel_options, public_server


def reflect(channel: Any, version: str, *raw: bytes) -> Any:
    method = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    return method(iter(raw))


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_tells_services_and_their_files(version: str) -> None:
    """Both versions list the services, and give the file of a symbol with what it needs."""
    listing = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
    symbol = reflection_pb2.ServerReflectionRequest(file_containing_symbol="trunkline.v1.CompletionService")
    async with serving() as served:
        answers = [answer async for answer in reflect(served.channel, version, listing, symbol.SerializeToString())]
    services = {service.name for service in answers[0].list_services_response.service}
    assert services == {
        "trunkline.v1.CompletionService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    assert len(answers[1].file_descriptor_response.file_descriptor_proto) > 5


@pytest.mark.parametrize(
    ("symbol", "told"),
    [
        ("trunkline.v1.CompletionService.Complete", "trunkline/v1/completion_service.proto"),
        ("grpc.reflection.v1.ServerReflection", "ServerReflectionRequest"),
        ("grpc.health.v1.Health", "ServingStatus"),
        ("google.rpc.ErrorInfo", "google/rpc/error_details.proto"),
    ],
)
async def test_reflection_knows_what_clients_ask_for(symbol: str, told: str) -> None:
    """Methods by their names, the new version of reflection itself, health, and the details of errors are found."""
    asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol).SerializeToString()
    async with serving() as served:
        (answer,) = [answer async for answer in reflect(served.channel, "v1", asked)]
    assert told.encode() in b"".join(answer.file_descriptor_response.file_descriptor_proto)


async def test_reflection_answers_nonsense_as_invalid() -> None:
    """Bytes that are no request are answered as INVALID_ARGUMENT in the stream, and nothing is thrown."""
    async with serving() as served:
        (answer,) = [answer async for answer in reflect(served.channel, "v1", b"\xff\xff")]
    assert answer.error_response.error_code == 3


async def test_the_admin_port_has_health_reflection_and_channelz() -> None:
    """The admin server counts its own calls in channelz, and has no completion service."""
    server = admin_server(None, lambda: OPEN_ADMINS, MemoryLog(), ServerOptions())
    address = await server.start("127.0.0.1:0")
    try:
        channel: Any
        async with aio.insecure_channel(address) as channel:
            get = channel.unary_unary(
                "/grpc.channelz.v1.Channelz/GetServers",
                channelz_pb2.GetServersRequest.SerializeToString,
                channelz_pb2.GetServersResponse.FromString,
            )
            servers = await get(channelz_pb2.GetServersRequest())
            assert servers.server
            assert await channel.unary_unary("/grpc.health.v1.Health/Check")(b"")
            listing = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
            (answer,) = [answer async for answer in reflect(channel, "v1", listing)]
            names = {service.name for service in answer.list_services_response.service}
            assert "grpc.channelz.v1.Channelz" in names
            assert "trunkline.v1.CompletionService" not in names
    finally:
        await server.stop_now()


async def test_a_port_in_use_is_told_by_its_address() -> None:
    """A second server on a port is refused with the address and the system's reason, and the first goes on."""
    async with serving() as served:
        second = public_server(FakeEngine(), lambda: OPEN_TABLE, MemoryLog(), ServerOptions())
        with pytest.raises(ListenError, match=rf"cannot listen on {served.address}: .*in use"):
            await second.start(served.address)
        await second.stop_now()
        assert (await served.stub.Complete(chat())).request_id == "r-1"


@pytest.mark.parametrize("listen", ["", "x", ":1", "host:", "host:port", "host:65536", "host:-1", "[::1]"])
def test_what_is_no_address_is_refused(listen: str) -> None:
    """An address must be HOST:PORT; the message says so and repeats it."""
    with pytest.raises(ListenError, match="HOST:PORT"):
        split_address(listen)


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:50051", "[::1]:443", "0.0.0.0:65535"])
def test_an_address_survives_being_taken_apart(listen: str) -> None:
    """Splitting and joining give the same address back, IPv6 with its brackets."""
    assert join_address(*split_address(listen)) == listen


def test_every_setting_of_the_server_is_explicit() -> None:
    """The settings that bite by their defaults are set, SO_REUSEPORT off unless it is asked for."""
    settings = dict(channel_options(ServerOptions()))
    assert settings["grpc.so_reuseport"] == 0
    assert dict(channel_options(ServerOptions(reuse_port=True)))["grpc.so_reuseport"] == 1
    assert settings["grpc.max_receive_message_length"] == 32 * 1024 * 1024
    assert settings["grpc.max_concurrent_streams"] == 1000
    assert settings["grpc.http2.min_ping_interval_without_data_ms"] == 10_000
