"""The official `openai` package as the judge: what its Azure client sends is what we send, to the same place."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from openai import AzureOpenAI, OpenAI

from trunkline_server.chat.message import Message, Role, TextPart
from trunkline_server.chat.request import ChatRequest
from trunkline_server.providers.azure_openai import AzureOpenAIAdapter, AzureResponsesAdapter
from trunkline_server.providers.base import NO_TERMS, Adapter, AdapterTerms
from trunkline_server.providers.credentials.azure import credential
from trunkline_server.providers.credentials.base import StaticHeaders

RESOURCE = "https://contoso.openai.azure.com"
REQUEST = ChatRequest("default", (Message(Role.USER, (TextPart("hi"),)),), "r-1")
MESSAGES: Any = [{"role": "user", "content": "hi"}]
TERMS = AdapterTerms("azure", RESOURCE, deployments={"gpt-4o": "my-chat"})


class Wire:
    """An HTTP client that sends nothing and keeps what it was to send."""

    def __init__(self) -> None:
        self.sent: list[httpx.Request] = []
        self.client = httpx.Client(transport=httpx.MockTransport(self._answer), trust_env=False)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=b"data: [DONE]\n\n")


def azure(wire: Wire, version: str) -> AzureOpenAI:
    return AzureOpenAI(
        azure_endpoint=RESOURCE, api_version=version, api_key="k-1", http_client=wire.client, max_retries=0
    )


def test_a_chat_completion_of_a_deployment() -> None:
    """Place, version, key and body."""
    wire = Wire()
    with azure(wire, "2024-10-21") as client:
        client.chat.completions.create(
            model="my-chat", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
    official = wire.sent[0]
    ours = AzureOpenAIAdapter(TERMS).encode(REQUEST, "azure", "gpt-4o", stream=True)
    assert RESOURCE + ours.path == str(official.url)
    assert json.loads(ours.body) == json.loads(official.content)
    key = credential("k-1", NO_TERMS)
    assert isinstance(key, StaticHeaders)
    assert dict(key.headers) == {"api-key": official.headers["api-key"]}


@pytest.mark.parametrize("version", [None, "2025-03-01-preview"])
def test_a_response_of_a_deployment(version: str | None) -> None:
    """Place, version and body."""
    wire = Wire()
    with azure(wire, version or "2025-04-01-preview") as client:
        client.responses.create(
            model="my-chat", input=MESSAGES, stream=True, store=False, include=["reasoning.encrypted_content"]
        )
    official = wire.sent[0]
    terms = AdapterTerms("azure", RESOURCE, api_version=version, deployments={"gpt-4o": "my-chat"})
    ours = AzureResponsesAdapter(terms).encode(REQUEST, "azure", "gpt-4o", stream=True)
    assert RESOURCE + ours.path == str(official.url)
    assert json.loads(ours.body) == json.loads(official.content)


def test_the_v1_api() -> None:
    """It is OpenAI's own client's, with Azure's URL."""
    wire = Wire()
    base_url = f"{RESOURCE}/openai/v1"
    with OpenAI(base_url=base_url, api_key="k-1", http_client=wire.client, max_retries=0) as client:
        client.chat.completions.create(
            model="my-chat", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        client.responses.create(
            model="my-chat", input=MESSAGES, stream=True, store=False, include=["reasoning.encrypted_content"]
        )
    terms = AdapterTerms("azure", base_url, deployments={"gpt-4o": "my-chat"})
    adapters: tuple[Adapter, Adapter] = (AzureOpenAIAdapter(terms), AzureResponsesAdapter(terms))
    for adapter, official in zip(adapters, wire.sent, strict=True):
        ours = adapter.encode(REQUEST, "azure", "gpt-4o", stream=True)
        assert base_url + ours.path == str(official.url)
        assert json.loads(ours.body) == json.loads(official.content)
