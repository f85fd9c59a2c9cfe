"""The machine's own keys: found and renewed by botocore in a thread, out of the way of calls."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.providers.bedrock.official import ENDPOINT

from trunkline_server.providers.base import AdapterTerms, AttemptError
from trunkline_server.providers.credentials.aws import credential
from trunkline_server.providers.credentials.aws_role import MachineKeys, RoleSigner
from trunkline_server.providers.credentials.aws_sign import AccessKeys
from trunkline_server.providers.transport.base import UpstreamRequest
from trunkline_server.routing.failures import Failure, FailureClass

NOWHERE: Any = None
REQUEST = UpstreamRequest(ENDPOINT + "/model/m/converse", {}, b"{}")
ROLE = '{"role": "default"}'
TERMS = AdapterTerms("bedrock", ENDPOINT)


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without any keys, profiles or roles, whatever the one of the tests has."""
    import os

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent/config")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/credentials")


Answer = Callable[[], web.Response]


@pytest.fixture
async def container(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Answer]]:
    """What a container's role is asked of: each answer of the list serves one call, the last one all further ones."""
    answers: list[Answer] = []

    async def give(_: web.Request) -> web.Response:
        return (answers.pop(0) if len(answers) > 1 else answers[0])()

    app = web.Application()
    app.router.add_get("/keys", give)
    async with TestServer(app) as server:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", str(server.make_url("/keys")))
        yield answers


def keys(number: int, lifetime: dt.timedelta) -> Answer:
    until = dt.datetime.now(dt.UTC) + lifetime
    body = {
        "AccessKeyId": f"ASIA{number:016d}",
        "SecretAccessKey": f"secret-{number}",
        "Token": f"token-{number}",
        "Expiration": until.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    return lambda: web.json_response(body)


async def sign(signer: RoleSigner) -> str:
    """Return the id of the keys that a call was signed with."""
    signed = await signer.sign(REQUEST, NOWHERE)
    return signed.headers["Authorization"].partition("Credential=")[2].partition("/")[0]


def role() -> RoleSigner:
    made = credential(ROLE, TERMS)
    assert isinstance(made, RoleSigner)
    return made


async def test_the_keys_of_a_container(container: list[Answer]) -> None:
    """They are asked for once, sign with their session's token, and are known to be hidden."""
    container += [keys(1, dt.timedelta(hours=6)), keys(2, dt.timedelta(hours=6))]
    signer = role()
    assert [await sign(signer) for _ in range(3)] == ["ASIA0000000000000001"] * 3
    signed = await signer.sign(REQUEST, NOWHERE)
    assert signed.headers["X-Amz-Security-Token"] == "token-1"
    assert set(signer.hidden) == {"secret-1", "token-1", "ASIA0000000000000001"}
    assert "secret-1" not in repr(signer)
    signer.close()


async def test_keys_that_end_soon_are_renewed(container: list[Answer]) -> None:
    """What is given out has more than ten minutes left: the service is asked again for keys that have less."""
    container += [keys(1, dt.timedelta(minutes=5)), keys(2, dt.timedelta(hours=6))]
    found = await asyncio.to_thread(MachineKeys().find)
    assert found.access_key == "ASIA0000000000000002"


async def test_keys_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever AWS's own tools would find first is found."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    signer = role()
    assert await sign(signer) == "AKIAENVIRONMENT"
    signer.close()


async def test_an_identity_s_file_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod whose token was not mounted is told of in words of ours, and so is not taken for a defect."""
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/service")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere/token")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    with pytest.raises(AttemptError) as caught:
        await asyncio.to_thread(MachineKeys().find)
    assert caught.value.failure.failure_class is FailureClass.CONNECT
    assert "nowhere" not in caught.value.failure.message


async def test_a_machine_without_keys() -> None:
    """It is told as a key that is rejected: nothing but another configuration helps."""
    signer = role()
    with pytest.raises(AttemptError) as raised:
        await sign(signer)
    assert raised.value.failure.failure_class is FailureClass.KEY_REJECTED
    signer.close()


class Waiting(MachineKeys):
    """Keys that come when the test lets them."""

    def __init__(self, failure: Failure | None = None) -> None:
        super().__init__()
        self.asked = 0
        self.free = threading.Event()
        self._failure = failure

    def find(self) -> AccessKeys:
        self.asked += 1
        self.free.wait(10)
        if self._failure is not None:
            raise AttemptError(self._failure)
        return AccessKeys("AKIATEST", "secret")


async def test_calls_wait_together_and_may_leave() -> None:
    """There is one question at a time; who is cancelled leaves at once, and the others get their keys."""
    machine = Waiting()
    signer = RoleSigner("us-east-1", machine)
    calls = [asyncio.create_task(sign(signer)) for _ in range(5)]
    await asyncio.sleep(0)
    calls[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await calls[0]
    machine.free.set()
    assert await asyncio.gather(*calls[1:]) == ["AKIATEST"] * 4
    assert machine.asked == 1
    signer.close()


async def test_a_failure_is_told_to_all_who_wait() -> None:
    """As it was classified; the next one does not ask again at once."""
    machine = Waiting(Failure(FailureClass.CONNECT, "not reached"))
    machine.free.set()
    signer = RoleSigner("us-east-1", machine)
    for _ in range(3):
        with pytest.raises(AttemptError) as raised:
            await sign(signer)
        assert raised.value.failure.failure_class is FailureClass.CONNECT
    assert machine.asked == 1
    signer.close()


async def test_what_is_not_reached_is_a_failed_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that gives keys and is down: another try may help, and no key is blamed."""
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:9/keys")
    monkeypatch.setattr("botocore.utils.ContainerMetadataFetcher.SLEEP_TIME", 0)
    with pytest.raises(AttemptError) as raised:
        await asyncio.to_thread(MachineKeys().find)
    assert raised.value.failure.failure_class is FailureClass.CONNECT
