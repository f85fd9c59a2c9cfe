from __future__ import annotations

import hashlib
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from grpc import aio
from grpc_channelz.v1 import channelz_pb2
from tests.rpc.admin_room import FakeRoom, serving_admin
from tests.rpc.conftest import Told, failure_of, told

from trunkline import v1 as pb
from trunkline_server.control.types import Role
from trunkline_server.rpc.admin import SERVICE, AdminService
from trunkline_server.rpc.auth import OPEN_ADMINS, Administrator, AdminTable

REQUESTS: dict[str, Message] = {
    "GetRoutes": pb.GetRoutesRequest(),
    "PlanRoutes": pb.PlanRoutesRequest(),
    "ReloadRoutes": pb.ReloadRoutesRequest(),
    "RollbackRoutes": pb.RollbackRoutesRequest(),
    "ListRouteVersions": pb.ListRouteVersionsRequest(),
    "WatchRoutes": pb.WatchRoutesRequest(),
    "GetStatus": pb.GetStatusRequest(),
    "WatchStatus": pb.WatchStatusRequest(),
    "OverrideTarget": pb.OverrideTargetRequest(target="a/b", mode=pb.OVERRIDE_MODE_CLEAR),
    "OverrideKey": pb.OverrideKeyRequest(provider="a", key_id="b", mode=pb.OVERRIDE_MODE_CLEAR),
    "Drain": pb.DrainRequest(),
}
FOR_VIEWERS = {"GetRoutes", "ListRouteVersions", "WatchRoutes", "GetStatus", "WatchStatus"}
FOR_OPERATORS = set(REQUESTS) - FOR_VIEWERS

OPERATOR, VIEWER = "operator-token", "viewer-token"
ADMINS = AdminTable(
    {
        hashlib.sha256(OPERATOR.encode()).hexdigest(): Administrator("oncall", Role.OPERATOR),
        hashlib.sha256(VIEWER.encode()).hexdigest(): Administrator("board", Role.VIEWER),
    }
)


async def begin(stub: Any, method: str, token: str | None) -> Any:
    """Call an RPC as somebody, and return its answer or its first message."""
    metadata = [] if token is None else [("authorization", f"Bearer {token}")]
    call = getattr(stub, method)(REQUESTS[method], metadata=metadata)
    if not method.startswith("Watch"):
        return await call
    first = await call.read()
    call.cancel()
    return first


async def refused(stub: Any, method: str, token: str | None) -> Told:
    with pytest.raises(aio.AioRpcError) as caught:
        await begin(stub, method, token)
    return told(caught.value)


def test_every_rpc_is_for_viewers_or_operators() -> None:
    """The service's methods are all of the contract's, and exactly those that look take a viewer."""
    roles = {method.path.removeprefix(f"/{SERVICE}/"): method.role for method in AdminService(FakeRoom()).methods()}
    assert {name for name, role in roles.items() if role is Role.VIEWER} == FOR_VIEWERS
    assert {name for name, role in roles.items() if role is Role.OPERATOR} == FOR_OPERATORS


@pytest.mark.parametrize("method", sorted(REQUESTS))
async def test_an_operator_may_call_everything(method: str) -> None:
    """Every RPC answers an operator, who is named in the log."""
    async with serving_admin(admins=ADMINS) as served:
        assert await begin(served.stub, method, OPERATOR) is not None
        (line,) = await served.log.next_of("rpc")
    assert line["caller"] == "oncall"


@pytest.mark.parametrize("method", sorted(FOR_VIEWERS))
async def test_a_viewer_may_look(method: str) -> None:
    """Whatever changes nothing answers a viewer."""
    async with serving_admin(admins=ADMINS) as served:
        assert await begin(served.stub, method, VIEWER) is not None


@pytest.mark.parametrize("method", sorted(FOR_OPERATORS))
async def test_a_viewer_may_not_operate(method: str) -> None:
    """Whatever changes something, and a plan, is PERMISSION_DENIED to a viewer, and the room is not asked."""
    async with serving_admin(admins=ADMINS) as served:
        failure = await refused(served.stub, method, VIEWER)
        (line,) = await served.log.next_of("rpc")
    assert (failure.code, failure.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
    assert "operator" in failure.message
    assert served.room.asked == []
    assert (line["caller"], line["code"]) == ("board", "PERMISSION_DENIED")


@pytest.mark.parametrize("token", [None, "wrong-token"])
@pytest.mark.parametrize("method", sorted(REQUESTS))
async def test_a_stranger_may_do_nothing(method: str, token: str | None) -> None:
    """Without a token or with a wrong one every RPC is UNAUTHENTICATED, and the token is nowhere told."""
    async with serving_admin(admins=ADMINS) as served:
        failure = await refused(served.stub, method, token)
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
    assert served.room.asked == []
    assert "wrong-token" not in failure.message + served.log.everything()


async def test_a_refused_message_is_not_read() -> None:
    """A viewer's reload is refused while its document, which never ends, is still being sent."""
    async with serving_admin(admins=ADMINS) as served:

        async def endless() -> Any:
            yield b""
            await served.log.told.wait()

        call = served.channel.stream_unary(f"/{SERVICE}/ReloadRoutes")
        failure = await failure_of(call(endless(), metadata=[("authorization", f"Bearer {VIEWER}")]))
    assert failure.reason == "PERMISSION_DENIED"


async def test_without_admins_everybody_is_an_operator() -> None:
    """While no admins are configured there is one operator, anonymous."""
    async with serving_admin(admins=OPEN_ADMINS) as served:
        await begin(served.stub, "Drain", None)
    assert served.room.asked[0][3].id == "anonymous"


@pytest.mark.parametrize("token", [OPERATOR, VIEWER])
async def test_channelz_is_for_every_admin(token: str) -> None:
    """Channelz answers admins of both roles, and nobody else."""
    async with serving_admin(admins=ADMINS) as served:
        get = served.channel.unary_unary(
            "/grpc.channelz.v1.Channelz/GetServers",
            channelz_pb2.GetServersRequest.SerializeToString,
            channelz_pb2.GetServersResponse.FromString,
        )
        answer = await get(channelz_pb2.GetServersRequest(), metadata=[("authorization", f"Bearer {token}")])
        stranger = await failure_of(get(channelz_pb2.GetServersRequest()))
        assert await served.channel.unary_unary("/grpc.health.v1.Health/Check")(b"")
    assert answer.server
    assert stranger.reason == "UNAUTHENTICATED"
