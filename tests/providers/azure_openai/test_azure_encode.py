"""Calls to Azure OpenAI: the paths of deployments, versions and the v1 API, and what a version does not have yet."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from trunkline_server.chat.embedding import EmbedRequest
from trunkline_server.chat.message import Message, Role, TextPart
from trunkline_server.chat.request import ChatRequest, ReasoningEffort, Sampling
from trunkline_server.providers.azure_openai import AzureOpenAIAdapter, AzureResponsesAdapter
from trunkline_server.providers.azure_openai.versions import SINCE
from trunkline_server.providers.base import Adapter, AdapterTerms, ModelTerms, WireCall

RESOURCE = "https://contoso.openai.azure.com"
HI = ChatRequest("default", (Message(Role.USER, (TextPart("hi"),)),), "r-1")


def terms(base_url: str = RESOURCE, api_version: str | None = None, **deployments: str) -> AdapterTerms:
    return AdapterTerms("azure", base_url, api_version=api_version, deployments=deployments)


def called(made: AdapterTerms, request: ChatRequest = HI, model: str = "gpt", *, stream: bool = False) -> WireCall:
    return AzureOpenAIAdapter(made).encode(request, "azure", model, stream=stream)


def body(call: WireCall) -> dict[str, Any]:
    decoded = json.loads(call.body)
    assert isinstance(decoded, dict)
    return decoded


CHAT_PATHS: dict[str, tuple[AdapterTerms, str]] = {
    "a resource's own": (terms(), "/openai/deployments/gpt/chat/completions?api-version=2024-10-21"),
    "another version": (
        terms(api_version="2025-04-01-preview"),
        "/openai/deployments/gpt/chat/completions?api-version=2025-04-01-preview",
    ),
    "a deployment with a name of its own": (
        terms(gpt="my chat/1"),
        "/openai/deployments/my%20chat%2F1/chat/completions?api-version=2024-10-21",
    ),
    "with openai at its end": (
        terms(f"{RESOURCE}/openai"),
        "/deployments/gpt/chat/completions?api-version=2024-10-21",
    ),
    "the v1 API": (terms(f"{RESOURCE}/openai/v1"), "/chat/completions"),
    "a preview of the v1 API": (
        terms(f"{RESOURCE}/openai/v1", api_version="preview"),
        "/chat/completions?api-version=preview",
    ),
}


@pytest.mark.parametrize("case", CHAT_PATHS)
def test_where_chat_completions_are(case: str) -> None:
    """The deployment stands in the path, or with the v1 API in the body alone."""
    made, path = CHAT_PATHS[case]
    call = called(made)
    assert call.path == path
    assert body(call) == {"model": made.deployments.get("gpt", "gpt"), "messages": [{"role": "user", "content": "hi"}]}


RESPONSES_PATHS: dict[str, tuple[AdapterTerms, str]] = {
    "a resource's own": (terms(), "/openai/responses?api-version=2025-04-01-preview"),
    "another version": (terms(api_version="2025-03-01-preview"), "/openai/responses?api-version=2025-03-01-preview"),
    "the v1 API": (terms(f"{RESOURCE}/openai/v1"), "/responses"),
}


@pytest.mark.parametrize("case", RESPONSES_PATHS)
def test_where_responses_are(case: str) -> None:
    """In one place for all deployments, which the body names; no version that is generally available has them."""
    made, path = RESPONSES_PATHS[case]
    call = AzureResponsesAdapter(replace(made, deployments={"o3-pro": "thinker"})).encode(
        HI, "azure", "o3-pro", stream=True
    )
    assert call.path == path
    assert body(call)["model"] == "thinker"
    assert body(call)["stream"] is True


def test_what_is_known_of_a_model_is_known_by_its_own_name() -> None:
    """Not by its deployment's."""
    made = replace(terms(gpt="d"), models={"gpt": ModelTerms(capabilities=frozenset())})
    assert "include" not in body(AzureResponsesAdapter(made).encode(HI, "azure", "gpt", stream=False))


def test_both_adapters_fit_the_interface_of_all_protocols() -> None:
    """The type checker holds them to it."""
    chat: Adapter = AzureOpenAIAdapter(terms())
    responses: Adapter = AzureResponsesAdapter(terms())
    assert chat.embeddings is not None
    assert responses.embeddings is None


def test_embeddings_of_a_deployment() -> None:
    """They are in its place, with its version."""
    embeddings = AzureOpenAIAdapter(terms(small="vectors")).embeddings
    assert embeddings is not None
    call = embeddings.encode_embed(EmbedRequest("search", ("hi",), "r-1"), "azure", "small")
    assert call.path == "/openai/deployments/vectors/embeddings?api-version=2024-10-21"
    assert json.loads(call.body)["input"] == ["hi"]
    assert embeddings.check_options({"model": "x"}, frozenset())
    assert embeddings.max_inputs("small") == 2048


VERSIONS: dict[str, frozenset[str]] = {
    "2024-02-01": frozenset(SINCE),
    "2024-08-01-preview": frozenset(SINCE) - {"json_schema"},
    "2024-10-21": frozenset(SINCE) - {"json_schema", "parallel_tool_calls"},
    "2024-12-01-preview": frozenset({"audio", "documents", "text_documents", "other_documents", "file_ids"}),
    "2025-04-01-preview": frozenset(),
    "preview": frozenset(),
}


@pytest.mark.parametrize("version", VERSIONS)
def test_what_a_version_does_not_have_yet_is_not_stated(version: str) -> None:
    """So a target that is called with it serves no request that asks for that."""
    features = AzureOpenAIAdapter(terms(api_version=version)).features
    assert frozenset(SINCE) - features == VERSIONS[version]
    assert AzureOpenAIAdapter(terms(f"{RESOURCE}/openai/v1")).features >= frozenset(SINCE)


def test_a_version_s_own_words_are_written() -> None:
    """The output limit, the developer's role and the wish for a stream's usage have names of their time."""
    request = ChatRequest(
        "default", (Message(Role.DEVELOPER, (TextPart("be brief"),)),), "r-1", sampling=Sampling(max_output_tokens=5)
    )
    old = body(called(terms(api_version="2024-06-01"), request, stream=True))
    assert old["max_tokens"] == 5
    assert old["messages"] == [{"role": "system", "content": "be brief"}]
    assert "stream_options" not in old
    new = body(called(terms(api_version="2024-12-01-preview"), request, stream=True))
    assert new["max_completion_tokens"] == 5
    assert new["messages"] == [{"role": "developer", "content": "be brief"}]
    assert new["stream_options"] == {"include_usage": True}


def test_what_a_version_lacks_is_left_out_with_a_warning() -> None:
    """Where the request gave it up."""
    request = replace(HI, sampling=Sampling(reasoning_effort=ReasoningEffort.LOW))
    call = called(terms(), request)
    assert "reasoning_effort" not in body(call)
    assert [warning.field for warning in call.warnings] == ["sampling.reasoning_effort"]


def test_the_search_that_azure_adds_to_a_model_costs() -> None:
    """It passes for callers who may."""
    adapter = AzureOpenAIAdapter(terms())
    options: dict[str, object] = {"data_sources": [], "n": 2, "user": "u"}
    assert [finding.path for finding in adapter.check_options(options, frozenset())] == ["n", "data_sources"]
    assert [finding.path for finding in adapter.check_options(options, frozenset({"data_sources"}))] == ["n"]
    assert AzureResponsesAdapter(terms()).check_options({"store": True}, frozenset())
