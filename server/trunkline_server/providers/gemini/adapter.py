"""The Gemini protocol behind the interface of all protocols."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trunkline_server.chat.answer import Answer
from trunkline_server.chat.request import ChatRequest
from trunkline_server.providers.base import NO_TERMS, AdapterTerms, OptionFinding, RateLimitHeaders, WireCall
from trunkline_server.providers.embedding import EmbeddingAdapter
from trunkline_server.providers.features import stated
from trunkline_server.providers.gemini.classify import classify_response
from trunkline_server.providers.gemini.decode import decode_answer
from trunkline_server.providers.gemini.embeddings import GeminiEmbeddings
from trunkline_server.providers.gemini.encode import encode_call
from trunkline_server.providers.gemini.models import Thinking, traits_of
from trunkline_server.providers.gemini.options import check_options
from trunkline_server.providers.gemini.place import place_of
from trunkline_server.providers.gemini.stream import GeminiStreamDecoder
from trunkline_server.routing.failures import Failure

FEATURES: Final = stated(
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
    "audio",
    "other_audio",
    "audio_uris",
    "video",
    "video_uris",
    "documents",
    "text_documents",
    "other_documents",
    "document_uris",
    "file_ids",
    "assistant_media",
    "embedding_dimensions",
    "temperature",
    "high_temperature",
    "top_p",
    "top_k",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "wide_penalties",
    "stop",
    "logprobs",
    "top_logprobs",
    "reasoning_effort",
    "reasoning_max_tokens",
)
"""What the protocol carries to today's models."""

_NOT_OF_OLD: Final = stated("json_with_tools", "tool_result_images", "tool_result_documents")
"""What came with the third generation."""

_OF_THINKING: Final = stated("reasoning_effort", "reasoning_max_tokens")
"""What models before 2.5 lack besides."""


class GeminiAdapter:
    """generateContent, unary and streamed. Without state: one instance serves any number of calls at once.

    The base URL says which of Google's services it is: `https://generativelanguage.googleapis.com/v1beta` (or without
    the version), or for Vertex AI `https://LOCATION-aiplatform.googleapis.com/v1/projects/PROJECT/locations/LOCATION/publishers/google`.
    """

    features: frozenset[str] = FEATURES

    def __init__(self, terms: AdapterTerms = NO_TERMS) -> None:
        self._provider = terms.provider
        self._place = place_of(terms.base_url)
        self.embeddings: EmbeddingAdapter | None = GeminiEmbeddings(terms)

    def features_of(self, model: str) -> frozenset[str]:
        """Return what is carried to this model: less to those of older generations."""
        thinking = traits_of(model).thinking
        if thinking is Thinking.LEVEL:
            return FEATURES
        return FEATURES - _NOT_OF_OLD - (_OF_THINKING if thinking is Thinking.NONE else frozenset())

    def check_options(self, options: Mapping[str, object], allowed: frozenset[str]) -> list[OptionFinding]:
        """Return a finding for each key that has a typed field or raises cost and is not in `allowed`.

        `contents`, `model` and `generationConfig.candidateCount` are refused even if `allowed` names them: another
        value would break routing, decoding or accounting.
        """
        return check_options(options, allowed)

    def encode(self, request: ChatRequest, provider: str, model: str, *, stream: bool) -> WireCall:
        """Write the call; options of the request must have passed `check_options`."""
        return encode_call(request, provider, model, self._place, stream=stream)

    def decode_answer(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:  # noqa: ARG002  the interface has it for protocols with meaningful 2xx codes
        """Read a whole 2xx answer; raise AttemptError if it is none."""
        return decode_answer(headers, body, self._provider)

    def limits(self, headers: Mapping[str, str]) -> RateLimitHeaders | None:  # noqa: ARG002  Google tells no limits
        """Return None: a response says nothing of its key's limits."""
        return None

    def stream_decoder(self, request: ChatRequest) -> GeminiStreamDecoder:  # noqa: ARG002  nothing of the request changes how this protocol's answer is read
        """Return a fresh decoder for one streamed 2xx response."""
        return GeminiStreamDecoder()

    def classify(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Classify a response that is not 2xx; header names are in lower case."""
        return classify_response(status, headers, body)
