"""Texts in, vectors out: `batchEmbedContents`, and on Vertex AI `predict` for the models that are older than that.

Sources, as of 2026-11: google-genai 3.4.0, whose types and choice of the call are the vendor's own; a batch has at most
100 texts (the Gemini API's error says so), a prediction 250 (docs.cloud.google.com, "Get text embeddings").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from trunkline_server.chat.answer import Warning_
from trunkline_server.chat.embedding import EmbedAnswer, EmbedInputType, EmbedRequest
from trunkline_server.providers.base import NO_TERMS, AdapterTerms, AttemptError, OptionFinding, WireCall
from trunkline_server.providers.embedding import embed_answer, vector_of_numbers
from trunkline_server.providers.failures import protocol_error
from trunkline_server.providers.gemini.classify import classify_under_ok, error_in
from trunkline_server.providers.gemini.encode import UNARY_HEADERS
from trunkline_server.providers.gemini.options import canonical
from trunkline_server.providers.gemini.place import place_of, resource
from trunkline_server.providers.gemini.words import left_out
from trunkline_server.providers.json_wire import DECODING_ERRORS, encode_json

MAX_BATCH: Final = 100
MAX_PREDICTED: Final = 250

MACHINE_KEYS: Final = frozenset({"model", "requests", "instances"})
"""Refused whatever the operator allows: another value would break routing or decoding."""

TYPED_KEYS: Final = {"outputDimensionality": "dimensions", "taskType": "input_type"}
"""Keys that have a typed field of the request, and that field."""

_NO_TASKS: Final = "gemini-embedding-2"
"""Models that are told their task in the text itself, and take no field for it."""

_TASKS: Final = {
    EmbedInputType.QUERY: "RETRIEVAL_QUERY",
    EmbedInputType.DOCUMENT: "RETRIEVAL_DOCUMENT",
    EmbedInputType.CLASSIFICATION: "CLASSIFICATION",
    EmbedInputType.CLUSTERING: "CLUSTERING",
}


class _Statistics(msgspec.Struct, gc=False):
    """Of one text; only `predict` has them."""

    token_count: int | float | None = None


class _Vector(msgspec.Struct, gc=False):
    values: list[float]
    statistics: _Statistics | None = None


class _Prediction(msgspec.Struct, gc=False):
    embeddings: _Vector


class _Usage(msgspec.Struct, gc=False, rename="camel"):
    prompt_token_count: int | float | None = None


class _Answer(msgspec.Struct, gc=False, rename="camel"):
    """The body of a 2xx answer, of whichever of the two calls."""

    embeddings: list[_Vector] | None = None
    predictions: list[_Prediction] | None = None
    usage_metadata: _Usage | None = None
    error: Any = None


_decode: Final = msgspec.json.Decoder(_Answer).decode


class GeminiEmbeddings:
    """Texts as vectors. Without state: one instance serves any number of calls at once."""

    def __init__(self, terms: AdapterTerms = NO_TERMS) -> None:
        self._place = place_of(terms.base_url)

    def max_inputs(self, model: str) -> int:
        """Return how many inputs one call takes."""
        return MAX_PREDICTED if self._predicts(model) else MAX_BATCH

    def check_options(self, options: Mapping[str, object], allowed: frozenset[str]) -> list[OptionFinding]:
        """Return a finding for each key that is not the caller's to pass.

        `model`, `requests` and `instances` are refused even if `allowed` names them. The others stand beside each text
        (`title`, `autoTruncate`), or are the parameters of a prediction.
        """
        found: list[OptionFinding] = []
        permitted = frozenset(map(canonical, allowed))
        for key in options:
            name = canonical(key)
            if name in MACHINE_KEYS:
                found.append(OptionFinding(key, "written by the gateway itself; it cannot be allowed"))
            elif name in TYPED_KEYS and name not in permitted:
                found.append(OptionFinding(key, f"has a field of its own in the request: {TYPED_KEYS[name]}"))
        return found

    def encode_embed(self, request: EmbedRequest, provider: str, model: str) -> WireCall:
        """Write the call; options of the request must have passed `check_options`."""
        warnings: list[Warning_] = []
        settings: dict[str, Any] = {}
        if request.input_type is not None:
            if _NO_TASKS in model:
                warnings.append(left_out("input_type", "an input type, for this model,"))
            else:
                settings["taskType"] = _TASKS[request.input_type]
        if request.dimensions is not None:
            settings["outputDimensionality"] = request.dimensions
        settings.update((canonical(key), value) for key, value in request.provider_options.get(provider, {}).items())
        if self._predicts(model):
            body, method = _prediction(request.inputs, settings), "predict"
        else:
            body, method = self._batch(request.inputs, settings, model), "batchEmbedContents"
        return WireCall(self._place.method_path(model, method), UNARY_HEADERS, encode_json(body), tuple(warnings))

    def decode_embed(
        self,
        request: EmbedRequest,
        status: int,  # noqa: ARG002  the interface has it for protocols with meaningful 2xx codes
        headers: Mapping[str, str],
        body: bytes,
    ) -> EmbedAnswer:
        """Read a whole 2xx answer, whose vectors stand in the inputs' order; raise AttemptError if it is none."""
        try:
            wire = _decode(body)
        except DECODING_ERRORS:
            raise protocol_error("no JSON of embeddings") from None  # the cause may hold the answer's words
        if wire.error and (error := error_in(body)) is not None:
            raise AttemptError(classify_under_ok(error, headers))
        found = wire.embeddings or [prediction.embeddings for prediction in wire.predictions or ()]
        return embed_answer(request, [vector_of_numbers(vector.values) for vector in found], _tokens(wire, found))

    def _predicts(self, model: str) -> bool:
        """Return whether a model is asked by `predict`: those on Vertex AI that are no Gemini models."""
        return self._place.on_vertex and "gemini" not in model

    def _batch(self, inputs: tuple[str, ...], settings: dict[str, Any], model: str) -> dict[str, Any]:
        """Return the body of a batch. Vertex AI has the settings in an object, the Gemini API beside the text."""
        if self._place.on_vertex:
            beside: dict[str, Any] = {"embedContentConfig": settings} if settings else {}
        else:
            beside = {"model": resource(model), **settings}
        return {"requests": [{"content": {"parts": [{"text": text}]}, **beside} for text in inputs]}


def _prediction(inputs: tuple[str, ...], settings: dict[str, Any]) -> dict[str, Any]:
    """Return the body of a prediction: what belongs to a text stands beside it, the rest in `parameters`."""
    beside = {_BESIDE[name]: value for name, value in settings.items() if name in _BESIDE}
    parameters = {name: value for name, value in settings.items() if name not in _BESIDE}
    body: dict[str, Any] = {"instances": [{"content": text, **beside} for text in inputs]}
    return {**body, "parameters": parameters} if parameters else body


_BESIDE: Final = {"taskType": "task_type", "title": "title", "mimeType": "mimeType"}
"""Settings that `predict` has beside each text, and their names there."""


def _tokens(wire: _Answer, found: list[_Vector]) -> int | None:
    """Return the provider's count: of the call, or added up over its texts; None if it did not count all of them."""
    if wire.usage_metadata is not None:
        return _count(wire.usage_metadata.prompt_token_count)
    counts = [None if vector.statistics is None else _count(vector.statistics.token_count) for vector in found]
    known = [number for number in counts if number is not None]
    return sum(known) if found and len(known) == len(found) else None


_MAX_COUNT: Final = 2**63


def _count(value: float | None) -> int | None:
    return int(value) if value is not None and 0 <= value < _MAX_COUNT else None
