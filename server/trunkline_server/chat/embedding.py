"""Texts that are to become vectors, and the vectors: what `request` and `answer` are for conversations."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import field
from enum import Enum
from typing import Any, ClassVar

from trunkline_server.chat.answer import Usage, Warning_
from trunkline_server.chat.request import RoutingOptions
from trunkline_server.routing.record import record

_NO_WISHES = RoutingOptions()


class EmbedInputType(Enum):
    """What the vectors are for. Some models make other vectors of a question than of what is to be found by it."""

    QUERY = "query"
    DOCUMENT = "document"
    CLASSIFICATION = "classification"
    CLUSTERING = "clustering"


@record
class EmbedRequest:
    """Texts of which each is to become one vector. Its size is bounded by the boundary that decoded it."""

    asks_reasoning: ClassVar[bool] = False
    """As for a `ChatRequest`, which may ask for it."""
    model: str
    """An alias, or `provider/model`."""
    inputs: tuple[str, ...]
    """At least one, none of them empty."""
    request_id: str
    dimensions: int | None = None
    """How long each vector is to be; None: as long as the model makes it."""
    input_type: EmbedInputType | None = None
    """None: the caller does not say, and a protocol that must be told takes DOCUMENT."""
    allow_other_models: bool = False
    """Whether another model than the one that was asked for first may serve, whose vectors are of another space."""
    routing: RoutingOptions = _NO_WISHES
    labels: Mapping[str, str] = field(default_factory=dict)
    provider_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Provider name to the keys that its upstream body gets besides ours."""


@record
class EmbedAnswer:
    """One vector for each input, in the inputs' order."""

    vectors: tuple[array[float], ...]
    """Of type code `f`, all of one length, every number finite."""
    usage: Usage | None = None
    """Its `output_tokens` are 0: vectors have none."""
    warnings: tuple[Warning_, ...] = ()
