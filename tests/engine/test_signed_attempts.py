"""Attempts with a key that signs: what a provider rejects is not sent again, and nothing else is forgotten."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.engine.scripted import Upstream

from trunkline_server.engine.attempt import Dispatched, ask
from trunkline_server.engine.endpoint import Endpoint, Timeouts
from trunkline_server.providers.base import AttemptError, WireCall
from trunkline_server.providers.credentials.oauth_token import AccessToken, TokenSource
from trunkline_server.providers.openai import OpenAIAdapter
from trunkline_server.providers.transport.base import Transport, UpstreamRequest
from trunkline_server.routing.failures import FailureClass


class Signer:
    """A key whose tokens are numbered."""

    def __init__(self) -> None:
        self.fetched = 0
        self.source = TokenSource(self._fetch)

    @property
    def hidden(self) -> tuple[str, ...]:
        return self.source.hidden

    async def sign(self, request: UpstreamRequest, transport: Transport) -> UpstreamRequest:
        return replace(request, headers={"authorization": await self.source.token(transport)})

    def rejected(self, request: UpstreamRequest) -> None:
        self.source.forget(request.headers["authorization"])

    def close(self) -> None:
        self.source.close()

    async def _fetch(self, _: Transport) -> AccessToken:
        self.fetched += 1
        return AccessToken(f"token-{self.fetched}", 3600.0)


@pytest.mark.parametrize(
    ("status", "tokens", "failure_class"),
    [
        (401, ["token-1", "token-2"], FailureClass.KEY_REJECTED),
        (429, ["token-1", "token-1"], FailureClass.RATE_LIMITED),
        (400, ["token-1", "token-1"], FailureClass.CALLER_INVALID),
    ],
)
async def test_a_token_that_was_rejected_is_not_used_again(
    status: int, tokens: list[str], failure_class: FailureClass
) -> None:
    """After a 401 the next call has another token, whatever life the old one was promised; other errors keep it."""
    upstream, signer = Upstream(), Signer()
    upstream.answers(b"{}", status=status)
    adapter = OpenAIAdapter()
    endpoint = Endpoint("https://api.example", adapter, upstream, {"a": {}}, signers={"a": signer})
    sent = Dispatched(endpoint, WireCall("/x", {}, b"{}"), "a", Timeouts(), adapter)
    for _ in tokens:
        with pytest.raises(AttemptError) as caught:
            await ask(sent, adapter.decode_answer)
        assert caught.value.failure.failure_class is failure_class
    assert [request.headers["authorization"] for request in upstream.sent] == tokens
