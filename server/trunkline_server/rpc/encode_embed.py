"""Vectors as the bytes of their message.

The numbers are written as they lie in memory: a packed field of floats is their little-endian bytes behind a tag and a
length. Handing them over one by one would take thirty times as long, all of it on the event loop.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator

from trunkline import v1 as pb
from trunkline_server.engine.frames import EmbeddedCall
from trunkline_server.rpc.encode_route import fill_attempt, fill_route, fill_timestamp, fill_usage, warning_pb

_BYTES = 2
"""The wire type of texts, messages and packed numbers; 0 is that of varints."""
_EMBEDDINGS_TAG = pb.EmbedResponse.EMBEDDINGS_FIELD_NUMBER << 3 | _BYTES
_INDEX_TAG = pb.Embedding.INDEX_FIELD_NUMBER << 3
_VALUES_TAG = pb.Embedding.VALUES_FIELD_NUMBER << 3 | _BYTES


def encode_embedded(call: EmbeddedCall) -> bytes:
    """Return the serialized EmbedResponse of a call's vectors."""
    answer, route = call.answer, call.route
    response = pb.EmbedResponse(request_id=call.request_id, dimensions=len(answer.vectors[0]))
    if route.served_by is not None:
        response.model = route.served_by.target.model
    if answer.usage is not None:
        fill_usage(response.usage, answer.usage)
    fill_route(response.route, route)
    for attempt in call.attempts:
        fill_attempt(response.attempts.add(), attempt)
    fill_timestamp(response.created, call.created_unix_s)
    if call.warnings:
        response.warnings.extend(map(warning_pb, call.warnings))
    # Fields of a message may stand in any order, so the vectors just follow.
    return b"".join((response.SerializeToString(), *_embeddings(answer.vectors)))


def _embeddings(vectors: tuple[array[float], ...]) -> Iterator[bytes | memoryview]:
    """Yield the pieces of the field `embeddings`."""
    for index, vector in enumerate(vectors):
        values = _little_endian(vector)
        head = bytes((_INDEX_TAG, *_varint(index), _VALUES_TAG, *_varint(len(values))))
        yield bytes((_EMBEDDINGS_TAG, *_varint(len(head) + len(values)))) + head
        yield values


def _little_endian(vector: array[float]) -> memoryview | bytes:
    if sys.byteorder == "big":
        vector = vector[:]
        vector.byteswap()
        return vector.tobytes()
    return memoryview(vector).cast("B")


def _varint(value: int) -> Iterator[int]:
    """Yield a number's bytes: seven bits each, the lowest first, the highest bit set but in the last."""
    while value > 0x7F:  # noqa: PLR2004  seven bits
        yield value & 0x7F | 0x80
        value >>= 7
    yield value
