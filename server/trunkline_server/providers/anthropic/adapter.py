"""The Messages API behind the interface of all protocols."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trunkline_server.chat.answer import Answer
from trunkline_server.chat.request import ChatRequest
from trunkline_server.providers.anthropic.classify import classify_response
from trunkline_server.providers.anthropic.decode import decode_answer
from trunkline_server.providers.anthropic.encode import Encoder
from trunkline_server.providers.anthropic.limits import read_limits
from trunkline_server.providers.anthropic.options import check_options
from trunkline_server.providers.anthropic.stream import AnthropicStreamDecoder
from trunkline_server.providers.base import NO_TERMS, AdapterTerms, OptionFinding, RateLimitHeaders, WireCall
from trunkline_server.providers.embedding import EmbeddingAdapter
from trunkline_server.providers.features import stated
from trunkline_server.routing.failures import Failure

FEATURES: Final = stated(
    "tools",
    "provider_tools",
    "tool_choice_required",
    "tool_choice_none",
    "tool_choice_function",
    "tool_result_images",
    "tool_result_documents",
    "json_schema",
    "json_with_tools",
    "images",
    "image_uris",
    "documents",
    "text_documents",
    "document_uris",
    "file_ids",
    "temperature",
    "top_p",
    "top_k",
    "stop",
    "many_stops",
    "reasoning_effort",
    "reasoning_max_tokens",
    "parallel_tool_calls",
    "strict_tools",
)
"""What the protocol carries, for the models that take most."""


class AnthropicAdapter:
    """The Messages API, unary and streamed. Without state: one instance serves any number of calls at once."""

    embeddings: EmbeddingAdapter | None = None

    features: frozenset[str] = FEATURES

    def __init__(self, terms: AdapterTerms = NO_TERMS) -> None:
        self._encoder = Encoder(terms)

    def features_of(self, model: str) -> frozenset[str]:
        """Return what it can carry for one model: later ones take no sampling parameters, budgets or forced calls."""
        return FEATURES - self._encoder.lacking(model)

    def check_options(self, options: Mapping[str, object], allowed: frozenset[str]) -> list[OptionFinding]:
        """Return a finding for each key that has a typed field or raises cost and is not in `allowed`.

        `model`, `messages`, `stream`, `thread` and `compaction` are refused even if `allowed` names them: another
        value would break routing, decoding or accounting.
        """
        return check_options(options, allowed)

    def encode(self, request: ChatRequest, provider: str, model: str, *, stream: bool) -> WireCall:
        """Write the call; options of the request must have passed `check_options`."""
        return self._encoder.encode(request, provider, model, stream=stream)

    def decode_answer(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:  # noqa: ARG002  the interface has it for protocols with meaningful 2xx codes
        """Read a whole 2xx answer; raise AttemptError if it is none."""
        return decode_answer(headers, body)

    def limits(self, headers: Mapping[str, str]) -> RateLimitHeaders | None:
        """Read the `anthropic-ratelimit-…` headers; names are in lower case."""
        return read_limits(headers)

    def stream_decoder(self, request: ChatRequest) -> AnthropicStreamDecoder:  # noqa: ARG002  nothing of the request changes how this protocol's answer is read
        """Return a fresh decoder for one streamed 2xx response."""
        return AnthropicStreamDecoder()

    def classify(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Classify a response that is not 2xx; header names are in lower case."""
        return classify_response(status, headers, body)
