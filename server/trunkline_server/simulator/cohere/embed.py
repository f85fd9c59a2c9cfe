"""Embeddings: the request as Cohere checks it, and its answer, as numbers or as base64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from trunkline_server.simulator.ask import Ask, Turn
from trunkline_server.simulator.cohere.errors import RequestRefusedError
from trunkline_server.simulator.cohere.request import decoded
from trunkline_server.simulator.cohere.wire import answer_id
from trunkline_server.simulator.dialect import EVENT_STREAM_TYPE
from trunkline_server.simulator.vectors import as_base64, vector

if TYPE_CHECKING:
    from trunkline_server.simulator.answer import Answer
    from trunkline_server.simulator.dialect import Events, Mark
    from trunkline_server.simulator.scenario import Scenario

MAX_TEXTS = 96
DIMENSIONS = (256, 512, 1024, 1536)
"""What `embed-v4.0` makes; the last unless it is asked for another. Older models make 1,024 only."""
OLD_DIMENSIONS = 1024
NEW_MODEL = "embed-v4"
"""How the names of models begin that make vectors of several lengths."""


class EmbedRequest(msgspec.Struct, kw_only=True):
    """A request: every field that Cohere knows. Pictures are not simulated."""

    model: str = ""
    texts: list[str] | None = None
    input_type: Literal["search_document", "search_query", "classification", "clustering", "image"] | None = None
    embedding_types: list[Literal["float", "int8", "uint8", "binary", "ubinary", "base64"]] | None = None
    output_dimension: int | None = None
    max_tokens: int | None = None
    truncate: Literal["NONE", "START", "END"] = "END"
    priority: int | None = None


class _StrictEmbedRequest(EmbedRequest, kw_only=True, forbid_unknown_fields=True):
    """The same; unknown fields are refused."""


_LENIENT = msgspec.json.Decoder(EmbedRequest)
_STRICT: msgspec.json.Decoder[EmbedRequest] = msgspec.json.Decoder(_StrictEmbedRequest)


class EmbedJob:
    """One request to `/v2/embed`."""

    stream_type = EVENT_STREAM_TYPE

    def __init__(self, request: EmbedRequest, texts: list[str]) -> None:
        self._request = request
        self._texts = texts
        self.ask = Ask(model=request.model, turns=[Turn("user", text) for text in texts], silent=True)

    def body(self, answer: Answer, mark: Mark) -> bytes:
        """See Job."""
        request = self._request
        length = request.output_dimension or _usual(request.model)
        vectors = [] if answer.no_choices else [vector(request.model, text, length) for text in self._texts]
        embeddings: dict[str, Any] = {}
        for kind in request.embedding_types or ("float",):
            embeddings[kind] = [as_base64(each) if kind == "base64" else list(each) for each in vectors]
        meta = {"api_version": {"version": "2"}, "billed_units": {"input_tokens": float(answer.prompt_tokens)}}
        return msgspec.json.encode(
            {
                "id": answer_id(mark.number),
                "texts": self._texts,
                "embeddings": embeddings,
                "meta": meta,
                "response_type": "embeddings_by_type",
            }
        )

    def events(self, answer: Answer, mark: Mark) -> Events:
        """See Job: only asked for if `ask.stream`, which it never is."""
        del answer, mark
        raise RuntimeError("embeddings have no stream")


def read_embed(body: bytes, scenario: Scenario) -> EmbedJob:
    """Read and check a request. Raises RefusedError."""
    request = decoded(_STRICT if scenario.strict_parameters else _LENIENT, body)
    texts = request.texts or []
    _check(request, texts)
    return EmbedJob(request, texts)


def _check(request: EmbedRequest, texts: list[str]) -> None:
    if not request.model:
        raise RequestRefusedError("a model parameter is required for this endpoint.")
    if not texts or not all(texts):
        at = next((index for index, text in enumerate(texts) if not text), 0)
        raise RequestRefusedError(f"invalid request: inputs contains an element that is the empty string at index {at}")
    if len(texts) > MAX_TEXTS:
        raise RequestRefusedError(
            f"invalid request: total number of texts must be at most {MAX_TEXTS} - received {len(texts)}"
        )
    if request.input_type is None:
        raise RequestRefusedError("invalid request: valid input_type must be provided with the provided model")
    if request.embedding_types is None:
        raise RequestRefusedError("embedding_types parameter is required")
    if any(kind not in {"float", "base64"} for kind in request.embedding_types):
        raise RequestRefusedError("the simulator makes vectors of float and base64 only")
    wanted = request.output_dimension
    if wanted is not None and (not request.model.startswith(NEW_MODEL) or wanted not in DIMENSIONS):
        raise RequestRefusedError(
            f"invalid request: output_dimension must be one of {', '.join(map(str, DIMENSIONS))}, of embed-v4 and newer"
        )


def _usual(model: str) -> int:
    return DIMENSIONS[-1] if model.startswith(NEW_MODEL) else OLD_DIMENSIONS
