"""The Converse protocol behind the interface of all protocols."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trunkline_server.chat.answer import Answer
from trunkline_server.chat.request import ChatRequest
from trunkline_server.providers.base import NO_TERMS, AdapterTerms, OptionFinding, RateLimitHeaders, WireCall
from trunkline_server.providers.bedrock.claude import claude_traits, lacking
from trunkline_server.providers.bedrock.decode import decode_answer
from trunkline_server.providers.bedrock.embeddings import BedrockEmbeddings
from trunkline_server.providers.bedrock.encode import encode_call
from trunkline_server.providers.bedrock.errors import classify_response
from trunkline_server.providers.bedrock.families import FAMILIES, OTHER, Thinks, family_of
from trunkline_server.providers.bedrock.options import check_options
from trunkline_server.providers.bedrock.stream import BedrockStreamDecoder
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
    "audio",
    "other_audio",
    "video",
    "documents",
    "text_documents",
    "other_documents",
    "embedding_dimensions",
    "temperature",
    "top_p",
    "stop",
    "many_stops",
    "strict_tools",
)
"""What the protocol carries to any model. Which models can see or call tools is a fact about each of them."""

_BY_FAMILY: Final = {family.name: FEATURES | family.features for family in (*FAMILIES, OTHER)}


class BedrockAdapter:
    """Converse, whole and streamed, and embeddings. Without state: one instance serves any number of calls at once."""

    features: frozenset[str] = FEATURES

    def __init__(self, terms: AdapterTerms = NO_TERMS) -> None:
        self._terms = terms
        self.embeddings: EmbeddingAdapter | None = BedrockEmbeddings()

    @property
    def of_some_models(self) -> frozenset[str]:
        """What only some families take."""
        return frozenset().union(*_BY_FAMILY.values()) - FEATURES

    def features_of(self, model: str) -> frozenset[str]:
        """Return what is carried to this model: its family may take more than all do, its generation less."""
        family = family_of(model)
        found = _BY_FAMILY[family.name]
        return found - lacking(claude_traits(model)) if family.thinks is Thinks.CLAUDE else found

    def check_options(self, options: Mapping[str, object], allowed: frozenset[str]) -> list[OptionFinding]:
        """Return a finding for each key that has a typed field or raises cost and is not in `allowed`.

        The service's own fields are passed under their names, the model's own likewise; which of the two a key is,
        `options` knows.
        """
        return check_options(options, allowed)

    def encode(self, request: ChatRequest, provider: str, model: str, *, stream: bool) -> WireCall:
        """Write the call; options of the request must have passed `check_options`."""
        most = self._terms.model(model).max_output_tokens
        return encode_call(request, provider, model, stream=stream, max_output_tokens=most)

    def decode_answer(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:  # noqa: ARG002  the interface has it for protocols with meaningful 2xx codes
        """Read a whole 2xx answer; raise AttemptError if it is none."""
        return decode_answer(headers, body)

    def limits(self, headers: Mapping[str, str]) -> RateLimitHeaders | None:  # noqa: ARG002  the service says nothing of its limits
        """Return None: the service tells nobody what is left."""
        return None

    def stream_decoder(self, request: ChatRequest) -> BedrockStreamDecoder:  # noqa: ARG002  nothing of the request changes how this protocol's answer is read
        """Return a fresh decoder for one streamed 2xx response."""
        return BedrockStreamDecoder()

    def classify(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Classify a response that is not 2xx; header names are in lower case."""
        return classify_response(status, headers, body)
