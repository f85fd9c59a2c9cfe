"""Embeddings by InvokeModel: the bodies of Amazon's Titan and of Cohere's models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from trunkline_server.simulator.ask import Ask, Turn
from trunkline_server.simulator.bedrock.errors import invalid
from trunkline_server.simulator.bedrock.frames import STREAM_TYPE
from trunkline_server.simulator.vectors import vector

if TYPE_CHECKING:
    from trunkline_server.simulator.answer import Answer
    from trunkline_server.simulator.dialect import Events, Mark

TITAN_DIMENSIONS = (1024, 512, 256)
COHERE_DIMENSIONS = (1536, 1024, 512, 256)
MAX_COHERE_TEXTS = 96


class TitanRequest(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The body that Titan takes."""

    input_text: str
    dimensions: int = TITAN_DIMENSIONS[0]
    normalize: bool = True
    embedding_types: list[Literal["float", "binary"]] | None = None


class CohereRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body that Cohere's models take; pictures are not simulated."""

    input_type: Literal["search_document", "search_query", "classification", "clustering"]
    texts: list[str]
    embedding_types: list[str] | None = None
    output_dimension: int = COHERE_DIMENSIONS[0]
    truncate: str | None = None
    max_tokens: int | None = None


class EmbeddingJob:
    """One request to InvokeModel."""

    stream_type = STREAM_TYPE

    def __init__(self, model: str, texts: list[str], dimensions: int, *, cohere: bool) -> None:
        self._texts = texts
        self._dimensions = dimensions
        self._cohere = cohere
        self.ask = Ask(model=model, turns=[Turn("user", text) for text in texts], silent=True)

    def body(self, answer: Answer, mark: Mark) -> bytes:
        """See Job."""
        texts = [] if answer.no_choices else self._texts
        vectors = [list(vector(self.ask.model, text, self._dimensions)) for text in texts]
        body: dict[str, Any] = {}
        if self._cohere:
            body = {
                "id": f"sim-{mark.number}",
                "response_type": "embeddings_by_type",
                "embeddings": {"float": vectors},
                "texts": self._texts,
            }
        elif vectors:
            counted = answer.prompt_tokens
            body = {"embedding": vectors[0], "embeddingsByType": {"float": vectors[0]}, "inputTextTokenCount": counted}
        return msgspec.json.encode(body)

    def events(self, answer: Answer, mark: Mark) -> Events:
        """See Job: only asked for if `ask.stream`, which it never is."""
        del answer, mark
        raise RuntimeError("embeddings have no stream")


_titan = msgspec.json.Decoder(TitanRequest)
_cohere = msgspec.json.Decoder(CohereRequest)


def read_embedding(body: bytes, model: str) -> EmbeddingJob:
    """Read and check a request. Raises RefusedError."""
    try:
        if "cohere.embed" in model:
            return _read_cohere(_cohere.decode(body), model)
        if "amazon.titan-embed" in model:
            return _read_titan(_titan.decode(body), model)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as failure:
        raise invalid(f"Malformed input request: {failure}, please reformat your input and try again.") from failure
    raise invalid("The simulator knows InvokeModel for models of embeddings only.")


def _read_titan(request: TitanRequest, model: str) -> EmbeddingJob:
    if not request.input_text:
        raise invalid("Malformed input request: expected minLength: 1, actual: 0, please reformat your input.")
    if request.dimensions not in TITAN_DIMENSIONS:
        raise invalid(f"Malformed input request: dimensions must be one of {TITAN_DIMENSIONS}.")
    return EmbeddingJob(model, [request.input_text], request.dimensions, cohere=False)


def _read_cohere(request: CohereRequest, model: str) -> EmbeddingJob:
    if not 1 <= len(request.texts) <= MAX_COHERE_TEXTS:
        raise invalid(f"Malformed input request: #/texts: expected maximum item count: {MAX_COHERE_TEXTS}.")
    if request.output_dimension not in COHERE_DIMENSIONS:
        raise invalid(f"Malformed input request: output_dimension must be one of {COHERE_DIMENSIONS}.")
    if request.embedding_types not in (None, ["float"]):
        raise invalid("The simulator makes vectors of type float only.")
    return EmbeddingJob(model, request.texts, request.output_dimension, cohere=True)
