"""Cohere's v2 chat protocol behind the interface of all protocols."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trunkline_server.chat.answer import Answer
from trunkline_server.chat.request import ChatRequest
from trunkline_server.providers.base import NO_TERMS, AdapterTerms, OptionFinding, RateLimitHeaders, WireCall
from trunkline_server.providers.cohere.decode import decode_answer
from trunkline_server.providers.cohere.embeddings import CohereEmbeddings
from trunkline_server.providers.cohere.encode import encode_call
from trunkline_server.providers.cohere.errors import classify_response
from trunkline_server.providers.cohere.limits import read_limits
from trunkline_server.providers.cohere.options import check_options
from trunkline_server.providers.cohere.stream import CohereStreamDecoder
from trunkline_server.providers.embedding import EmbeddingAdapter
from trunkline_server.providers.features import stated
from trunkline_server.routing.failures import Failure

FEATURES: Final = stated(
    "tools", "tool_choice_required", "tool_choice_none", "tool_choice_function", "strict_tools",
    "json_object", "json_schema", "images", "image_uris", "text_documents",
    "temperature", "top_p", "top_k", "seed", "frequency_penalty", "presence_penalty", "stop", "logprobs",
    "reasoning_effort", "reasoning_max_tokens", "embedding_dimensions",
)  # fmt: skip
"""What the chat API carries, and embeddings beside it."""

_VERSION: Final = "/v2"


class CohereAdapter:
    """Chat, unary and streamed. Without state: one instance serves any number of calls at once."""

    features: frozenset[str] = FEATURES

    def __init__(self, terms: AdapterTerms = NO_TERMS) -> None:
        """Take the terms of a provider, whose base URL may have the API's version in it or not."""
        self._provider = terms.provider
        version = "" if terms.base_url.endswith(_VERSION) else _VERSION
        self._path = f"{version}/chat"
        self.embeddings: EmbeddingAdapter | None = CohereEmbeddings(f"{version}/embed")

    def check_options(self, options: Mapping[str, object], allowed: frozenset[str]) -> list[OptionFinding]:
        """Return a finding for each key that has a typed field and is not in `allowed`.

        `model`, `messages` and `stream` are refused even if `allowed` names them.
        """
        return check_options(options, allowed)

    def encode(self, request: ChatRequest, provider: str, model: str, *, stream: bool) -> WireCall:
        """Write the call; options of the request must have passed `check_options`."""
        return encode_call(request, provider, model, self._path, stream=stream)

    def decode_answer(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:  # noqa: ARG002  the interface has them for other protocols
        """Read a whole 2xx answer; raise AttemptError if it is none."""
        return decode_answer(body, self._provider)

    def limits(self, headers: Mapping[str, str]) -> RateLimitHeaders | None:
        """Read the headers that responses to trial keys have; names are in lower case."""
        return read_limits(headers)

    def stream_decoder(self, request: ChatRequest) -> CohereStreamDecoder:  # noqa: ARG002  nothing of the request changes how the answer is read
        """Return a fresh decoder for one streamed 2xx response."""
        return CohereStreamDecoder()

    def classify(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Classify a response that is not 2xx; header names are in lower case."""
        return classify_response(status, headers, body)
