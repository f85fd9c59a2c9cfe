"""The client's arguments for TLS: what contradicts itself, and files that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from tests.rpc.certificates import Authority

from trunkline import connect, connect_aio

TARGET = "localhost:1"
REMOTE = "trunkline.example:443"
Connect = Callable[..., Any]


def _aio(*arguments: Any, **given: Any) -> Any:
    return connect_aio(*arguments, **given)


@pytest.fixture(params=[connect, _aio], ids=["sync", "aio"])
def opened(request: pytest.FixtureRequest) -> Connect:
    """Return either function that opens a channel."""
    chosen: Connect = request.param
    return chosen


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Return an authority, and a certificate that it signed with its key."""
    authority = Authority()
    cert, key = authority.client("spiffe://prod/a").write(tmp_path, "client")
    return {"ca": authority.write(tmp_path), "cert": cert, "key": key}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"cert": "x"}, "`cert` and `key` belong together"),
        ({"key": "x", "tls": True}, "`cert` and `key` belong together"),
        ({"tls": False, "ca": "x"}, "give `tls=True`"),
        ({"server_name": "x"}, "give `tls=True`"),
        ({"tls": grpc.ssl_channel_credentials(), "ca": "x"}, "credentials are whole already"),
        ({"ca": "/nowhere/ca.pem"}, "ca: cannot read /nowhere/ca.pem: no such file"),
    ],
)
async def test_arguments_that_contradict_each_other_are_refused(
    opened: Connect, given: dict[str, Any], told: str
) -> None:
    """Half a pair, a file without TLS, and files beside credentials are refused, by the argument's name."""
    with pytest.raises(ValueError, match=told):
        opened(TARGET, **given)


async def test_files_that_are_no_certificates_are_refused(opened: Connect, files: dict[str, Path]) -> None:
    """A file that holds something else is told by name when the channel is opened, and not by a failing handshake."""
    files["ca"].write_bytes(b"planted")
    with pytest.raises(ValueError, match=r"ca: .*ca.pem: not a file of PEM certificates"):
        opened(TARGET, **files)


async def test_a_key_of_another_certificate_is_refused(opened: Connect, files: dict[str, Path]) -> None:
    """A certificate and a key that do not belong together are told by name, and so is a key with a password."""
    pair = Authority().server()
    for content in (pair.key_pem, pair.private(serialization.BestAvailableEncryption(b"planted"))):
        files["key"].write_bytes(content)
        with pytest.raises(ValueError, match="are not a PEM certificate and its own key without a password"):
            opened(TARGET, **files)


def test_a_token_may_leave_with_tls_alone(files: dict[str, Path]) -> None:
    """With TLS a token goes to another machine; without it, or with TLS refused, it does not."""
    for given in ({"tls": True}, {"ca": files["ca"]}, {"tls": grpc.ssl_channel_credentials()}, dict(files)):
        connect(REMOTE, token="t", **given).close()  # noqa: S106  an example
    for refused in (None, False):
        with pytest.raises(ValueError, match="without encryption"):
            connect(REMOTE, token="t", tls=refused)  # noqa: S106  an example
