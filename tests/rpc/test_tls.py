from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from grpc import aio
from tests.rpc.certificates import Authority, Pair, client_context
from tests.rpc.conftest import FakeEngine, MemoryLog, chat, failure_of, read_all
from tests.rpc.test_server_mounts import reflect

from trunkline import connect, connect_aio
from trunkline import v1 as pb
from trunkline_server.routing.types import Caller
from trunkline_server.rpc.auth import CallerTable
from trunkline_server.rpc.server import ServerOptions, public_server
from trunkline_server.rpc.tls import ServerTls, TlsFiles

TOKEN, OTHER_TOKEN = "checkout-token", "search-token"
CHECKOUT, SEARCH = "spiffe://prod/checkout", "spiffe://prod/search"
CALLERS = CallerTable(
    {hashlib.sha256(OTHER_TOKEN.encode()).hexdigest(): Caller("search")},
    by_san={CHECKOUT: Caller("checkout"), "batch.prod": Caller("batch"), "ops@prod": Caller("ops")},
)
OPEN = CallerTable({}, open_to=Caller("anonymous"))


@dataclass
class Secured:
    """An encrypted server that runs, and what belongs to it."""

    address: str
    authority: Authority
    files: TlsFiles
    tls: ServerTls
    engine: FakeEngine
    log: MemoryLog
    folder: Path

    def channel(self, client: Pair | None = None, **more: Any) -> Any:
        """Return a channel of the client distribution that trusts the authority."""
        given: dict[str, Any] = {"ca": self.authority.write(self.folder, "trusted.pem"), **more}
        if client is not None:
            given["cert"], given["key"] = client.write(self.folder, "client")
        options = {"grpc.use_local_subchannel_pool": 1, "grpc.enable_retries": 0}
        return connect_aio(self.address, options=options, **given)


@asynccontextmanager
async def secured(folder: Path, callers: CallerTable = OPEN, *, mutual: bool = False) -> AsyncIterator[Secured]:
    """Serve a fake engine on loopback with TLS; `mutual`: to those with a certificate alone."""
    authority, engine, log = Authority(), FakeEngine(), MemoryLog()
    cert, key = authority.server().write(folder, "server")
    files = TlsFiles(cert, key, authority.write(folder) if mutual else None)
    tls = ServerTls(files)
    server = public_server(engine, lambda: callers, log, ServerOptions(tls=tls))
    address = await server.start("127.0.0.1:0")
    try:
        yield Secured(address, authority, files, tls, engine, log, folder)
    finally:
        await server.stop_now()


def shown_to(address: str, context: ssl.SSLContext) -> tuple[bytes | None, str | None, str | None]:
    """Shake hands; return the server's certificate, the protocol's version and what ALPN chose."""
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=10) as plain, context.wrap_socket(plain) as wrapped:
        seen = wrapped.getpeercert(binary_form=True), wrapped.version(), wrapped.selected_alpn_protocol()
        # grpc 1.78 may crash when it is stopped while a connection is young: so the server closes it first.
        socket.socket.shutdown(wrapped, socket.SHUT_WR)
        with contextlib.suppress(OSError):
            while wrapped.recv(4096):
                pass
        return seen


async def test_calls_are_answered_over_tls(tmp_path: Path) -> None:
    """Both kinds of call are answered to a client that trusts the authority."""
    async with secured(tmp_path) as served, served.channel() as channel:
        stub: Any = pb.CompletionServiceStub(channel)
        assert (await stub.Complete(chat())).request_id == "r-1"
        frames, error = await read_all(stub.StreamComplete(chat()))
    assert error is None
    assert len(frames) == 4


async def test_the_synchronous_client_calls_over_tls(tmp_path: Path) -> None:
    """`connect` takes the same files, and a name where the certificate has another than the address."""
    async with secured(tmp_path) as served:
        ca = served.authority.write(tmp_path, "trusted.pem")

        def call() -> str:
            with connect(served.address, ca=ca, server_name="localhost") as channel:
                response: pb.CompleteResponse = pb.CompletionServiceStub(channel).Complete(chat(), timeout=10)
                return response.request_id

        assert await asyncio.to_thread(call) == "r-1"


async def test_a_client_that_trusts_another_authority_does_not_call(tmp_path: Path) -> None:
    """A server whose certificate another authority has signed is refused by the client."""
    async with secured(tmp_path) as served, served.channel(ca=Authority().write(tmp_path, "other.pem")) as channel:
        with pytest.raises(aio.AioRpcError) as caught:
            await pb.CompletionServiceStub(channel).Complete(chat())
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert served.engine.scopes == []


async def test_a_plaintext_client_does_not_call(tmp_path: Path) -> None:
    """A port with TLS has no plaintext beside it."""
    async with secured(tmp_path) as served, aio.insecure_channel(served.address) as channel:
        with pytest.raises(aio.AioRpcError) as caught:
            await pb.CompletionServiceStub(channel).Complete(chat())
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_1_2_and_1_3_are_spoken_with_http_2(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """Clients of either version shake hands, and ALPN chooses HTTP/2."""
    async with secured(tmp_path) as served:
        context = client_context(lowest=version, highest=version)
        _, spoken, chosen = await asyncio.to_thread(shown_to, served.address, context)
    assert (spoken, chosen) == (version.name.replace("_", "."), "h2")


@asynccontextmanager
async def old_server(pair: Pair, folder: Path) -> AsyncIterator[str]:
    """Serve nothing, to peers that speak TLS 1.1 alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_cert_chain(*pair.write(folder, "old"))
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_tls_1_1_is_refused(tmp_path: Path) -> None:
    """A client that offers nothing above TLS 1.1, and gets through to a server of that age, is turned away."""
    async with secured(tmp_path) as served, old_server(served.authority.server(), tmp_path) as old:
        context = client_context(lowest=ssl.TLSVersion.TLSv1_1, highest=ssl.TLSVersion.TLSv1_1)
        context.set_ciphers("ALL:@SECLEVEL=0")  # else Python's own side refuses before it has sent anything
        try:
            _, spoken, _ = await asyncio.to_thread(shown_to, old, context)
        except ssl.SSLError:
            pytest.skip("this OpenSSL does not speak TLS 1.1")
        assert spoken == "TLSv1.1"
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.to_thread(shown_to, served.address, context)


async def test_a_new_certificate_is_shown_to_new_connections_alone(tmp_path: Path) -> None:
    """After a reload new handshakes see the new certificate, and a connection from before goes on without a break."""
    async with secured(tmp_path) as served, served.channel() as before:
        stub = pb.CompletionServiceStub(before)
        await stub.Complete(chat())
        fresh = served.authority.server()
        fresh.write(tmp_path, "server")
        seen_before, _, _ = await asyncio.to_thread(shown_to, served.address, client_context())
        assert await asyncio.to_thread(served.tls.reload)
        seen_after = [(await asyncio.to_thread(shown_to, served.address, client_context()))[0] for _ in range(2)]
        assert (await stub.Complete(chat())).request_id == "r-1"
    assert seen_before != fresh.der
    assert seen_after == [fresh.der, fresh.der]


async def test_two_ports_show_the_same_new_certificate(tmp_path: Path) -> None:
    """One reload is seen on every port that has the certificate."""
    async with secured(tmp_path) as served:
        second = public_server(FakeEngine(), lambda: OPEN, MemoryLog(), ServerOptions(tls=served.tls))
        address = await second.start("127.0.0.1:0")
        fresh = served.authority.server()
        fresh.write(tmp_path, "server")
        served.tls.reload()
        seen = [(await asyncio.to_thread(shown_to, at, client_context()))[0] for at in (served.address, address)]
        await second.stop_now()
    assert seen == [fresh.der, fresh.der]


async def test_a_broken_new_certificate_leaves_the_old_one(tmp_path: Path) -> None:
    """Files that cannot be used are never shown: handshakes go on with the pair before."""
    async with secured(tmp_path) as served:
        before, _, _ = await asyncio.to_thread(shown_to, served.address, client_context())
        served.files.key.write_bytes(Authority().server().key_pem)
        with pytest.raises(Exception, match="belong together"):
            served.tls.reload()
        after, _, _ = await asyncio.to_thread(shown_to, served.address, client_context())
    assert before == after


async def test_a_certificate_says_who_calls(tmp_path: Path) -> None:
    """With a clients' authority a caller is known by the URI in its certificate, for both kinds of call."""
    async with secured(tmp_path, CALLERS, mutual=True) as served:
        async with served.channel(served.authority.client(CHECKOUT)) as channel:
            stub: Any = pb.CompletionServiceStub(channel)
            await stub.Complete(chat())
            _, error = await read_all(stub.StreamComplete(chat()))
        lines = await served.log.next_of("rpc", 2)
    assert error is None
    assert [line["caller"] for line in lines] == ["checkout", "checkout"]


@pytest.mark.parametrize(
    ("name", "caller"),
    [(x509.DNSName("batch.prod"), "batch"), (x509.RFC822Name("ops@prod"), "ops")],
)
async def test_hosts_and_addresses_are_names_too(tmp_path: Path, name: x509.GeneralName, caller: str) -> None:
    """A host name and an e-mail address in the certificate say who calls as well."""
    async with secured(tmp_path, CALLERS, mutual=True) as served:
        async with served.channel(served.authority.issue(name)) as channel:
            await pb.CompletionServiceStub(channel).Complete(chat())
        (line,) = await served.log.next_of("rpc")
    assert line["caller"] == caller


async def test_a_token_decides_before_the_certificate(tmp_path: Path) -> None:
    """Who sends a token is who it belongs to, whatever certificate the connection has; a wrong one is refused."""
    async with secured(tmp_path, CALLERS, mutual=True) as served:
        client = served.authority.client(CHECKOUT)
        async with served.channel(client, token=OTHER_TOKEN) as channel:
            await pb.CompletionServiceStub(channel).Complete(chat())
        async with served.channel(client, token=TOKEN) as channel:
            refused = await failure_of(pb.CompletionServiceStub(channel).Complete(chat()))
        lines = await served.log.next_of("rpc", 2)
    assert [line["caller"] for line in lines if line["code"] == "OK"] == ["search"]
    assert (refused.code, refused.message) == (grpc.StatusCode.UNAUTHENTICATED, "the bearer token is not known")


@pytest.mark.parametrize(
    "names",
    [
        (x509.UniformResourceIdentifier(SEARCH),),
        (x509.UniformResourceIdentifier(CHECKOUT + "/"),),
        (x509.DNSName("*.prod"),),
        (x509.DNSName("prod"),),
        (),
    ],
)
async def test_a_certificate_of_nobody_is_unauthenticated(tmp_path: Path, names: tuple[x509.GeneralName, ...]) -> None:
    """Names that nobody has, wildcards among them, and none at all are UNAUTHENTICATED, and the engine is not asked."""
    async with secured(tmp_path, CALLERS, mutual=True) as served, served.channel(served.authority.issue(*names)) as ch:
        stub: Any = pb.CompletionServiceStub(ch)
        unary = await failure_of(stub.Complete(chat()))
        streamed = await failure_of(stub.StreamComplete(chat()).read())
    assert unary.code is streamed.code is grpc.StatusCode.UNAUTHENTICATED
    assert unary.reason == "UNAUTHENTICATED"
    assert served.engine.scopes == []


async def test_a_certificate_of_two_callers_is_unauthenticated(tmp_path: Path) -> None:
    """A certificate with the names of two callers does not say which of them calls."""
    both = (x509.UniformResourceIdentifier(CHECKOUT), x509.DNSName("batch.prod"))
    async with secured(tmp_path, CALLERS, mutual=True) as served, served.channel(served.authority.issue(*both)) as ch:
        failure = await failure_of(pb.CompletionServiceStub(ch).Complete(chat()))
    assert "more than one" in failure.message


async def test_names_of_one_kind_do_not_pass_for_another(tmp_path: Path) -> None:
    """A host name in the form of a URI is no URI: a certificate for a host cannot pass for a service."""
    async with secured(tmp_path, CALLERS, mutual=True) as served:
        odd = served.authority.issue(x509.DNSName(CHECKOUT))
        async with served.channel(odd) as channel:
            failure = await failure_of(pb.CompletionServiceStub(channel).Complete(chat()))
    assert failure.code is grpc.StatusCode.UNAUTHENTICATED


async def test_without_a_certificate_there_is_no_connection(tmp_path: Path) -> None:
    """With a clients' authority a client without a certificate, or with another authority's, gets no call through."""
    async with secured(tmp_path, CALLERS, mutual=True) as served:
        for client in (None, Authority().client(CHECKOUT)):
            async with served.channel(client, token=OTHER_TOKEN) as channel:
                with pytest.raises(aio.AioRpcError) as caught:
                    await pb.CompletionServiceStub(channel).Complete(chat())
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert served.engine.scopes == []


async def test_a_new_clients_authority_holds_for_new_connections(tmp_path: Path) -> None:
    """After a reload clients of the new authority get in, and those of the old one do not any more."""
    async with secured(tmp_path, CALLERS, mutual=True) as served:
        fresh = Authority()
        assert served.files.client_ca is not None
        served.files.client_ca.write_bytes(fresh.pair.cert_pem)
        assert served.tls.reload()
        async with served.channel(fresh.client(CHECKOUT)) as channel:
            await pb.CompletionServiceStub(channel).Complete(chat())
        async with served.channel(served.authority.client(CHECKOUT)) as channel:
            with pytest.raises(aio.AioRpcError) as caught:
                await pb.CompletionServiceStub(channel).Complete(chat())
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_reflection_knows_certificates_too(tmp_path: Path) -> None:
    """What a library serves is for the same callers: known certificates are answered, others are not."""
    async with secured(tmp_path, CALLERS, mutual=True) as served:
        async with served.channel(served.authority.client(CHECKOUT)) as channel:
            assert [answer async for answer in reflect(channel, "v1", b"")]
        async with served.channel(served.authority.client(SEARCH)) as channel:
            failure = await failure_of(reflect(channel, "v1", b"").read())
    assert failure.code is grpc.StatusCode.UNAUTHENTICATED


def test_callers_by_certificate_alone_are_not_open() -> None:
    """A table that knows callers by certificates only is closed to everybody else, and cannot be open besides."""
    table = CallerTable({}, by_san={CHECKOUT: Caller("checkout")})
    assert table.knows_certificates
    assert not table.is_open
    with pytest.raises(ValueError, match="not open"):
        CallerTable({}, by_san={CHECKOUT: Caller("checkout")}, open_to=Caller("anonymous"))
    with pytest.raises(ValueError, match="empty"):
        CallerTable({}, by_san={"": Caller("checkout")})
