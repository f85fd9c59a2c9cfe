"""What writes a request for a target: which of its adapter's translators, and whether beside the event loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from trunkline_server.chat.embedding import EmbedRequest
from trunkline_server.chat.request import ChatRequest
from trunkline_server.engine.demand import media_bytes
from trunkline_server.providers.base import Adapter, AttemptError, WireCall
from trunkline_server.providers.embedding import EmbeddingAdapter
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.types import TargetId

HEAVY_BYTES = 256 * 1024
"""Requests with more media than this are written beside the event loop; answers of numbers are read there likewise."""

Encoder = Callable[[], WireCall]


def encoder_of(
    request: ChatRequest | EmbedRequest, adapter: Adapter, target: TargetId, *, stream: bool
) -> tuple[Encoder, bool]:
    """Return what writes the request for a target, and whether that takes too long for the event loop.

    Raise AttemptError (MODEL_UNAVAILABLE) for embeddings that the adapter has none of.
    """
    if isinstance(request, EmbedRequest):
        return partial(embeddings_of(adapter).encode_embed, request, target.provider, target.model), False
    # Pictures become base64, at 4 ms a megabyte: too long for everybody else on the loop.
    heavy = media_bytes(request) > HEAVY_BYTES
    return partial(adapter.encode, request, target.provider, target.model, stream=stream), heavy


def embeddings_of(adapter: Adapter) -> EmbeddingAdapter:
    """Return what an adapter has for embeddings; raise AttemptError if that is nothing.

    Its target is left out of the plan then: only a reload in between brings anybody here.
    """
    if adapter.embeddings is None:
        raise AttemptError(Failure(FailureClass.MODEL_UNAVAILABLE, "the provider's protocol has no embeddings"))
    return adapter.embeddings
