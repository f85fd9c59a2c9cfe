"""Azure's credentials: which secrets they are, and the calls that an identity of Entra ID signs."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from trunkline_server.providers.base import NO_TERMS, AttemptError
from trunkline_server.providers.credentials.azure import credential
from trunkline_server.providers.credentials.base import CredentialError, Signer, StaticHeaders
from trunkline_server.providers.transport.aiohttp_transport import AiohttpTransport
from trunkline_server.providers.transport.base import UpstreamRequest
from trunkline_server.routing.failures import Failure, FailureClass

REQUEST = UpstreamRequest("https://contoso.openai.azure.com/openai/x", {"content-type": "json"}, b"{}")
TENANT = "contoso.onmicrosoft.com"
CLIENT = "11112222-bbbb-3333-cccc-4444dddd5555"
SECRET = "qWgdYAmab0YSkuL1qKv5bPX~nobody's"  # noqa: S105  nobody's

GRANT_SOURCE = "https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow, 2026-11-23"
REFUSED = {
    "error": "invalid_client",
    "error_description": "AADSTS7000215: Invalid client secret provided. Ensure the secret being sent in the request "
    "is the client secret value, not the client secret ID, for a secret added to app 'appid'.",
    "error_codes": [7000215],
    "timestamp": "2026-11-23 09:00:00Z",
    "trace_id": "255d1aef-8c98-452f-ac51-23d051240864",
    "correlation_id": "fb3d2015-bc17-4bb9-bb85-30c5cf1aaaa7",
}


@dataclass
class Authority:
    """A token endpoint on loopback; `asked` holds path and form of each request."""

    url: str = ""
    lifetime_s: int | str = 3599
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    answer: Callable[[], Awaitable[web.Response]] | None = None
    """Instead of a token."""
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/{tenant}/oauth2/v2.0/token", self._token)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def identity(self, **changes: Any) -> dict[str, Any]:
        """Return the secret of an application."""
        return {
            "tenant_id": TENANT,
            "client_id": CLIENT,
            "client_secret": SECRET,
            "authority": self.url,
            **changes,
        }

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: values[0] for name, values in parse_qs(await request.text()).items()}
        self.asked.append((request.path, form))
        if self.answer is not None:
            return await self.answer()
        token = f"eyJ0eXAi.token-{len(self.asked)}"
        return web.json_response({"token_type": "Bearer", "expires_in": self.lifetime_s, "access_token": token})

    def tells(self, body: object, status: int = 200, **headers: str) -> None:
        """Answer with this from now on."""

        async def answer() -> web.Response:
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            return web.Response(body=raw, status=status, headers=headers)

        self.answer = answer


@pytest.fixture
async def authority() -> AsyncIterator[Authority]:
    authority = Authority()
    await authority.start()
    yield authority
    await authority.stop()


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


def test_a_plain_secret_is_an_api_key() -> None:
    """It travels in the header that Azure has for it."""
    made = credential("0123456789abcdef", NO_TERMS)
    assert isinstance(made, StaticHeaders)
    assert dict(made.headers) == {"api-key": "0123456789abcdef"}
    assert "0123" not in repr(made)


@pytest.mark.parametrize(
    "secret",
    [
        "two words",
        "line\nbreak",
        "ключ",
        "{",
        "{]",
        "{}",
        '{"tenant_id": "t"}',
        json.dumps({"tenant_id": "t", "client_id": "c"}),
        json.dumps({"tenant_id": "t/../u", "client_id": "c", "client_secret": SECRET}),
        json.dumps({"tenant_id": "t", "client_id": 7, "client_secret": SECRET}),
        json.dumps({"tenant_id": "t", "client_id": "c", "client_secret": ""}),
        json.dumps({"tenant_id": "t", "client_id": "c", "client_secret": SECRET, "hidden_field": SECRET}),
        json.dumps({"tenant_id": "t", "client_id": "c", "client_secret": SECRET, "private_key": "p"}),
        json.dumps({"tenant_id": "t", "client_id": "c", "private_key": "p"}),
        json.dumps({"tenant_id": "t", "client_id": "c", "private_key": SECRET, "certificate": SECRET}),
        json.dumps({"tenant_id": "t", "client_id": "c", "client_secret": SECRET, "authority": "http://a.example"}),
        json.dumps({"tenant_id": "t", "client_id": "c", "client_secret": SECRET, "authority": "login"}),
    ],
)
def test_what_can_be_no_credential_is_refused(secret: str) -> None:
    """In words of ours that hold nothing of the secret."""
    with pytest.raises(CredentialError) as caught:
        credential(secret, NO_TERMS)
    assert SECRET not in str(caught.value)
    assert "hidden_field" not in str(caught.value)


async def test_an_identity_s_calls_carry_a_token(authority: Authority, transport: AiohttpTransport) -> None:
    """One is fetched for many calls, by the grant that the vendor documents."""
    signing = signer(authority.identity())
    sent = await asyncio.gather(*(signing.sign(REQUEST, transport) for _ in range(20)))
    assert {request.headers["authorization"] for request in sent} == {"Bearer eyJ0eXAi.token-1"}
    assert sent[0].headers["content-type"] == "json"
    assert sent[0].body == REQUEST.body
    assert authority.asked == [
        (
            f"/{TENANT}/oauth2/v2.0/token",
            {
                "grant_type": "client_credentials",
                "client_id": CLIENT,
                "client_secret": SECRET,
                "scope": "https://cognitiveservices.azure.com/.default",
            },
        )
    ]
    assert set(signing.hidden) == {SECRET, "eyJ0eXAi.token-1"}
    assert SECRET not in repr(signing)
    assert "eyJ0" not in repr(signing)
    signing.close()


async def test_a_rejected_token_is_followed_by_another(authority: Authority, transport: AiohttpTransport) -> None:
    """What the resource rejects is asked for anew at the next call, before its time."""
    signing = signer(authority.identity())
    first = await signing.sign(REQUEST, transport)
    signing.rejected(first)
    await signing.sign(REQUEST, transport)
    assert len(authority.asked) == 2
    signing.close()


async def test_a_scope_of_one_s_own(authority: Authority, transport: AiohttpTransport) -> None:
    """National clouds and gateways have others."""
    signing = signer(authority.identity(scope="https://ai.azure.com/.default"))
    await signing.sign(REQUEST, transport)
    assert authority.asked[0][1]["scope"] == "https://ai.azure.com/.default"


async def test_a_lifetime_may_be_text(authority: Authority, transport: AiohttpTransport) -> None:
    """Older endpoints write it so."""
    authority.lifetime_s = "3599"
    signed = await signer(authority.identity()).sign(REQUEST, transport)
    assert signed.headers["authorization"] == "Bearer eyJ0eXAi.token-1"


def certificate() -> tuple[str, str]:
    """Return a certificate and its key in PEM, made for the test."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "router")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(pem).decode(), private.decode()


async def test_a_certificate_s_key_signs_the_request(authority: Authority, transport: AiohttpTransport) -> None:
    """The assertion names the certificate, is for this endpoint alone, and holds for minutes."""
    public, private = certificate()
    document = authority.identity(certificate=public, private_key=private)
    del document["client_secret"]
    signing = signer(document)
    await signing.sign(REQUEST, transport)
    path, form = authority.asked[0]
    assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    loaded = x509.load_pem_x509_certificate(public.encode())
    key = loaded.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    claims = jwt.decode(form["client_assertion"], key, algorithms=["PS256"], audience=authority.url + path)
    assert (claims["iss"], claims["sub"]) == (CLIENT, CLIENT)
    assert claims["exp"] - claims["iat"] <= 600
    thumbprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(public)).digest()
    told = jwt.get_unverified_header(form["client_assertion"])["x5t#S256"]
    assert told.rstrip("=") == jwt.utils.base64url_encode(thumbprint).decode()
    assert private in signing.hidden


@pytest.mark.parametrize(
    ("body", "status", "expected", "code"),
    [
        (REFUSED, 401, FailureClass.KEY_REJECTED, "AADSTS7000215"),
        ({"error": "unauthorized_client"}, 400, FailureClass.KEY_REJECTED, "unauthorized_client"),
        ({"error": "x" * 50, "error_codes": ["x"]}, 400, FailureClass.KEY_REJECTED, None),
        (b"<html>", 403, FailureClass.KEY_REJECTED, None),
        ({"error": "temporarily_unavailable"}, 503, FailureClass.SERVER_ERROR, "temporarily_unavailable"),
        (b"", 408, FailureClass.SERVER_ERROR, None),
        ({"error": "slow_down"}, 429, FailureClass.RATE_LIMITED, "slow_down"),
        (b"<html>", 200, FailureClass.SERVER_ERROR, None),
        (b"[]", 200, FailureClass.SERVER_ERROR, None),
        ({"expires_in": 3599}, 200, FailureClass.SERVER_ERROR, None),
        ({"access_token": "t", "expires_in": "soon"}, 200, FailureClass.SERVER_ERROR, None),
        ({"access_token": "t", "expires_in": 0}, 200, FailureClass.SERVER_ERROR, None),
        ({"access_token": "a\nb", "expires_in": 9}, 200, FailureClass.SERVER_ERROR, None),
        (b"", 302, FailureClass.SERVER_ERROR, None),
        (b"x" * 100_000, 200, FailureClass.CONNECT, None),
    ],
)
async def test_why_there_is_no_token(
    authority: Authority,
    transport: AiohttpTransport,
    body: object,
    status: int,
    expected: FailureClass,
    code: str | None,
) -> None:
    """A refused identity is a rejected key, all else the endpoint's own failure; its words name accounts."""
    authority.tells(body, status)
    failure = await failure_of(signer(authority.identity()), transport)
    assert failure.failure_class is expected
    assert failure.upstream_code == code
    assert failure.upstream_text is None
    assert "appid" not in failure.message
    assert SECRET not in failure.message


async def test_an_endpoint_says_how_long_to_stay_away(authority: Authority, transport: AiohttpTransport) -> None:
    """Where it is asked too often."""
    authority.tells(b"", 429, **{"retry-after": "7"})
    assert (await failure_of(signer(authority.identity()), transport)).retry_after_s == 7.0


async def test_an_endpoint_that_is_not_there(authority: Authority, transport: AiohttpTransport) -> None:
    """Nobody is to blame but the network."""
    signing = signer(authority.identity())
    await authority.stop()
    assert (await failure_of(signing, transport)).failure_class is FailureClass.CONNECT


async def test_a_waiter_may_leave(authority: Authority, transport: AiohttpTransport) -> None:
    """It takes nothing along: the token still comes for the next one."""
    asked, let_go = asyncio.Event(), asyncio.Event()

    async def late() -> web.Response:
        asked.set()
        await let_go.wait()
        return web.json_response({"access_token": "late", "expires_in": 3599})

    authority.answer = late
    signing = signer(authority.identity())
    leaving = asyncio.create_task(signing.sign(REQUEST, transport))
    await asked.wait()
    leaving.cancel()
    staying = asyncio.create_task(signing.sign(REQUEST, transport))
    let_go.set()
    assert (await staying).headers["authorization"] == "Bearer late"
    assert leaving.cancelled()
    assert len(authority.asked) == 1
    signing.close()
