"""What holds for every dialect of the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from trunkline_server.simulator.capacity import OverCapacity
from trunkline_server.simulator.dialect import Received
from trunkline_server.simulator.dialects import DIALECTS, ERROR_NAMES, dialect_of
from trunkline_server.simulator.failure import COMMON_ERRORS, Trouble, Wording

if TYPE_CHECKING:
    from trunkline_server.simulator.dialect import Dialect
    from trunkline_server.simulator.server import Simulator

EVERY = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)


@EVERY
def test_common_errors_are_worded(dialect: Dialect) -> None:
    """Every dialect has a body of its own for each common error, with the status that it states."""
    assert set(COMMON_ERRORS) <= set(dialect.errors)
    for name in dialect.errors:
        reply = dialect.reply(Trouble(name=name, model="m-1", retry_s=2.0))
        assert reply.status == dialect.errors[name].status
        assert reply.status >= 400
        assert reply.body


@EVERY
def test_statuses_mean_known_errors(dialect: Dialect) -> None:
    """A bare status stands for an error that the dialect has, and keeps its number whatever the error's own is."""
    assert set(dialect.by_status.values()) <= set(dialect.errors)
    for status in (*dialect.by_status, 418, 599):
        assert dialect.reply(Trouble(status=status)).status == status


@EVERY
def test_a_scenarios_own_words_go_out(dialect: Dialect) -> None:
    """An error that the scenario words has its text, and status 400 unless it says another."""
    reply = dialect.reply(Trouble(own=Wording("as I say", code="x")))
    assert reply.status == 400
    assert b"as I say" in reply.body
    assert dialect.reply(Trouble(own=Wording("as I say"), status=409)).status == 409


@EVERY
@pytest.mark.parametrize("kind", ["requests", "tokens", "concurrency", "context"])
def test_limits_refuse_with_the_names_status(dialect: Dialect, kind: str) -> None:
    """A refusal by a limit has the status of its error."""
    name = {"tokens": "tokens_rate_limit_exceeded", "context": "context_length_exceeded"}.get(
        kind, "rate_limit_exceeded"
    )
    over = OverCapacity(kind, 10, 9, 2, 1.5)
    assert dialect.reply(Trouble(name=name, over=over, retry_s=1.5)).status == dialect.errors[name].status


def test_what_nobody_claims_is_openais() -> None:
    """A path that no other dialect claims is answered by OpenAI's."""
    path = "/v1/nothing-of-the-kind"
    request = Received(method="POST", path=path, raw_path=path, query={}, headers={}, body=b"")
    assert dialect_of(request).name == "openai"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/chat/completions", "openai"),
        ("/v1/responses", "openai"),
        ("/v1/embeddings", "openai"),
        ("/v1/messages", "anthropic"),
        ("/v2/chat", "cohere"),
        ("/v2/embed", "cohere"),
        ("/v1beta/models/gemini-x:generateContent", "gemini"),
        ("/v1/projects/p/locations/l/publishers/google/models/g:streamGenerateContent", "gemini"),
        ("/model/us.anthropic.claude-x:0/converse", "bedrock"),
        ("/model/amazon.nova/converse-stream", "bedrock"),
        ("/openai/deployments/d/chat/completions", "azure_openai"),
        ("/openai/v1/responses", "azure_openai"),
        ("/token", "google_oauth"),
    ],
)
def test_a_request_has_one_dialect(path: str, name: str) -> None:
    """By its path alone at most one dialect claims a request, wherever it stands in the table; else it is OpenAI's."""
    request = Received(method="POST", path=path, raw_path=path, query={}, headers={}, body=b"")
    claimed = [each for each, dialect in DIALECTS.items() if each != "openai" and dialect.claims(request)]
    assert claimed == ([] if name == "openai" else [name])
    assert dialect_of(request).name == name


async def test_errors_of_another_dialect_are_refused_not_ignored(simulator: Simulator) -> None:
    """A name that no dialect has is refused as a fault, and one that only another has is refused by this one."""
    async with httpx.AsyncClient(base_url=simulator.base_url, headers={"authorization": "Bearer k"}) as http:
        for name in sorted({"zzz", *ERROR_NAMES} - set(DIALECTS["openai"].errors)):
            answer = await http.post(
                "/chat/completions",
                json={"model": "m", "messages": [{"role": "user", "content": "hi"}]},
                headers={"x-sim-fault": f"error={name}"},
            )
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "x_sim_fault")


def test_urls_are_told_by_protocol(simulator: Simulator) -> None:
    """Each protocol has its base URL on the one port; OpenAI's is what `base_url` says."""
    assert simulator.url_of("openai") == simulator.base_url
    assert all(simulator.url_of(name).startswith(simulator.root_url) for name in DIALECTS)
    with pytest.raises(KeyError):
        simulator.url_of("smoke-signals")
