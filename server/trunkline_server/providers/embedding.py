"""The interface of protocols that turn texts into vectors, and what all of them check of what comes back.

An adapter that has embeddings offers one of these as its `embeddings`. Like the adapter it is a translator without I/O;
errors and rate-limit headers are read by the adapter itself.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from trunkline_server.chat.answer import Usage, UsageSource, Warning_
from trunkline_server.chat.embedding import EmbedAnswer, EmbedRequest
from trunkline_server.providers.base import AttemptError, OptionFinding, WireCall
from trunkline_server.routing.failures import Failure, FailureClass

FLOAT_BYTES: Final = 4
"""Of one number of a vector, on the wire and in memory."""

_HIGH_BYTES: Final = slice(FLOAT_BYTES - 1 if sys.byteorder == "little" else 0, None, FLOAT_BYTES)
"""The byte of each number that begins with its sign and its exponent."""


class EmbeddingAdapter(Protocol):
    """One wire protocol's embeddings. Without state: one instance serves any number of calls at once."""

    def max_inputs(self, model: str) -> int:
        """Return how many inputs one call for upstream model id `model` takes; a request with more is not sent."""
        ...

    def check_options(self, options: Mapping[str, object], allowed: frozenset[str]) -> list[OptionFinding]:
        """Return a finding for each key that the adapter writes itself or that raises cost and is not in `allowed`."""
        ...

    def encode_embed(self, request: EmbedRequest, provider: str, model: str) -> WireCall:
        """Write the call for upstream model id `model` of the provider named `provider`."""
        ...

    def decode_embed(self, request: EmbedRequest, status: int, headers: Mapping[str, str], body: bytes) -> EmbedAnswer:
        """Read a whole 2xx answer to `request`; raise AttemptError if it is none. Called in any thread.

        End with `embed_answer`, which checks what must hold for every protocol.
        """
        ...


def embed_answer(
    request: EmbedRequest,
    vectors: Sequence[array[float]],
    input_tokens: int | None,
    warnings: tuple[Warning_, ...] = (),
) -> EmbedAnswer:
    """Return the answer to `request`: vectors in the inputs' order, and the tokens that the provider counted.

    Raise AttemptError: PROTOCOL unless there is one vector for each input, all of one length above 0 and all their
    numbers finite; CALLER_INVALID if their length is not the one that was asked for, which some servers ignore.
    """
    if len(vectors) != len(request.inputs):
        raise not_vectors(f"{len(vectors)} vectors for {len(request.inputs)} inputs")
    length = len(vectors[0])
    if not length or any(len(vector) != length for vector in vectors):
        raise not_vectors("vectors without a common length")
    if not all(map(_is_finite, vectors)):
        raise not_vectors("a vector with a number that is none")
    if request.dimensions is not None and request.dimensions != length:
        told = f"the model gave vectors of {length} dimensions, not of the {request.dimensions} that were asked for"
        raise AttemptError(Failure(FailureClass.CALLER_INVALID, told, upstream_param="dimensions"))
    usage = None
    if input_tokens is not None:
        usage = Usage(input_tokens=input_tokens, output_tokens=0, source=UsageSource.PROVIDER)
    return EmbedAnswer(tuple(vectors), usage, warnings)


def in_order(found: Iterable[tuple[int, array[float]]], count: int) -> list[array[float]]:
    """Return vectors that came each with the index of its input, in the inputs' order.

    Raise AttemptError (PROTOCOL) unless each index from 0 to `count` - 1 is there exactly once.
    """
    places: list[array[float] | None] = [None] * count
    for index, vector in found:
        if not 0 <= index < count or places[index] is not None:
            raise not_vectors("an index that is no input's, or is there twice")
        places[index] = vector
    vectors = [vector for vector in places if vector is not None]
    if len(vectors) != count:
        raise not_vectors(f"{len(vectors)} vectors for {count} inputs")
    return vectors


def vector_of_bytes(raw: bytes) -> array[float]:
    """Return a vector that came as little-endian floats; raise AttemptError (PROTOCOL) if its length is none of them.

    A msgspec field of type `bytes` is base64 on the wire, and is read four times as fast as text that is decoded then.
    """
    try:
        vector = array("f", raw)
    except ValueError:
        raise not_vectors("a vector that is no row of floats") from None
    if sys.byteorder == "big":
        vector.byteswap()
    return vector


def vector_of_numbers(numbers: Sequence[float]) -> array[float]:
    """Return a vector that came as a list of numbers; raise AttemptError (PROTOCOL) if one is too large."""
    try:
        return array("f", numbers)
    except (OverflowError, TypeError):
        raise not_vectors("a vector with a number that is none") from None


def not_vectors(what: str) -> AttemptError:
    """Return the failure of an answer that holds no vectors as they must be; `what` must be words of ours."""
    return AttemptError(Failure(FailureClass.PROTOCOL, f"the provider's answer is not of the promised format: {what}"))


def _is_finite(vector: array[float]) -> bool:
    """Return whether every number is one: those that are none, infinities included, have an exponent of ones."""
    high = vector.tobytes()[_HIGH_BYTES]
    if b"\x7f" not in high and b"\xff" not in high:
        return True  # sign and seven bits of the exponent tell it, in a tenth of the time
    return all(map(math.isfinite, vector))
