"""A new compatible provider is an entry in the presets' data: read, routed to and called, without a line of code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.conftest import ask

from trunkline.v1 import (
    FINISH_REASON_STOP,
    ROLE_DEVELOPER,
    AttemptSummary,
    Message,
    Part,
    Sampling,
)
from trunkline_server.config import presets

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateways

ENTRY = """\
presets:
  acme:
    what: Acme
    protocol: openai
    base_url: https://llm.acme.example/v1
    key: ACME_API_KEY
    source: https://llm.acme.example/docs
    as_of: 2026-11-23
    gate: {max_in_flight: 3}
    quirks:
      lacks: [seed, json_schema]
      max_tokens_field: max_tokens
      developer_role: system
      limits: {remaining_requests: x-acme-left}
"""

ROUTES = """
version: 1
providers:
  new:
    preset: acme
    base_url: {base}
    keys: [{{id: a, secret: env:ONE_A_API_KEY}}]
  other:
    protocol: openai
    base_url: {base}
    keys: [{{id: b, secret: env:ONE_B_API_KEY}}]
aliases:
  default:
    tiers: [[new/model-a], [other/model-b]]
"""


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the presets be those of a file with one entry."""
    file = tmp_path / "presets.yaml"
    file.write_text(ENTRY, encoding="utf-8")
    monkeypatch.setattr(presets, "DATA", file)
    presets.shipped_presets.cache_clear()
    yield
    presets.shipped_presets.cache_clear()


@pytest.mark.usefixtures("entry")
async def test_a_new_compatible_provider_is_an_entry(gateway: Gateways) -> None:
    """Its limits hold, and its quirks are in what it gets; what the request may drop is told."""
    async with gateway(routes=ROUTES) as running:
        assert running.live.snapshots.current.providers["new"].desk.gate.limits.max_in_flight == 3
        request = ask("hi", sampling=Sampling(max_output_tokens=9, seed=4))
        request.routing.may_drop.append("seed")
        request.messages.insert(0, Message(role=ROLE_DEVELOPER, parts=[Part(text="be brief")]))
        answer = await running.stub.Complete(request, timeout=10)
        assert answer.finish_reason == FINISH_REASON_STOP
        assert answer.route.served_by.provider == "new"
        assert [warning.field for warning in answer.warnings] == ["sampling.seed"]
        got: Any = running.simulator.stats.last_requests[-1].json
        assert got["max_tokens"] == 9
        assert "seed" not in got
        assert [message["role"] for message in got["messages"]] == ["system", "user"]
        await running.quiet()


@pytest.mark.usefixtures("entry")
async def test_what_the_new_provider_lacks_sends_a_request_elsewhere(gateway: Gateways) -> None:
    """A request that cannot do without a feature goes to the next tier at once, and the reason is recorded."""
    async with gateway(routes=ROUTES) as running:
        request = ask("hi")
        request.output.json_schema.name = "x"
        request.output.json_schema.schema_json = '{"type": "object"}'
        answer = await running.stub.Complete(request, timeout=10)
        assert answer.route.served_by.provider == "other"
        assert [attempt.why for attempt in answer.attempts] == [AttemptSummary.WHY_FIRST]
        explained = await running.stub.Explain(request, timeout=10)
        reasons = {one.target.provider: list(one.removed_because) for one in explained.candidates}
        assert "json_schema" in " ".join(reasons["new"])
        assert reasons["other"] == []
