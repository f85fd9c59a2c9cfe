"""Texts as vectors: one call, and its vectors as arrays that anything can be made of."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trunkline.v1 import CompletionServiceStub, EmbedRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

    import grpc

    from trunkline.v1 import CompletionServiceAsyncStub, EmbedResponse, RoutingOptions

QUERY = EmbedRequest.INPUT_TYPE_QUERY
"""The vectors are for questions that are compared with documents."""
DOCUMENT = EmbedRequest.INPUT_TYPE_DOCUMENT
"""The vectors are of what is to be found."""


@dataclass(frozen=True, slots=True)
class Vectors:
    """One vector for each text, in the texts' order."""

    vectors: tuple[array[float], ...]
    """Single-precision numbers (type code `f`); `numpy.asarray(vectors)` makes a matrix of them without a loop."""

    model: str
    """What made them. Vectors of different models must not be compared: keep the name beside what is stored."""

    response: EmbedResponse
    """All that came with them: usage, route, attempts, warnings."""

    @property
    def dimensions(self) -> int:
        """How many numbers each vector has."""
        return self.response.dimensions


def embed(
    channel: grpc.Channel,
    texts: Iterable[str],
    *,
    model: str,
    timeout: float,
    dimensions: int | None = None,
    input_type: EmbedRequest.InputType.ValueType = EmbedRequest.INPUT_TYPE_UNSPECIFIED,
    routing: RoutingOptions | None = None,
    request_id: str = "",
) -> Vectors:
    """Return the vectors of 1 to 2,048 texts, none of them empty, by one call on a channel of `connect`.

    model: an alias, or `provider/model`.
    timeout: the call's deadline, in seconds.
    dimensions: how long each vector is to be, where the model can be told.
    input_type: what they are for; models that make a difference must be told the same for all that is compared.
    routing, request_id: as in EmbedRequest.

    Raises CallError for a call that failed (`failure_of` reads it), and ValueError for an answer that is not one vector
    for each text.
    """
    request = _request(
        texts, model=model, dimensions=dimensions, input_type=input_type, routing=routing, request_id=request_id
    )
    return vectors_of(CompletionServiceStub(channel).Embed(request, timeout=timeout), len(request.inputs))


async def embed_aio(
    channel: grpc.aio.Channel,
    texts: Iterable[str],
    *,
    model: str,
    timeout: float,  # noqa: ASYNC109  grpc's own deadline, which the server is told
    dimensions: int | None = None,
    input_type: EmbedRequest.InputType.ValueType = EmbedRequest.INPUT_TYPE_UNSPECIFIED,
    routing: RoutingOptions | None = None,
    request_id: str = "",
) -> Vectors:
    """Return the vectors of texts by one call on a channel of `connect_aio`. Takes and raises what `embed` does."""
    request = _request(
        texts, model=model, dimensions=dimensions, input_type=input_type, routing=routing, request_id=request_id
    )
    stub: CompletionServiceAsyncStub = CompletionServiceStub(channel)
    return vectors_of(await stub.Embed(request, timeout=timeout), len(request.inputs))


def vectors_of(response: EmbedResponse, texts: int) -> Vectors:
    """Return the vectors of a response; raise ValueError unless there is one of the told length for each text."""
    vectors = tuple(array("f", embedding.values) for embedding in response.embeddings)
    if [embedding.index for embedding in response.embeddings] != list(range(texts)):
        raise ValueError(f"{len(vectors)} vectors came for {texts} texts, or in another order")
    if any(len(vector) != response.dimensions for vector in vectors):
        raise ValueError(f"a vector came that has not {response.dimensions} numbers")
    return Vectors(vectors, response.model, response)


def _request(
    texts: Iterable[str],
    *,
    model: str,
    dimensions: int | None,
    input_type: EmbedRequest.InputType.ValueType,
    routing: RoutingOptions | None,
    request_id: str,
) -> EmbedRequest:
    return EmbedRequest(
        model=model,
        inputs=texts,
        dimensions=dimensions,
        input_type=input_type,
        routing=routing,
        request_id=request_id,
    )
