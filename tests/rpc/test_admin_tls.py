"""The admin port with mutual TLS: who is known by a certificate, and what they may."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.rpc.admin_room import FakeRoom
from tests.rpc.certificates import Authority
from tests.rpc.conftest import MemoryLog
from tests.rpc.test_roles import ADMINS as BY_TOKEN
from tests.rpc.test_roles import FOR_VIEWERS, OPERATOR, REQUESTS, begin, refused

from trunkline import connect_aio
from trunkline import v1 as pb
from trunkline_server.control.types import Role
from trunkline_server.rpc.auth import Administrator, AdminTable
from trunkline_server.rpc.server import ServerOptions, admin_server
from trunkline_server.rpc.tls import ServerTls, TlsFiles

ONCALL, BOARD, NOBODY = "spiffe://ops/oncall", "spiffe://ops/board", "spiffe://ops/nobody"
BY_CERTIFICATE = AdminTable(
    {}, by_san={ONCALL: Administrator("oncall", Role.OPERATOR), BOARD: Administrator("board", Role.VIEWER)}
)


@asynccontextmanager
async def admin_as(
    uri: str, folder: Path, room: FakeRoom, admins: AdminTable, token: str | None = None
) -> AsyncIterator[Any]:
    """Serve the admin service with mutual TLS; yields the stub of somebody with a certificate."""
    authority = Authority()
    cert, key = authority.server().write(folder, "server")
    ca = authority.write(folder)
    server = admin_server(room, lambda: admins, MemoryLog(), ServerOptions(tls=ServerTls(TlsFiles(cert, key, ca))))
    address = await server.start("127.0.0.1:0")
    client_cert, client_key = authority.client(uri).write(folder, "client")
    try:
        async with connect_aio(address, ca=ca, cert=client_cert, key=client_key, token=token) as channel:
            yield pb.AdminServiceStub(channel)
    finally:
        await server.stop_now()


@pytest.mark.parametrize("method", sorted(REQUESTS))
async def test_a_certificate_gives_its_admins_role(tmp_path: Path, method: str) -> None:
    """An operator's certificate may call everything, a viewer's only what looks, and one of nobody's nothing."""
    room = FakeRoom()
    async with admin_as(ONCALL, tmp_path, room, BY_CERTIFICATE) as stub:
        assert await begin(stub, method, None) is not None
    room.asked.clear()
    async with admin_as(BOARD, tmp_path, room, BY_CERTIFICATE) as stub:
        if method in FOR_VIEWERS:
            assert await begin(stub, method, None) is not None
        else:
            assert (await refused(stub, method, None)).code is grpc.StatusCode.PERMISSION_DENIED
            assert room.asked == []
    room.asked.clear()
    async with admin_as(NOBODY, tmp_path, room, BY_CERTIFICATE) as stub:
        assert (await refused(stub, method, None)).code is grpc.StatusCode.UNAUTHENTICATED
    assert room.asked == []


async def test_an_order_names_the_admin_of_the_certificate(tmp_path: Path) -> None:
    """The actor of an order is the certificate's admin, with the address of the connection."""
    room = FakeRoom()
    async with admin_as(ONCALL, tmp_path, room, BY_CERTIFICATE) as stub:
        await begin(stub, "Drain", None)
    actor = room.asked[0][-1]
    assert actor.id == "oncall"
    assert actor.peer.startswith("127.0.0.1:")


async def test_an_admins_token_is_enough_behind_any_certificate(tmp_path: Path) -> None:
    """Where admins are known by tokens, a certificate that says nothing of them only opens the connection."""
    room = FakeRoom()
    async with admin_as(NOBODY, tmp_path, room, BY_TOKEN, token=OPERATOR) as stub:
        await stub.Drain(pb.DrainRequest())
    assert room.asked[0][-1].id == "oncall"
