"""The OpenAI chat-completions protocol behind the interface of all protocols."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trunkline_server.chat.answer import Answer
from trunkline_server.chat.request import ChatRequest
from trunkline_server.providers.base import NO_TERMS, AdapterTerms, OptionFinding, RateLimitHeaders, WireCall
from trunkline_server.providers.embedding import EmbeddingAdapter
from trunkline_server.providers.features import stated
from trunkline_server.providers.openai.classify import classify_response
from trunkline_server.providers.openai.decode import decode_answer
from trunkline_server.providers.openai.embeddings import OpenAIEmbeddings
from trunkline_server.providers.openai.encode import encode_call
from trunkline_server.providers.openai.errors import table_with
from trunkline_server.providers.openai.limits import OPENAI as LIMITS
from trunkline_server.providers.openai.limits import read_limits
from trunkline_server.providers.openai.options import check_options
from trunkline_server.providers.openai.stream import OpenAIStreamDecoder
from trunkline_server.routing.failures import Failure

FEATURES: Final = stated(
    "tools", "provider_tools", "tool_choice_required", "tool_choice_none", "tool_choice_function",
    "json_object", "json_schema", "json_with_tools",
    "images", "other_images", "image_uris", "audio", "documents", "text_documents", "other_documents", "file_ids",
    "temperature", "high_temperature", "top_p", "seed", "frequency_penalty", "presence_penalty", "wide_penalties",
    "stop", "logprobs", "top_logprobs", "reasoning_effort", "parallel_tool_calls", "message_name", "strict_tools",
    "embedding_dimensions",
)  # fmt: skip
"""What chat completions carry, and embeddings beside them."""


class OpenAIAdapter:
    """Chat completions, unary and streamed, of OpenAI itself or of a server that differs from it by its quirks."""

    embeddings: EmbeddingAdapter | None = None

    features: frozenset[str] = FEATURES

    def __init__(self, terms: AdapterTerms = NO_TERMS) -> None:
        self._terms = terms
        quirks = self._quirks = terms.quirks
        if "embeddings" not in quirks.lacks:
            self.embeddings = OpenAIEmbeddings(quirks)
        self.features = FEATURES - quirks.lacks | quirks.adds
        self._table = table_with(quirks.statuses)
        self._limits = quirks.limits or LIMITS

    def check_options(self, options: Mapping[str, object], allowed: frozenset[str]) -> list[OptionFinding]:
        """Return a finding for each key that has a typed field or raises cost and is not in `allowed`.

        `model`, `messages`, `stream`, `stream_options` and `n` are refused even if `allowed` names them: another
        value would break routing, decoding or accounting.
        """
        return check_options(options, allowed)

    def encode(self, request: ChatRequest, provider: str, model: str, *, stream: bool) -> WireCall:
        """Write the call; options of the request must have passed `check_options`."""
        return encode_call(request, provider, model, stream=stream, quirks=self._quirks)

    def decode_answer(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:  # noqa: ARG002  the interface has it for protocols with meaningful 2xx codes
        """Read a whole 2xx answer; raise AttemptError if it is none."""
        return decode_answer(headers, body, self._table)

    def limits(self, headers: Mapping[str, str]) -> RateLimitHeaders | None:
        """Read the `x-ratelimit-…` headers, or what the server has in their place; names are in lower case."""
        return read_limits(headers, self._limits)

    def stream_decoder(self, request: ChatRequest) -> OpenAIStreamDecoder:  # noqa: ARG002  nothing of the request changes how this protocol's answer is read
        """Return a fresh decoder for one streamed 2xx response."""
        return OpenAIStreamDecoder(self._table)

    def classify(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Classify a response that is not 2xx; header names are in lower case."""
        return classify_response(status, headers, body, self._table)
