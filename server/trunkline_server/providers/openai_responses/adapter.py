"""The Responses API behind the interface of all protocols."""

from __future__ import annotations

from collections.abc import Mapping

from trunkline_server.chat.answer import Answer
from trunkline_server.chat.request import ChatRequest
from trunkline_server.providers.base import NO_TERMS, AdapterTerms, OptionFinding, RateLimitHeaders, WireCall
from trunkline_server.providers.embedding import EmbeddingAdapter
from trunkline_server.providers.features import stated
from trunkline_server.providers.openai.classify import classify_response
from trunkline_server.providers.openai.limits import OPENAI as LIMITS
from trunkline_server.providers.openai.limits import read_limits
from trunkline_server.providers.openai_responses.decode import decode_answer
from trunkline_server.providers.openai_responses.encode import encode_call
from trunkline_server.providers.openai_responses.errors import TABLE
from trunkline_server.providers.openai_responses.options import check_options
from trunkline_server.providers.openai_responses.stream import ResponsesStreamDecoder
from trunkline_server.routing.failures import Failure

FEATURES = stated(
    "tools",
    "provider_tools",
    "tool_choice_required",
    "tool_choice_none",
    "tool_choice_function",
    "tool_result_images",
    "tool_result_documents",
    "json_object",
    "json_schema",
    "json_with_tools",
    "images",
    "other_images",
    "image_uris",
    "documents",
    "text_documents",
    "other_documents",
    "document_uris",
    "file_ids",
    "temperature",
    "high_temperature",
    "top_p",
    "logprobs",
    "top_logprobs",
    "reasoning_effort",
    "parallel_tool_calls",
    "strict_tools",
)
"""What the Responses API carries. It has neither seeds, penalties nor stop sequences."""


class ResponsesAdapter:
    """One response for each call, unary and streamed, and none of them stored at the provider."""

    embeddings: EmbeddingAdapter | None = None

    features: frozenset[str] = FEATURES

    def __init__(self, terms: AdapterTerms = NO_TERMS) -> None:
        self._terms = terms
        self._limits = terms.quirks.limits or LIMITS

    def check_options(self, options: Mapping[str, object], allowed: frozenset[str]) -> list[OptionFinding]:
        """Return a finding for each key that has a typed field or raises cost and is not in `allowed`.

        Keys that would break routing, decoding or accounting are refused even if `allowed` names them.
        """
        return check_options(options, allowed)

    def encode(self, request: ChatRequest, provider: str, model: str, *, stream: bool) -> WireCall:
        """Write the call; options of the request must have passed `check_options`."""
        return encode_call(request, provider, model, self._terms.model(model), stream=stream)

    def decode_answer(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:  # noqa: ARG002  the interface has it for protocols with meaningful 2xx codes
        """Read a whole 2xx answer; raise AttemptError if it is none."""
        return decode_answer(headers, body, TABLE)

    def limits(self, headers: Mapping[str, str]) -> RateLimitHeaders | None:
        """Read the `x-ratelimit-…` headers, or what the server has in their place; names are in lower case."""
        return read_limits(headers, self._limits)

    def stream_decoder(self, request: ChatRequest) -> ResponsesStreamDecoder:  # noqa: ARG002  nothing of the request changes how this protocol's answer is read
        """Return a fresh decoder for one streamed 2xx response."""
        return ResponsesStreamDecoder(TABLE)

    def classify(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Classify a response that is not 2xx; header names are in lower case."""
        return classify_response(status, headers, body, TABLE)
