"""A token endpoint on loopback that checks what Google's checks, with a key that was made for the test."""

from __future__ import annotations

import base64
import functools
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

ASSERTION = "urn:ietf:params:oauth:grant-type:jwt-bearer"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
AUDIENCE = "https://oauth2.googleapis.com/token"
"""What the vendor's library signs for, wherever it sends the assertion."""
EMAIL = "router@project.iam.gserviceaccount.com"
USER_SECRET = "user-client-secret"  # noqa: S105  nobody's
REFRESH_TOKEN = "1//refresh-token"  # noqa: S105  nobody's
IDENTITY = "identity-of-another-cloud"


@functools.cache
def private_key() -> rsa.RSAPrivateKey:
    """Return the test's own key; making one takes a moment."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def new_private_key() -> rsa.RSAPrivateKey:
    """Return a key that the endpoint does not know."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def private_pem(key: rsa.RSAPrivateKey) -> str:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class TokenEndpoint:
    """Answers as it is told; `asked` holds the form of each request, `refused` why one was no good."""

    url: str = ""
    lifetime_s: float = 3600
    asked: list[dict[str, str]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    answer: Callable[[], Awaitable[web.Response]] | None = None
    """Instead of a token."""
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/token", self._token)
        app.router.add_get("/identity", self._identity)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def service_account(self, **changes: Any) -> dict[str, Any]:
        """Return the document of a service account, as the console gives it out."""
        return {
            "type": "service_account",
            "project_id": "project",
            "private_key_id": "key-1",
            "private_key": private_pem(private_key()),
            "client_email": EMAIL,
            "client_id": "1",
            "token_uri": f"{self.url}/token",
            **changes,
        }

    def user(self, **changes: Any) -> dict[str, Any]:
        """Return the document of a user, as `gcloud auth application-default login` writes it."""
        return {
            "type": "authorized_user",
            "client_id": "client",
            "client_secret": USER_SECRET,
            "refresh_token": REFRESH_TOKEN,
            "token_uri": f"{self.url}/token",
            "quota_project_id": "billed-project",
            **changes,
        }

    def external(self, **changes: Any) -> dict[str, Any]:
        """Return the document of an identity of another cloud, which is fetched from a URL."""
        return {
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{self.url}/token",
            "credential_source": {"url": f"{self.url}/identity"},
            **changes,
        }

    async def _identity(self, _: web.Request) -> web.Response:
        return web.Response(text=IDENTITY)

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: values[0] for name, values in parse_qs(await request.text()).items()}
        self.asked.append(form)
        if self.answer is not None:
            return await self.answer()
        problem = self._problem(form)
        if problem is not None:
            self.refused.append(problem)
            return web.json_response({"error": "invalid_grant", "error_description": problem}, status=400)
        token = {"access_token": f"ya29.token-{len(self.asked)}", "expires_in": self.lifetime_s, "token_type": "Bearer"}
        if form["grant_type"] == EXCHANGE:
            token["issued_token_type"] = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105  a type
        return web.json_response(token)

    def _problem(self, form: dict[str, str]) -> str | None:
        grant = form.get("grant_type")
        if grant == ASSERTION:
            return self._problem_of(form.get("assertion", ""))
        if grant == EXCHANGE:
            return None if form.get("subject_token") == IDENTITY else "another identity"
        if grant == "refresh_token":
            right = form.get("refresh_token") == REFRESH_TOKEN and form.get("client_secret") == USER_SECRET
            return None if right else "another user"
        return f"grant {grant}"

    def _problem_of(self, assertion: str) -> str | None:
        """Check a JWT as the real endpoint does: signature, issuer, audience, scope, times."""
        head, claims, signature = assertion.split(".")
        try:
            private_key().public_key().verify(
                unpadded(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256()
            )
        except InvalidSignature:
            return "signature"
        said = json.loads(unpadded(claims))
        wanted = {
            "iss": EMAIL,
            "aud": AUDIENCE,
            "scope": "https://www.googleapis.com/auth/cloud-platform",
        }
        wrong = [name for name, value in wanted.items() if said.get(name) != value]
        if wrong:
            return ", ".join(wrong)
        now = time.time()
        return None if said["iat"] <= now + 60 and now < said["exp"] <= now + 3660 else "times"
