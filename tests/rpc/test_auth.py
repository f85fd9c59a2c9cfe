from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from hypothesis import given
from hypothesis import strategies as st
from tests.rpc.conftest import chat, failure_of, read_all, serving, told

from trunkline_server.routing.types import Caller
from trunkline_server.rpc.auth import ANONYMOUS, OPEN_TABLE, CallerTable, UnauthenticatedError

CHECKOUT = Caller("checkout", frozenset({"default"}))
TOKEN = "tk-checkout"  # noqa: S105  a test's own
TABLE = CallerTable({hashlib.sha256(TOKEN.encode()).hexdigest(): CHECKOUT})
KNOWN = (("authorization", f"Bearer {TOKEN}"),)

_SERVER = Path(__file__).with_name("guarded_server.py")


def test_a_known_token_names_its_caller() -> None:
    """The token's caller is found, whatever the case of the scheme, among other metadata."""
    assert TABLE.authenticate((("user-agent", "x"), *KNOWN)) is CHECKOUT
    assert TABLE.authenticate((("authorization", f"bearer   {TOKEN} "),)) is CHECKOUT


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", ""),),
        (("authorization", "Bearer"),),
        (("authorization", "Bearer "),),
        (("authorization", f"Basic {TOKEN}"),),
        (("authorization", TOKEN),),
        (("authorization", f"Bearer {TOKEN}x"),),
        (("authorization", f"Bearer {TOKEN.upper()}"),),
        (("authorization", b"Bearer x"),),
        (*KNOWN, *KNOWN),
    ],
)
def test_everything_else_is_refused(metadata: tuple[tuple[str, str | bytes], ...]) -> None:
    """No token, a wrong one, another scheme or two of them: refused, and the message never repeats a token."""
    with pytest.raises(UnauthenticatedError) as caught:
        TABLE.authenticate(metadata)
    assert TOKEN not in str(caught.value)


@given(st.text())
def test_no_text_passes_by_accident(value: str) -> None:
    """Whatever stands in the metadata, there is a caller or a refusal, never another exception."""
    try:
        caller = TABLE.authenticate((("authorization", value),))
    except UnauthenticatedError:
        return
    assert caller is CHECKOUT
    assert value.split()[1:] == [TOKEN]


def test_without_callers_everybody_is_anonymous() -> None:
    """The open table takes any call, with or without a token."""
    assert OPEN_TABLE.is_open
    assert OPEN_TABLE.authenticate(()) is ANONYMOUS
    assert OPEN_TABLE.authenticate(KNOWN) is ANONYMOUS
    assert not TABLE.is_open


def test_an_empty_table_is_not_open() -> None:
    """A table without callers lets nobody in unless it says that it is open."""
    with pytest.raises(UnauthenticatedError):
        CallerTable({}).authenticate(KNOWN)


def test_a_digest_must_be_one() -> None:
    """What is no SHA-256 digest is refused when the table is made, and an open table has no callers."""
    with pytest.raises(ValueError, match="checkout"):
        CallerTable({"abc": CHECKOUT})
    with pytest.raises(ValueError, match="not open"):
        CallerTable({"0" * 64: CHECKOUT}, open_to=ANONYMOUS)


async def test_a_call_without_a_token_is_unauthenticated() -> None:
    """Unary and stream alike end as UNAUTHENTICATED with details, and the engine hears nothing of them."""
    async with serving(callers=TABLE) as served:
        unary = await failure_of(served.stub.Complete(chat()))
        frames, error = await read_all(served.stub.StreamComplete(chat()))
        lines = await served.log.next_of("rpc", 2)
        assert error is not None
        assert told(error) == unary
        assert not frames
        assert (unary.code, unary.reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
        assert unary.pushback == "-1"
        assert not served.engine.scopes
        assert {line["outcome"] for line in lines} == {"REFUSED"}
        response = await served.stub.Complete(chat(), metadata=KNOWN)
        assert response.request_id == "r-1"
        assert served.engine.scopes[0].caller is CHECKOUT
    assert TOKEN not in served.log.everything()


async def test_reflection_wants_the_token_too_and_health_does_not() -> None:
    """Where calls need a token the schema does as well; a load balancer's check never does."""
    async with serving(callers=TABLE) as served:
        reflect = served.channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
        with pytest.raises(aio.AioRpcError) as caught:
            async for _ in reflect(iter([b""])):
                pass
        assert told(caught.value).reason == "UNAUTHENTICATED"
        check = served.channel.unary_unary("/grpc.health.v1.Health/Check")
        assert await check(b"")


def _peak_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/trunkline.v1.CompletionService/Complete", grpc.StatusCode.UNAUTHENTICATED),
        ("/trunkline.v1.CompletionService/StreamComplete", grpc.StatusCode.UNAUTHENTICATED),
        ("/trunkline.v1.CompletionService/Nonsense", grpc.StatusCode.UNIMPLEMENTED),
    ],
)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
async def test_refused_calls_are_not_read(path: str, code: grpc.StatusCode) -> None:
    """20 tokenless calls of 31 MiB at once raise the server's peak memory by less than 16 MiB."""
    server = await asyncio.create_subprocess_exec(
        sys.executable, _SERVER, stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    assert server.stdout is not None
    try:
        address = (await server.stdout.readline()).decode().strip()
        settings = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        channel: Any
        async with aio.insecure_channel(address, options=settings) as channel:
            with pytest.raises(aio.AioRpcError):
                await channel.unary_unary(path)(b"")
            before_kib = _peak_kib(server.pid)
            payload = b"\0" * (31 * 1024 * 1024)
            call = channel.unary_unary(path)
            results = await asyncio.gather(*(call(payload) for _ in range(20)), return_exceptions=True)
            grown_kib = _peak_kib(server.pid) - before_kib
    finally:
        async with asyncio.timeout(10):
            await server.communicate(b"")
    assert [result.code() for result in results if isinstance(result, aio.AioRpcError)] == [code] * 20
    assert grown_kib < 16 * 1024
