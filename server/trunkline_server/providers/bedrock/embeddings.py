"""Embeddings by InvokeModel, whose bodies are those of each model's maker: Amazon Titan and Cohere.

Titan takes one text a call, and Cohere a list of them; several texts are never spread over several calls here, since
one attempt is one call.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from trunkline_server.chat.answer import Warning_
from trunkline_server.chat.embedding import EmbedAnswer, EmbedInputType, EmbedRequest
from trunkline_server.providers.base import OptionFinding, WireCall
from trunkline_server.providers.bedrock.encode import model_path
from trunkline_server.providers.embedding import embed_answer, not_vectors, vector_of_numbers
from trunkline_server.providers.json_wire import DECODING_ERRORS, encode_json
from trunkline_server.providers.unsupported import unsupported

MAX_COHERE_INPUTS: Final = 96
_COHERE: Final = "cohere.embed"
_TOKENS_HEADER: Final = "x-amzn-bedrock-input-token-count"
_MAX_TOKENS: Final = 2**53

_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {"content-type": "application/json", "accept": "application/json"},
)
_INPUT_TYPES: Final = {
    EmbedInputType.QUERY: "search_query",
    EmbedInputType.DOCUMENT: "search_document",
    EmbedInputType.CLASSIFICATION: "classification",
    EmbedInputType.CLUSTERING: "clustering",
}
_TYPED_KEYS: Final = {
    "inputText": "inputs",
    "texts": "inputs",
    "inputs": "inputs",
    "images": "inputs",
    "dimensions": "dimensions",
    "output_dimension": "dimensions",
    "input_type": "input_type",
}
_MACHINE_KEYS: Final = frozenset({"inputText", "texts", "inputs", "images", "embeddingTypes", "embedding_types"})
"""Other values would be other inputs than were counted, or vectors that cannot be read."""


class TitanWire(msgspec.Struct, gc=False, rename="camel"):
    """The answer of a Titan model."""

    embedding: list[float] | None = None
    embeddings_by_type: dict[str, list[float]] | None = None
    input_text_token_count: int | None = None


class CohereWire(msgspec.Struct, gc=False):
    """The answer of a Cohere model: vectors by type, as asked for, or one list of them."""

    embeddings: dict[str, list[list[float]]] | list[list[float]] | None = None


_decode_titan: Final = msgspec.json.Decoder(TitanWire).decode
_decode_cohere: Final = msgspec.json.Decoder(CohereWire).decode


class BedrockEmbeddings:
    """Titan's and Cohere's embeddings. Without state: one instance serves any number of calls at once."""

    def max_inputs(self, model: str) -> int:
        """Return how many texts one call takes: one, but for Cohere's models."""
        return MAX_COHERE_INPUTS if _COHERE in model else 1

    def check_options(self, options: Mapping[str, object], allowed: frozenset[str]) -> list[OptionFinding]:
        """Return a finding for each key that has a typed field, or is the gateway's own to write."""
        findings: list[OptionFinding] = []
        for key in options:
            if key in _MACHINE_KEYS:
                findings.append(OptionFinding(key, "written by the gateway itself; it cannot be allowed"))
            elif key in _TYPED_KEYS and key not in allowed:
                findings.append(OptionFinding(key, f"has a field of its own in the request: {_TYPED_KEYS[key]}"))
        return findings

    def encode_embed(self, request: EmbedRequest, provider: str, model: str) -> WireCall:
        """Write the call for `model` of the provider named `provider`; `inputs` are no more than `max_inputs`."""
        warnings: list[Warning_] = []
        body = _cohere(request) if _COHERE in model else _titan(request, warnings)
        body.update(request.provider_options.get(provider, {}))
        return WireCall(model_path(model, "invoke"), _HEADERS, encode_json(body), tuple(warnings))

    def decode_embed(
        self,
        request: EmbedRequest,
        status: int,  # noqa: ARG002  the interface has it for protocols with meaningful 2xx codes
        headers: Mapping[str, str],
        body: bytes,
    ) -> EmbedAnswer:
        """Read a whole 2xx answer to `request`; raise AttemptError if it is none.

        The two forms have no field in common, so the body itself says whose it is.
        """
        try:
            titan = _decode_titan(body)
            cohere = _decode_cohere(body) if titan.embedding is None and titan.embeddings_by_type is None else None
        except DECODING_ERRORS:
            raise not_vectors("no JSON of embeddings") from None  # the cause may hold the answer's words
        tokens = _tokens(headers.get(_TOKENS_HEADER))
        if cohere is not None:
            return embed_answer(request, [vector_of_numbers(vector) for vector in _lists(cohere)], tokens)
        vector = titan.embedding or (titan.embeddings_by_type or {}).get("float")
        if vector is None:
            raise not_vectors("no vector in it")
        counted = titan.input_text_token_count
        return embed_answer(request, [vector_of_numbers(vector)], tokens if counted is None or counted < 0 else counted)


def _titan(request: EmbedRequest, warnings: list[Warning_]) -> dict[str, Any]:
    body: dict[str, Any] = {"inputText": request.inputs[0]}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    if request.input_type is not None:
        warnings.append(unsupported("input_type", "Titan's embeddings", "what the vectors are for"))
    return body


def _cohere(request: EmbedRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "texts": request.inputs,
        "input_type": _INPUT_TYPES[request.input_type or EmbedInputType.DOCUMENT],
        "embedding_types": ["float"],
    }
    if request.dimensions is not None:
        body["output_dimension"] = request.dimensions
    return body


def _lists(wire: CohereWire) -> list[list[float]]:
    found = wire.embeddings
    vectors = found.get("float") if isinstance(found, dict) else found
    if vectors is None:
        raise not_vectors("no vector in it")
    return vectors


def _tokens(value: str | None) -> int | None:
    """Return the count that a header says, if it is one."""
    if value is None or not value.isascii() or not value.isdecimal() or len(value) > len(str(_MAX_TOKENS)):
        return None
    return int(value)
