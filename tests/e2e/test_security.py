"""Canaries: keys, tokens and prompts are searched for wherever they have no business to be; redirects go nowhere."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.message import Message as ProtoMessage
from google.rpc import error_details_pb2, status_pb2
from tests.e2e.conftest import ask
from tests.e2e.serving import Served, rest_of, serve

from trunkline import failure_of
from trunkline.v1 import RouteFailure, RoutingOptions
from trunkline_server.cli.main import main

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateways

KEYS = {
    "ONE_A_API_KEY": "sk-proj-CANARYkeyA0123456789",  # looks like one
    "ONE_B_API_KEY": "plain words canary b",  # no pattern knows it
}
TOKEN = "canary-caller-token-4711"  # noqa: S105  a test's own
AS_CHECKOUT = (("authorization", f"Bearer {TOKEN}"),)
PROMPT = "canary prompt xyzzy plugh"
ACCOUNT = "org-canary9account"

DIGEST = hashlib.sha256(TOKEN.encode()).hexdigest()

PROVIDER = """
  {name}:
    protocol: openai
    base_url: {{base}}
    transport: {transport}
    keys:
      - {{{{id: a, secret: env:ONE_A_API_KEY}}}}
      - {{{{id: b, secret: env:ONE_B_API_KEY}}}}
"""


def routes(transport: str, providers: Iterable[str] = ("one", "two")) -> str:
    """Return routes to one model of each provider: the alias `default` on them in order, and one caller."""
    names = [f"{provider}/model" for provider in providers]
    entries = "".join(PROVIDER.format(name=provider, transport=transport) for provider in providers)
    tiers = ", ".join(f"[{{{{target: {name}}}}}]" for name in names)
    return (
        f"version: 1\nproviders:{entries}aliases:\n  default: {{{{tiers: [{tiers}]}}}}\n"
        f"callers:\n  - {{{{id: checkout, token_sha256: {DIGEST}, aliases: [default], models: {names}}}}}\n"
    )


ECHO = f"while serving {{key}} of {ACCOUNT}"
"""What a provider says in the faults below, with the key that it was sent."""


def error(status: int, message: str = ECHO, **more: Any) -> dict[str, Any]:
    return {"status": status, "error": {"message": message, **more}}


FAULTS: dict[str, dict[str, Any]] = {
    "a rejected key is echoed": error(401, f"Incorrect API key provided: {ECHO}", code="invalid_api_key"),
    "a rejected key is the code": error(401, code="{key}"),
    "an account without rights": error(403),
    "an account without money": error(402, code="insufficient_quota"),
    "a limited account": {"retry_after_s": 60, **error(429, f"Rate limit reached in {ACCOUNT}: {ECHO}")},
    "an error of the server echoes headers": error(500, f"headers: authorization: Bearer {ECHO}"),
    "an error of the server echoes keys": error(500),
    "a refusal names keys": error(400, param="{key}", code="{key}"),
    "a missing model": error(404),
    "an overload": error(529),
    "a proxy's page": {"status": 502, "content_type": "text/html", "body": f"<p>{ECHO}</p>"},
    "a body that is no JSON": {"status": 200, "body": f'{{"choices": [{{"message": "{ECHO}'},
    "a body of another shape": {"status": 200, "body": json.dumps({"choices": ECHO, "error": {"message": ECHO}})},
    "an id that is a key": {"status": 500, "headers": {"x-request-id": "{key}"}},
    "a key where the text is cut": error(500, "x" * 485 + "{key}"),
    "an event with an error": {"error_after_chunks": 0, "error": {"message": ECHO, "code": "{key}"}},
    "an event with an error, later": {"error_after_chunks": 2, "error": {"message": ECHO}},
    "a redirect": {"status": 307, "headers": {"location": "http://127.0.0.1:9/{key}"}, "body": ECHO},
    "a reset": {"reset_after_chunks": 0},
    "garbage in a stream": {"malformed_after_chunks": 1},
}


def told_of(fault: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the fault as the provider plays it to whoever sent `key`."""
    played: dict[str, Any] = json.loads(json.dumps(fault).replace("{key}", key))
    return {"chunks": 4, "chunk_text": "t ", **played}


Serve = Callable[..., AbstractAsyncContextManager[Served]]


@pytest.fixture
def served(tmp_path: Path) -> Serve:
    """Return what runs the server with everything that it can log."""
    return partial(serve, tmp_path, environ=KEYS)


async def everything_said(
    running: Served, model: str = "default"
) -> tuple[list[ProtoMessage], list[grpc.aio.AioRpcError]]:
    """Call in both ways, twice each so that both keys are used; return all messages and errors that come back."""
    said: list[ProtoMessage] = []
    errors: list[grpc.aio.AioRpcError] = []
    request = ask(PROMPT, model=model, routing=RoutingOptions(max_attempts=1))
    for _ in KEYS:
        try:
            said.append(await running.stub.Complete(request, metadata=AS_CHECKOUT, timeout=20))
        except grpc.aio.AioRpcError as raised:
            errors.append(raised)
    for _ in KEYS:
        frames, broken = await rest_of(running.stub.StreamComplete(request, metadata=AS_CHECKOUT, timeout=20))
        said += frames
        errors += [] if broken is None else [broken]
    return said, errors


def wire_text(raised: grpc.aio.AioRpcError) -> str:
    """Return all that an error sends, as text in which a canary can be found."""
    trailers = [
        value.decode("latin-1") if isinstance(value, bytes) else value for _, value in raised.trailing_metadata()
    ]
    return "\n".join([raised.details() or "", *trailers])


def without_route_failure(raised: grpc.aio.AioRpcError) -> str:
    """Return what an error sends besides its RouteFailure, where a provider's own words may stand."""
    raw = next((value for key, value in raised.trailing_metadata() if key == "grpc-status-details-bin"), b"")
    assert isinstance(raw, bytes)
    kept = [
        str(detail) for detail in status_pb2.Status.FromString(raw).details if not detail.Is(RouteFailure.DESCRIPTOR)
    ]
    return "\n".join([raised.details() or "", *kept])


def leaks_in(where: str, texts: Iterable[str], *canaries: str) -> list[str]:
    """Return which canaries stand where they must not."""
    whole = "\n".join(texts)
    cut = KEYS["ONE_B_API_KEY"][:12]
    return [f"{canary!r}: {where}" for canary in (*KEYS.values(), cut, TOKEN, ACCOUNT, *canaries) if canary in whole]


@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
async def test_secrets_stay_inside_whatever_a_provider_says(served: Serve, transport: str) -> None:
    """Keys, tokens and accounts: not in any message, status, trailer or line of the log at any level."""
    # Each fault has a provider of its own, so that no key is quarantined for another's sake.
    names = [f"p{number}" for number in range(len(FAULTS))]
    leaks: list[str] = []
    async with served(routes(transport, names), "--log-level", "debug") as running:
        for name, (told, fault) in zip(names, FAULTS.items(), strict=True):
            running.simulator.configure({"keys": {key: told_of(fault, key) for key in KEYS.values()}})
            running.simulator.stats.reset()
            said, errors = await everything_said(running, f"{name}/model")
            assert running.simulator.stats.by_key.keys() == set(KEYS.values()), told
            assert len(errors) == 4, told
            for raised in errors:
                assert raised.code() not in {grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL}, told
            leaks += leaks_in(told, [*map(str, said), *map(wire_text, errors)])
        running.signal()
        assert await running.ended() == 0
    assert len([line for line in running.log if '"event":"rpc"' in line]) == 4 * len(FAULTS)
    leaks += leaks_in("the log", running.log, PROMPT) + leaks_in("standard output", running.out, PROMPT)
    assert leaks == []


async def test_a_prompt_goes_nowhere_but_to_its_provider(served: Serve) -> None:
    """A prompt that its provider echoes comes back to its own caller in RouteFailure only, and into no log."""
    async with served(routes("aiohttp"), "--log-level", "debug") as running:
        for status in (400, 404, 500, 503):
            running.simulator.configure({"default": error(status, f"cannot serve {PROMPT}", code="odd")})
            said, errors = await everything_said(running)
            assert said == []
            assert len(errors) == 4
            for raised in errors:
                assert PROMPT not in without_route_failure(raised)
        running.simulator.configure(
            {"default": {"chunks": 4, "chunk_text": "t ", "error_after_chunks": 2, "error": {"message": PROMPT}}}
        )
        said, errors = await everything_said(running)
        assert PROMPT not in "".join(map(str, said))
        # A body that is wrong in its shape, and a request that is refused before it is sent.
        with pytest.raises(grpc.aio.AioRpcError):
            await running.stub.Complete(ask(PROMPT, model=PROMPT), metadata=AS_CHECKOUT)
        with pytest.raises(grpc.aio.AioRpcError):
            await running.stub.Complete(ask(PROMPT))
        running.signal()
        assert await running.ended() == 0
    lines = [line for line in running.log if '"model":"canary' not in line]  # the name of a model is no prompt
    assert leaks_in("the log", lines, PROMPT) == []


async def test_wrong_tokens_are_not_repeated(served: Serve) -> None:
    """A token that is refused, in whatever form it came, is neither logged nor sent back."""
    async with served(routes("aiohttp"), "--log-level", "debug") as running:
        for value in (f"Bearer wrong-{TOKEN}", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN} {TOKEN}"):
            for call in (
                running.stub.Complete(ask(), metadata=(("authorization", value),)),
                anext(aiter(running.stub.StreamComplete(ask(), metadata=(("authorization", value),)))),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await call
                assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
                assert leaks_in("the refusal", [wire_text(raised.value)]) == []
        assert running.simulator.stats.requests == 0
        running.signal()
        assert await running.ended() == 0
    assert leaks_in("the log", running.log) == []


async def test_other_callers_are_not_named(served: Serve) -> None:
    """What one caller is refused says nothing of the others, their aliases or the models behind them."""
    mine = routes("aiohttp").replace(
        "aliases: [default], models: ['one/model', 'two/model']", "aliases: [], models: []"
    )
    two = mine + (
        "  - {{id: secret-project, token_sha256: " + "0" * 64 + ", aliases: [default], models: [two/model]}}\n"
    )
    async with served(two, "--log-level", "debug") as running:
        for model in ("default", "defaul", "two/model", "two/mode", "one/model"):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await running.stub.Complete(ask(model=model), metadata=AS_CHECKOUT)
            failure = failure_of(raised.value)
            assert failure.reason == "UNKNOWN_MODEL"
            assert "near" not in failure.metadata
            assert "secret-project" not in wire_text(raised.value)


@pytest.mark.parametrize("words", [("check",), ("check", "--json"), ("serve", "--listen", "127.0.0.1:0")])
@pytest.mark.parametrize("broken", ["", "broken"])
def test_checking_a_file_shows_no_secret(
    tmp_path: Path,
    words: tuple[str, ...],
    broken: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Findings name paths and lines, never what a secret is: valid files, broken ones, and secrets written out."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    text = routes("aiohttp").format(base="http://127.0.0.1:9/v1")
    if broken:
        text = text.replace("env:ONE_B_API_KEY", KEYS["ONE_A_API_KEY"])
        text = text.replace("{id: a,", f"{{id: a, scret: {KEYS['ONE_B_API_KEY']}, weight: {KEYS['ONE_B_API_KEY']},")
        text = text.replace(DIGEST, TOKEN)
    elif words[0] == "serve":
        text = text.replace("version: 1", "version: 2")
    file = tmp_path / "routes.yaml"
    file.write_text(text, encoding="utf-8")
    option = ("--routes",) if words[0] == "serve" else ()
    code = main([*words, *option, str(file)])
    said = capfd.readouterr()
    assert code == (0 if words[0] == "check" and not broken else 1), said
    assert said.out + said.err
    assert leaks_in("the findings", said) == []
    assert "Traceback" not in said.err


@asynccontextmanager
async def listener() -> AsyncIterator[tuple[str, list[bytes]]]:
    """Listen where a redirect points; yield the address and what came."""
    came: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(await reader.read(65536))
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/v1/chat/completions", came


@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_never_followed(gateway: Gateways, transport: str, status: int) -> None:
    """Whatever a provider answers, the key and the prompt go to the configured address and nowhere else."""
    open_to_all = routes(transport, ["one"]).partition("callers:")[0]
    async with listener() as (elsewhere, came):
        fault = {"status": status, "headers": {"location": elsewhere}, "body": ""}
        async with gateway({"default": fault}, routes=open_to_all, environ=KEYS) as running:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await running.stub.Complete(ask(PROMPT))
            failure = failure_of(raised.value)
            assert failure.reason == "UPSTREAM_EXHAUSTED"
            assert failure.route_failure is not None
            assert failure.route_failure.last_upstream_http_status == status
            _, broken = await running.frames(ask(PROMPT))
            assert broken is not None
            assert running.simulator.stats.requests == 2
            await running.quiet()
        assert came == []


@pytest.mark.parametrize(
    ("url", "sound"),
    [
        ("http://api.example.com/v1", ""),
        ("http://10.0.0.7:8080/v1", ""),
        ("http://127.0.0.1.example.com/v1", ""),
        ("http://user@example.com:80/v1", ""),
        ("http://0.0.0.0:8080/v1", ""),
        ("http://127.0.0.1:8080/v1", "sound"),
        ("http://localhost:8080/v1", "sound"),
        ("http://[::1]:8080/v1", "sound"),
        ("https://api.example.com/v1", "sound"),
    ],
)
def test_keys_are_not_sent_in_the_clear(
    tmp_path: Path, url: str, sound: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Plain http is for this machine alone: everything else is refused when the file is read."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "routes.yaml"
    file.write_text(routes("aiohttp").format(base=url), encoding="utf-8")
    code = main(["check", "--json", str(file)])
    report = json.loads(capfd.readouterr().out)
    assert (code, report["valid"]) == ((0, True) if sound else (1, False)), report
    if not sound:
        assert {finding["path"] for finding in report["findings"]} >= {
            "providers.one.base_url",
            "providers.two.base_url",
        }


def test_details_of_a_refusal_hold_no_stack() -> None:
    """The message type that exists for stack traces is not among what a caller can be sent."""
    assert error_details_pb2.DebugInfo.DESCRIPTOR.full_name not in Path(
        sys.modules["trunkline_server.rpc.status_details"].__file__ or ""
    ).read_text(encoding="utf-8")
