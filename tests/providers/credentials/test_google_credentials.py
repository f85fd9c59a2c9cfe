"""Google's credentials: which secrets they are, and the calls that they sign."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.providers.credentials.token_endpoint import (
    ASSERTION,
    EXCHANGE,
    IDENTITY,
    REFRESH_TOKEN,
    USER_SECRET,
    TokenEndpoint,
    new_private_key,
    private_pem,
)

from trunkline_server.providers.base import NO_TERMS, AttemptError
from trunkline_server.providers.credentials.base import CredentialError, Signer, StaticHeaders
from trunkline_server.providers.credentials.gemini import credential
from trunkline_server.providers.transport.aiohttp_transport import AiohttpTransport
from trunkline_server.providers.transport.base import UpstreamRequest
from trunkline_server.providers.transport.blocking import THREADS
from trunkline_server.routing.failures import Failure, FailureClass

REQUEST = UpstreamRequest("https://vertex.example/v1/models/m:generateContent", {"content-type": "json"}, b"{}")


@pytest.fixture
async def endpoint() -> AsyncIterator[TokenEndpoint]:
    endpoint = TokenEndpoint()
    await endpoint.start()
    yield endpoint
    await endpoint.stop()


@pytest.fixture
async def transport() -> AsyncIterator[AiohttpTransport]:
    transport = AiohttpTransport()
    yield transport
    await transport.aclose()


def signer(document: dict[str, Any]) -> Signer:
    made = credential(json.dumps(document), NO_TERMS)
    assert not isinstance(made, StaticHeaders)
    return made


async def failure_of(signing: Signer, transport: AiohttpTransport) -> Failure:
    with pytest.raises(AttemptError) as caught:
        await signing.sign(REQUEST, transport)
    return caught.value.failure


@pytest.mark.parametrize("key", ["AIzaSyExample", "AQ.Ab8RN6example"])
def test_an_api_key_is_a_header(key: str) -> None:
    """Of either kind that Google gives out."""
    made = credential(key, NO_TERMS)
    assert isinstance(made, StaticHeaders)
    assert made.headers == {"x-goog-api-key": key}


async def test_a_rejected_token_is_followed_by_another(endpoint: TokenEndpoint, transport: AiohttpTransport) -> None:
    """What the service rejects is asked for anew at the next call, before its time."""
    signing = signer(endpoint.service_account())
    signing.rejected(await signing.sign(REQUEST, transport))
    signed = await signing.sign(REQUEST, transport)
    assert signed.headers["authorization"] == "Bearer ya29.token-2"
    signing.close()


async def test_a_service_account_signs_what_its_endpoint_believes(
    endpoint: TokenEndpoint, transport: AiohttpTransport
) -> None:
    """The assertion has the right signature, issuer, audience, scope and times; the call carries the token."""
    signing = signer(endpoint.service_account())
    signed = await signing.sign(REQUEST, transport)
    assert endpoint.refused == []
    assert [form["grant_type"] for form in endpoint.asked] == [ASSERTION]
    assert signed.headers == {"content-type": "json", "authorization": "Bearer ya29.token-1"}
    assert (signed.url, signed.body, signed.method) == (REQUEST.url, REQUEST.body, "POST")
    assert await signing.sign(REQUEST, transport) == signed
    signing.close()


async def test_a_user_s_call_is_charged_to_the_user_s_project(
    endpoint: TokenEndpoint, transport: AiohttpTransport
) -> None:
    """A refresh token is traded for an access token."""
    signing = signer(endpoint.user())
    signed = await signing.sign(REQUEST, transport)
    assert [form["grant_type"] for form in endpoint.asked] == ["refresh_token"]
    assert signed.headers["authorization"] == "Bearer ya29.token-1"
    assert signed.headers["x-goog-user-project"] == "billed-project"


async def test_an_identity_of_another_cloud_is_exchanged(endpoint: TokenEndpoint, transport: AiohttpTransport) -> None:
    """It is fetched from where the document says, and traded at the document's endpoint."""
    signing = signer(endpoint.external())
    signed = await signing.sign(REQUEST, transport)
    assert [(form["grant_type"], form["subject_token"]) for form in endpoint.asked] == [(EXCHANGE, IDENTITY)]
    assert signed.headers["authorization"] == "Bearer ya29.token-1"


async def test_many_calls_at_once_fetch_one_token(endpoint: TokenEndpoint, transport: AiohttpTransport) -> None:
    """However many find none."""
    signing = signer(endpoint.service_account())
    signed = await asyncio.gather(*(signing.sign(REQUEST, transport) for _ in range(40)))
    assert len(endpoint.asked) == 1
    assert {request.headers["authorization"] for request in signed} == {"Bearer ya29.token-1"}


async def test_nothing_of_a_secret_shows(endpoint: TokenEndpoint, transport: AiohttpTransport) -> None:
    """All parts of it and the token are named as hidden, and none stands in a repr."""
    account, user = signer(endpoint.service_account()), signer(endpoint.user())
    await account.sign(REQUEST, transport)
    await user.sign(REQUEST, transport)
    assert "ya29.token-1" in account.hidden
    assert any("PRIVATE KEY" in text for text in account.hidden)
    assert {REFRESH_TOKEN, USER_SECRET, "ya29.token-2"} <= set(user.hidden)
    for text in (*account.hidden, *user.hidden):
        assert text not in repr(account) + repr(user)


@pytest.mark.parametrize(
    ("status", "body", "expected", "told"),
    [
        (400, {"error": "invalid_grant", "error_description": "Account deleted"}, "KEY_REJECTED", "code invalid_grant"),
        (401, {"error": "invalid_client"}, "KEY_REJECTED", "code invalid_client"),
        (403, {"error": "access_denied"}, "KEY_REJECTED", "HTTP 403"),
        (400, {"error": "<b>" + "x" * 99}, "KEY_REJECTED", "(HTTP 400)"),
        (200, {"token_type": "Bearer"}, "SERVER_ERROR", "holds none (HTTP 200)"),
        (200, {"access_token": 7, "expires_in": 60}, "SERVER_ERROR", "holds none (HTTP 200)"),
        (200, {"access_token": "t\r\nx: y", "expires_in": 60}, "SERVER_ERROR", "holds none (HTTP 200)"),
        (200, {"access_token": "t", "expires_in": "soon"}, "SERVER_ERROR", "holds none (HTTP 200)"),
        (200, {"access_token": "t", "expires_in": -5}, "PROTOCOL", "expired"),
        (302, {}, "SERVER_ERROR", "HTTP 302"),
    ],
)
async def test_what_an_endpoint_may_answer_instead(
    endpoint: TokenEndpoint,
    transport: AiohttpTransport,
    status: int,
    body: dict[str, object],
    expected: str,
    told: str,
) -> None:
    """A secret that is refused is the key's fault, anything else is not; the endpoint's own words are not repeated."""

    async def answer() -> web.Response:
        return web.json_response(body, status=status)

    endpoint.answer = answer
    failure = await failure_of(signer(endpoint.service_account()), transport)
    assert failure.failure_class is FailureClass(expected)
    assert told in failure.message
    assert "Account deleted" not in failure.message
    assert failure.upstream_text is None


@pytest.mark.parametrize(("status", "expected"), [(429, "RATE_LIMITED"), (503, "SERVER_ERROR"), (500, "SERVER_ERROR")])
async def test_a_busy_endpoint_is_asked_again_by_the_library(
    endpoint: TokenEndpoint,
    transport: AiohttpTransport,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    expected: str,
) -> None:
    """Three times in all, as the vendor has it, and then the failure has its class."""
    monkeypatch.setattr("google.auth._exponential_backoff.time.sleep", lambda _: None)

    async def answer() -> web.Response:
        return web.json_response({"error": "backend_error"}, status=status)

    endpoint.answer = answer
    failure = await failure_of(signer(endpoint.service_account()), transport)
    assert failure.failure_class is FailureClass(expected)
    assert len(endpoint.asked) == 3


async def test_an_endpoint_that_cannot_be_reached_is_no_fault_of_the_key(
    endpoint: TokenEndpoint, transport: AiohttpTransport
) -> None:
    """The failure is that of the connection."""
    document = endpoint.service_account()
    await endpoint.stop()
    failure = await failure_of(signer(document), transport)
    assert failure.failure_class is FailureClass.CONNECT
    assert "cannot connect to 127.0.0.1" in failure.message


@pytest.mark.parametrize("name", ["none", "directory", "binary"])
async def test_an_identity_that_cannot_be_had_is_the_key_s_fault(
    endpoint: TokenEndpoint, transport: AiohttpTransport, tmp_path: Path, name: str
) -> None:
    """Such as a file that is not there or cannot be read: nothing was sent."""
    (tmp_path / "directory").mkdir()
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    source = {"file": str(tmp_path / name)}
    failure = await failure_of(signer(endpoint.external(credential_source=source)), transport)
    assert failure.failure_class is FailureClass.KEY_REJECTED
    assert endpoint.asked == []


async def test_many_keys_get_their_tokens_at_once(endpoint: TokenEndpoint, transport: AiohttpTransport) -> None:
    """Fetches never take the threads that the names of their hosts are resolved in, however many begin together."""
    document = endpoint.service_account(token_uri=f"{endpoint.url.replace('127.0.0.1', 'localhost')}/token")
    keys = [signer(document) for _ in range(2 * min(32, (os.cpu_count() or 1) + 4))]
    signed = await asyncio.gather(*(key.sign(REQUEST, transport) for key in keys))
    assert len({request.headers["authorization"] for request in signed}) == len(keys)
    for key in keys:
        key.close()


async def test_closing_leaves_no_call_and_no_thread_behind(
    endpoint: TokenEndpoint, transport: AiohttpTransport
) -> None:
    """A fetch that hangs is given up at once, its connection closed, and its thread ends."""
    reached, left = asyncio.Event(), asyncio.Event()

    async def answer() -> web.Response:
        reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        raise AssertionError

    endpoint.answer = answer
    signing = signer(endpoint.service_account())
    waiting = asyncio.create_task(failure_of(signing, transport))
    await reached.wait()
    busy = [thread for thread in threading.enumerate() if thread.name.startswith(THREADS)]
    assert busy
    signing.close()
    assert (await waiting).failure_class is FailureClass.CONNECT
    await transport.aclose()
    for thread in busy:
        await asyncio.to_thread(thread.join, 10)
    assert not any(thread.is_alive() for thread in busy)


async def test_the_test_s_endpoint_knows_a_forgery(endpoint: TokenEndpoint, transport: AiohttpTransport) -> None:
    """An assertion that another key signed is refused, so that the tests above mean something."""
    failure = await failure_of(signer(endpoint.service_account(private_key=private_pem(new_private_key()))), transport)
    assert endpoint.refused == ["signature"]
    assert failure.failure_class is FailureClass.KEY_REJECTED
    assert failure.upstream_code == "invalid_grant"


ACCOUNT: dict[str, Any] = {
    "type": "service_account",
    "private_key": "no key",
    "client_email": "a@b",
    "token_uri": "https://oauth2.googleapis.com/token",
}
BAD: dict[str, tuple[object, str]] = {
    "not JSON": ('{"type": ', "begins like a JSON document"),
    "no type": ({}, "must be one of service_account, authorized_user, external_account"),
    "a type that is no word": ({"type": ["service_account"]}, "must be one of"),
    "another type": ({"type": "gdch_service_account"}, "must be one of"),
    "no key in it": (ACCOUNT, "no whole service_account"),
    "no email": ({"type": "service_account", "token_uri": "https://x.example/t"}, "no whole service_account"),
    "plain HTTP": ({**ACCOUNT, "token_uri": "http://oauth2.googleapis.com/token"}, "is http, which is only for"),
    "no URL": ({**ACCOUNT, "token_uri": "file:///etc/passwd"}, "is no http or https URL"),
    "a project of two lines": (
        {
            "type": "authorized_user",
            "client_id": "c",
            "client_secret": "s",
            "refresh_token": "r",
            "quota_project_id": "p\r\nx: y",
        },
        "no id of a project",
    ),
    "half a user": ({"type": "authorized_user", "client_id": "c"}, "no whole authorized_user"),
    "a user of numbers": (
        {"type": "authorized_user", "client_id": "c", "client_secret": 1, "refresh_token": "r"},
        "no whole authorized_user",
    ),
    "a program": (
        {
            "type": "external_account",
            "token_url": "https://sts.googleapis.com/v1/token",
            "credential_source": {"executable": {"command": "/bin/sh"}},
        },
        "programs and certificates are not",
    ),
    "an identity over plain HTTP": (
        {
            "type": "external_account",
            "token_url": "https://sts.googleapis.com/v1/token",
            "credential_source": {"url": "http://elsewhere.example/identity"},
        },
        "is http, which is only for",
    ),
    "spaces": ("no key of anybody's", "neither an API key nor a JSON document"),
    "a line end": ("AIza\n", "neither an API key nor a JSON document"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_secret_that_can_be_neither_is_refused_in_words_of_ours(case: str) -> None:
    """What is wrong is said, and nothing of the secret."""
    secret, told = BAD[case]
    with pytest.raises(CredentialError, match=told) as caught:
        credential(secret if isinstance(secret, str) else json.dumps(secret), NO_TERMS)
    for hidden in ("no key", "/bin/sh", "elsewhere", "AIza"):
        assert hidden not in str(caught.value).replace("neither an API key", "")


def test_the_metadata_address_of_a_cloud_may_be_plain() -> None:
    """There is nobody between a machine and it."""
    for address in ("169.254.169.254", "[fd00:ec2::254]", "metadata.google.internal"):
        source = {"url": f"http://{address}/identity"}
        assert signer(
            {
                "type": "external_account",
                "audience": "//iam.googleapis.com/a",
                "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
                "token_url": "https://sts.googleapis.com/v1/token",
                "credential_source": source,
            }
        )
