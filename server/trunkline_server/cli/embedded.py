"""What `trunkline serve` runs without a routes file: a simulated provider, with the aliases `default` and `search`."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trunkline_server.cli import exits
from trunkline_server.config.secrets import SecretResolver
from trunkline_server.simulator.errors import SimulatorError
from trunkline_server.simulator.server import Simulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


ROUTES: Final = """\
version: 1
providers:
  simulated:
    protocol: openai
    base_url: {base_url}
    keys:
      - {{id: key-a, secret: env:TRUNKLINE_SECRET_SIMULATED_A, weight: 2}}
      - {{id: key-b, secret: env:TRUNKLINE_SECRET_SIMULATED_B, weight: 1}}
models:
  simulated/small:
    context_tokens: 128000
    max_output_tokens: 16384
    capabilities: [tools, vision, json_schema, json_object, reasoning]
  simulated/large:
    context_tokens: 128000
    max_output_tokens: 16384
    capabilities: [tools, vision, json_schema, json_object, reasoning]
  simulated/vectors:
    context_tokens: 8192
    capabilities: [embeddings]
aliases:
  default:
    tiers:
      - [{{target: simulated/small}}]
      - [{{target: simulated/large}}]
  search:
    tiers:
      - [{{target: simulated/vectors}}]
"""

SECRETS: Final = {"TRUNKLINE_SECRET_SIMULATED_A": "sk-sim-a", "TRUNKLINE_SECRET_SIMULATED_B": "sk-sim-b"}
"""No secrets: the simulated provider takes any. Its faults can be given for one key by this text."""

SCENARIO: Final = {"default": {"first_byte_s": 0.15, "chunk_gap_s": 0.03}}
"""A pace at which a stream can be seen as one."""

EXPLANATION: Final = """\
no --routes: this is the embedded default. The provider is simulated, its answers are echoes.
  alias `default` -> simulated/small, then simulated/large; keys key-a and key-b
  alias `search` -> simulated/vectors, for `trunkline embed`
  make it fail:  curl -d '{{"patch": {{"models": {{"small": {{"status": 503}}}}}}}}' {root_url}/_control
  and heal it:   curl -d '{{"scenario": {{}}}}' {root_url}/_control
  try:           trunkline complete --stream "hello" (with --server if `listen` is not port 50051)"""


@dataclass(frozen=True, slots=True)
class EmbeddedRoutes:
    """A routes document that is no file."""

    text: bytes

    @property
    def name(self) -> str:
        """What messages call it."""
        return "the embedded default"

    def read(self) -> bytes:
        """Return its bytes."""
        return self.text


@asynccontextmanager
async def embedded_default() -> AsyncIterator[tuple[EmbeddedRoutes, SecretResolver, str]]:
    """Run the simulated provider on a free loopback port; yield the routes to it, their secrets, and what to tell.

    Raises CommandError if there is no port to be had.
    """
    simulator = Simulator(SCENARIO)
    try:
        await simulator.start()
    except SimulatorError as error:
        raise exits.CommandError(f"the simulated provider of the embedded default: {error}") from None
    try:
        # There is no `file:` in the document above, so the directory is never looked at.
        resolver = SecretResolver(Path(), frozenset(), SECRETS)
        routes = EmbeddedRoutes(ROUTES.format(base_url=simulator.base_url).encode())
        yield routes, resolver, EXPLANATION.format(root_url=simulator.root_url)
    finally:
        await simulator.stop()
