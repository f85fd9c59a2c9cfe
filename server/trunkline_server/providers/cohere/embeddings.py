"""`POST /v2/embed`: texts in, vectors out.

Vectors are asked for as base64 of little-endian floats, a quarter of the bytes of decimals; lists of numbers are read
too. An input that is too long is refused, not cut: the API's own default would cut it in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from trunkline_server.chat.embedding import EmbedAnswer, EmbedInputType, EmbedRequest
from trunkline_server.providers.base import OptionFinding, WireCall
from trunkline_server.providers.cohere.wire import TokenCounts
from trunkline_server.providers.embedding import embed_answer, vector_of_bytes, vector_of_numbers
from trunkline_server.providers.failures import protocol_error
from trunkline_server.providers.json_wire import DECODING_ERRORS, encode_json

MAX_INPUTS: Final = 96
"""The API refuses more in one call."""

MACHINE_KEYS: Final = frozenset({"model", "texts", "inputs", "images", "embedding_types"})
"""Refused whatever the operator allows: another value would break routing or decoding."""

TYPED_KEYS: Final = {"input_type": "input_type", "output_dimension": "dimensions"}
"""Keys that have a typed field of the request, and that field."""

_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {"content-type": "application/json", "accept": "application/json"},
)
_INPUT_TYPES: Final = {
    None: "search_document",
    EmbedInputType.DOCUMENT: "search_document",
    EmbedInputType.QUERY: "search_query",
    EmbedInputType.CLASSIFICATION: "classification",
    EmbedInputType.CLUSTERING: "clustering",
}
_MAX_COUNT: Final = 2.0**63


class _Embeddings(msgspec.Struct, gc=False):
    """Vectors by the encoding that was asked for."""

    base64: list[bytes] | None = None
    floats: list[list[float]] | None = msgspec.field(name="float", default=None)


class _Meta(msgspec.Struct, gc=False):
    """What was counted: the tokens that are paid for, and those that went through the model."""

    tokens: TokenCounts | None = None
    billed_units: TokenCounts | None = None


class _Answer(msgspec.Struct, gc=False):
    """The body of a 2xx answer."""

    embeddings: _Embeddings | None = None
    meta: _Meta | None = None


_decode: Final = msgspec.json.Decoder(_Answer).decode


class CohereEmbeddings:
    """Texts as vectors. Without state: one instance serves any number of calls at once."""

    def __init__(self, path: str) -> None:
        """Take the path behind the provider's base URL."""
        self._path = path

    def max_inputs(self, model: str) -> int:  # noqa: ARG002  the same for every model
        """Return how many inputs one call takes."""
        return MAX_INPUTS

    def check_options(self, options: Mapping[str, object], allowed: frozenset[str]) -> list[OptionFinding]:
        """Return a finding for each key that is not the caller's to pass."""
        found: list[OptionFinding] = []
        for key in options:
            if key in MACHINE_KEYS:
                found.append(OptionFinding(key, "written by the gateway itself; it cannot be allowed"))
            elif key in TYPED_KEYS and key not in allowed:
                found.append(OptionFinding(key, f"has a field of its own in the request: {TYPED_KEYS[key]}"))
        return found

    def encode_embed(self, request: EmbedRequest, provider: str, model: str) -> WireCall:
        """Write the call; options of the request must have passed `check_options`."""
        body: dict[str, Any] = {
            "model": model,
            "texts": request.inputs,
            "input_type": _INPUT_TYPES[request.input_type],
            "embedding_types": ("base64",),
            "truncate": "NONE",
        }
        if request.dimensions is not None:
            body["output_dimension"] = request.dimensions
        options = request.provider_options.get(provider)
        if options:
            body.update(options)
        return WireCall(self._path, _HEADERS, encode_json(body))

    def decode_embed(
        self,
        request: EmbedRequest,
        status: int,  # noqa: ARG002  the interface has it for protocols with meaningful 2xx codes
        headers: Mapping[str, str],  # noqa: ARG002  likewise
        body: bytes,
    ) -> EmbedAnswer:
        """Read a whole 2xx answer; raise AttemptError if it is none."""
        try:
            wire = _decode(body)
        except DECODING_ERRORS:
            raise protocol_error("no JSON of embeddings") from None  # the cause may hold the answer's words
        found = wire.embeddings or _Embeddings()
        if found.base64 is not None:
            vectors = [vector_of_bytes(raw) for raw in found.base64]
        else:
            vectors = [vector_of_numbers(numbers) for numbers in found.floats or ()]
        return embed_answer(request, vectors, _count(wire.meta))


def _count(meta: _Meta | None) -> int | None:
    """Return the provider's count; one that no count is, is none."""
    counts = None if meta is None else meta.tokens or meta.billed_units
    value = None if counts is None else counts.input_tokens
    return int(value) if value is not None and 0 <= value < _MAX_COUNT else None
