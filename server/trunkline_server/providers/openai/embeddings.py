"""`POST /embeddings`: texts in, vectors out, of OpenAI and of the many servers that speak its protocol.

Vectors are asked for as base64 of little-endian floats: a quarter of the bytes of decimals, and a tenth of the time to
read them. Servers that do not know the setting, or ignore it, send lists of numbers: both are read, whatever was
asked for.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from trunkline_server.chat.embedding import EmbedAnswer, EmbedRequest
from trunkline_server.providers.base import AttemptError, OptionFinding, WireCall
from trunkline_server.providers.embedding import embed_answer, in_order, vector_of_bytes, vector_of_numbers
from trunkline_server.providers.failures import protocol_error
from trunkline_server.providers.json_wire import DECODING_ERRORS, encode_json
from trunkline_server.providers.openai.classify import classify_under_ok
from trunkline_server.providers.openai.wire import holds_error
from trunkline_server.providers.quirks import NO_QUIRKS, Quirks
from trunkline_server.providers.unsupported import unsupported

PATH: Final = "/embeddings"

MACHINE_KEYS: Final = frozenset({"model", "input", "encoding_format"})
"""Refused whatever the operator allows: another value would break routing or decoding."""

_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {"content-type": "application/json", "accept": "application/json"},
)
_MAX_COUNT: Final = 2**63


class _Vector(msgspec.Struct, gc=False):
    """One vector and the place of its input. Some servers send no index: they keep the order."""

    embedding: bytes | list[float]
    index: int | None = None


class _Usage(msgspec.Struct, gc=False):
    """Tokens as the provider counted them; a whole number may be written as 12.0."""

    prompt_tokens: int | float | None = None


class _Answer(msgspec.Struct, gc=False):
    """The body of a 2xx answer. `error` is there when a server reports a failure under a 200."""

    data: list[_Vector] | None = None
    usage: _Usage | None = None
    error: msgspec.Raw = msgspec.Raw()


_decode: Final = msgspec.json.Decoder(_Answer).decode


class OpenAIEmbeddings:
    """Texts as vectors. Without state: one instance serves any number of calls at once."""

    def __init__(self, quirks: Quirks = NO_QUIRKS) -> None:
        """Take in what the server differs from OpenAI's."""
        self._max_inputs = quirks.max_inputs
        self._dimensions_field = quirks.dimensions_field
        self._input_types = quirks.input_types
        self._typed_keys: dict[str, str] = {quirks.dimensions_field: "dimensions"}
        if quirks.input_types:
            self._typed_keys["input_type"] = "input_type"

    def max_inputs(self, model: str) -> int:  # noqa: ARG002  the same for every model
        """Return how many inputs one call takes."""
        return self._max_inputs

    def check_options(self, options: Mapping[str, object], allowed: frozenset[str]) -> list[OptionFinding]:
        """Return a finding for each key that is not the caller's to pass.

        `model`, `input` and `encoding_format` are refused even if `allowed` names them.
        """
        found: list[OptionFinding] = []
        for key in options:
            if key in MACHINE_KEYS:
                found.append(OptionFinding(key, "written by the gateway itself; it cannot be allowed"))
            elif key in self._typed_keys and key not in allowed:
                found.append(OptionFinding(key, f"has a field of its own in the request: {self._typed_keys[key]}"))
        return found

    def encode_embed(self, request: EmbedRequest, provider: str, model: str) -> WireCall:
        """Write the call; options of the request must have passed `check_options`."""
        body: dict[str, Any] = {"model": model, "input": request.inputs, "encoding_format": "base64"}
        if request.dimensions is not None:
            body[self._dimensions_field] = request.dimensions
        kind = request.input_type
        word = self._input_types.get("unsaid" if kind is None else kind.value)
        if word is not None:
            body["input_type"] = word
        options = request.provider_options.get(provider)
        if options:
            body.update(options)
        unsaid = kind is not None and word is None
        warnings = (unsupported("input_type", "the OpenAI embeddings API"),) if unsaid else ()
        return WireCall(PATH, _HEADERS, encode_json(body), warnings)

    def decode_embed(
        self,
        request: EmbedRequest,
        status: int,  # noqa: ARG002  the interface has it for protocols with meaningful 2xx codes
        headers: Mapping[str, str],
        body: bytes,
    ) -> EmbedAnswer:
        """Read a whole 2xx answer; raise AttemptError if it is none."""
        try:
            wire = _decode(body)
        except DECODING_ERRORS:
            raise protocol_error("no JSON of embeddings") from None  # the cause may hold the answer's words
        if holds_error(wire.error):
            raise AttemptError(classify_under_ok(body, headers))
        data = wire.data or []
        vectors = in_order(
            ((place if vector.index is None else vector.index, _floats(vector)) for place, vector in enumerate(data)),
            len(request.inputs),
        )
        return embed_answer(request, vectors, _count(wire.usage))


def _floats(vector: _Vector) -> array[float]:
    embedding = vector.embedding
    return vector_of_bytes(embedding) if isinstance(embedding, bytes) else vector_of_numbers(embedding)


def _count(usage: _Usage | None) -> int | None:
    """Return the provider's count; one that no count is, is none."""
    value = None if usage is None else usage.prompt_tokens
    return int(value) if value is not None and 0 <= value < _MAX_COUNT else None
