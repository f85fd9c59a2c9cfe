"""Azure OpenAI behind the interface of all protocols: what OpenAI's adapters write and read, in Azure's places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from trunkline_server.chat.answer import Answer
from trunkline_server.chat.embedding import EmbedAnswer, EmbedRequest
from trunkline_server.chat.request import ChatRequest
from trunkline_server.providers.azure_openai.classify import classify_response
from trunkline_server.providers.azure_openai.errors import RESPONSES_TABLE, TABLE
from trunkline_server.providers.azure_openai.filters import flagged_content
from trunkline_server.providers.azure_openai.places import CHAT, EMBEDDINGS, Places
from trunkline_server.providers.azure_openai.stream import AzureStreamDecoder
from trunkline_server.providers.azure_openai.versions import quirks_of
from trunkline_server.providers.base import NO_TERMS, AdapterTerms, OptionFinding, RateLimitHeaders, WireCall
from trunkline_server.providers.embedding import EmbeddingAdapter
from trunkline_server.providers.openai import OpenAIAdapter
from trunkline_server.providers.openai.decode import decode_answer
from trunkline_server.providers.openai_responses import ResponsesAdapter, ResponsesStreamDecoder
from trunkline_server.providers.openai_responses.decode import decode_answer as decode_response
from trunkline_server.providers.openai_responses.encode import encode_call as encode_response_call
from trunkline_server.routing.failures import Failure

_DATA_SOURCES: Final = "data_sources"
_COSTS: Final = "raises cost, since it searches data of the account; not allowed to this caller"


class AzureOpenAIAdapter:
    """Chat completions of deployments, unary and streamed, and their embeddings."""

    def __init__(self, terms: AdapterTerms = NO_TERMS) -> None:
        self._chat = OpenAIAdapter(replace(terms, quirks=quirks_of(terms)))
        self._places = Places(terms)
        inner = self._chat.embeddings
        self.embeddings: EmbeddingAdapter | None = None if inner is None else _AzureEmbeddings(inner, self._places)
        self.features: frozenset[str] = self._chat.features

    def check_options(self, options: Mapping[str, object], allowed: frozenset[str]) -> list[OptionFinding]:
        """Return the findings that OpenAI's options have, and one for the search that Azure adds to a model."""
        findings = self._chat.check_options(options, allowed)
        if _DATA_SOURCES in options and _DATA_SOURCES not in allowed:
            findings.append(OptionFinding(_DATA_SOURCES, _COSTS))
        return findings

    def encode(self, request: ChatRequest, provider: str, model: str, *, stream: bool) -> WireCall:
        """Write the call for the deployment of `model`; options of the request must have passed `check_options`."""
        deployment = self._places.deployment(model)
        call = self._chat.encode(request, provider, deployment, stream=stream)
        return replace(call, path=self._places.path(deployment, CHAT))

    def decode_answer(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:  # noqa: ARG002  the interface has it for protocols with meaningful 2xx codes
        """Read a whole 2xx answer, with a warning for what the content filter marked; raise AttemptError if none."""
        answer = decode_answer(headers, body, TABLE)
        flagged = flagged_content(body)
        return replace(answer, warnings=answer.warnings + flagged) if flagged else answer

    def limits(self, headers: Mapping[str, str]) -> RateLimitHeaders | None:
        """Read the `x-ratelimit-…` headers; names are in lower case. Azure writes -1 for what it does not know."""
        return self._chat.limits(headers)

    def stream_decoder(self, request: ChatRequest) -> AzureStreamDecoder:  # noqa: ARG002  nothing of the request changes how this protocol's answer is read
        """Return a fresh decoder for one streamed 2xx response."""
        return AzureStreamDecoder()

    def classify(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Classify a response that is not 2xx; header names are in lower case."""
        return classify_response(status, headers, body, TABLE)


class AzureResponsesAdapter:
    """Responses of deployments, unary and streamed."""

    embeddings: EmbeddingAdapter | None = None

    def __init__(self, terms: AdapterTerms = NO_TERMS) -> None:
        self._terms = terms
        self._responses = ResponsesAdapter(terms)
        self._places = Places(terms)
        self.features: frozenset[str] = self._responses.features

    def check_options(self, options: Mapping[str, object], allowed: frozenset[str]) -> list[OptionFinding]:
        """Return the findings that OpenAI's options have."""
        return self._responses.check_options(options, allowed)

    def encode(self, request: ChatRequest, provider: str, model: str, *, stream: bool) -> WireCall:
        """Write the call for the deployment of `model`; options of the request must have passed `check_options`."""
        deployment = self._places.deployment(model)
        known = self._terms.model(model)
        return encode_response_call(request, provider, deployment, known, stream=stream, path=self._places.responses)

    def decode_answer(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:  # noqa: ARG002  the interface has it for protocols with meaningful 2xx codes
        """Read a whole 2xx answer; raise AttemptError if it is none."""
        return decode_response(headers, body, RESPONSES_TABLE)

    def limits(self, headers: Mapping[str, str]) -> RateLimitHeaders | None:
        """Read the `x-ratelimit-…` headers; names are in lower case. Azure writes -1 for what it does not know."""
        return self._responses.limits(headers)

    def stream_decoder(self, request: ChatRequest) -> ResponsesStreamDecoder:  # noqa: ARG002  nothing of the request changes how this protocol's answer is read
        """Return a fresh decoder for one streamed 2xx response."""
        return ResponsesStreamDecoder(RESPONSES_TABLE)

    def classify(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Classify a response that is not 2xx; header names are in lower case."""
        return classify_response(status, headers, body, RESPONSES_TABLE)


class _AzureEmbeddings:
    """Embeddings of deployments."""

    def __init__(self, inner: EmbeddingAdapter, places: Places) -> None:
        self._inner = inner
        self._places = places

    def max_inputs(self, model: str) -> int:
        """Return how many inputs one call takes."""
        return self._inner.max_inputs(model)

    def check_options(self, options: Mapping[str, object], allowed: frozenset[str]) -> list[OptionFinding]:
        """Return the findings that OpenAI's options have."""
        return self._inner.check_options(options, allowed)

    def encode_embed(self, request: EmbedRequest, provider: str, model: str) -> WireCall:
        """Write the call for the deployment of `model`."""
        deployment = self._places.deployment(model)
        call = self._inner.encode_embed(request, provider, deployment)
        return replace(call, path=self._places.path(deployment, EMBEDDINGS))

    def decode_embed(self, request: EmbedRequest, status: int, headers: Mapping[str, str], body: bytes) -> EmbedAnswer:
        """Read a whole 2xx answer; raise AttemptError if it is none."""
        return self._inner.decode_embed(request, status, headers, body)
