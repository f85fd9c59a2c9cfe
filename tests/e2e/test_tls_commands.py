"""The command line over TLS: `serve` with certificates, and every kind of command that calls it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.e2e.outside import Ran, run
from tests.e2e.serving import Served, serve
from tests.rpc.certificates import Authority

CALLER, ADMIN = "spiffe://prod/checkout", "spiffe://prod/oncall"
ROUTES = f"""\
version: 1
providers: {{{{up: {{{{protocol: openai, base_url: "{{base}}", keys: [{{{{id: a, secret: env:UP_API_KEY}}}}]}}}}}}}}
aliases: {{{{default: {{{{tiers: [[up/gpt-4o-mini]]}}}}}}}}
callers: [{{{{id: checkout, mtls_san: "{CALLER}", aliases: [default]}}}}]
admins: [{{{{id: oncall, mtls_san: "{ADMIN}", role: operator}}}}]
"""


@dataclass
class House:
    """A server with certificates, and the files of whoever calls it."""

    served: Served
    folder: Path
    authority: Authority

    async def trunkline(self, *words: str, server: str, who: str, ca: str = "ca.pem") -> Ran:
        """Run a command with the certificate of `who`; empty: with none."""
        mine: tuple[str, ...] = ()
        if who:
            cert, key = self.authority.client(who).write(self.folder, "mine")
            mine = ("--cert", str(cert), "--key", str(key))
        way = ("--server", server, "--ca", str(self.folder / ca), *mine)
        return await run(sys.executable, "-m", "trunkline_server", *words, *way)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    authority = Authority()
    cert, key = authority.server().write(tmp_path, "server")
    flags = ("--tls-cert", str(cert), "--tls-key", str(key), "--tls-client-ca", str(authority.write(tmp_path)))
    async with serve(tmp_path, ROUTES, *flags, environ={"UP_API_KEY": "sk-up"}) as served:
        yield House(served, tmp_path, authority)


async def test_commands_call_with_certificates(house: House) -> None:
    """A caller completes, an admin asks for status and reloads, each known by a certificate alone."""
    done = await house.trunkline("complete", "hello there", server=house.served.listen, who=CALLER)
    assert (done.code, done.out) == (0, "You said: hello there\n"), done
    status = await house.trunkline("status", "--json", server=house.served.admin, who=ADMIN)
    assert [target["provider"] for target in status.document()["targets"]] == ["up"]
    routes = await house.trunkline(
        "routes", "reload", "--reason", "over TLS", "--json", server=house.served.admin, who=ADMIN
    )
    assert routes.document()["no_op"] is True


@pytest.mark.parametrize("who", ["", "spiffe://prod/stranger"])
async def test_a_command_without_a_right_to_call_says_what_is_wrong(house: House, who: str) -> None:
    """No certificate, or one of nobody: no traceback, a line that says it, and an exit code that is not 0."""
    done = await house.trunkline("complete", "--timeout", "5", "hi", server=house.served.listen, who=who)
    assert done.code != 0
    assert "Traceback" not in done.err
    assert done.err.strip()


async def test_a_server_of_another_authority_is_not_called(house: House) -> None:
    """The command checks whom it talks to: the server's certificate is not of the authority that it was given."""
    Authority().write(house.folder, "other.pem")
    done = await house.trunkline(
        "complete", "--timeout", "5", "hi", server=house.served.listen, who=CALLER, ca="other.pem"
    )
    assert done.code != 0
    assert "Traceback" not in done.err
    assert house.served.simulator.stats.requests == 0
