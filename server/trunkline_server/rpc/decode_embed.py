"""`EmbedRequest` from its bytes. As in `decode`: all is well with what comes out, or all violations are told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from google.protobuf.message import DecodeError

from trunkline import v1 as pb
from trunkline_server.chat.embedding import EmbedInputType, EmbedRequest
from trunkline_server.chat.request import RoutingOptions
from trunkline_server.engine.frames import FieldViolation
from trunkline_server.rpc.decode import decode_model, decode_request_id
from trunkline_server.rpc.decode_options import decode_labels, decode_provider_options
from trunkline_server.rpc.decode_routing import decode_routing
from trunkline_server.rpc.violations import InvalidRequestError, Violations

MAX_INPUTS = 2_048
"""No provider takes more in one call."""

_INPUT_TYPES = {pb.EmbedRequest.InputType.Value(f"INPUT_TYPE_{each.name}"): each for each in EmbedInputType}
_ASKS_NOTHING = RoutingOptions()
_NO_MEANING = {
    "on_break": "on_break",
    "max_first_token": "max_first_token_s",
    "max_token_gap": "max_token_gap_s",
    "detachable": "detachable",
    "heartbeat": "heartbeat_s",
    "announce_early": "announce_early",
    "usage_every": "usage_every_s",
    "may_drop": "may_drop",
}
"""Wishes about streams, first content and what may be left out of a conversation, and their names once decoded."""


def decode_embed(raw: bytes, check_options: Callable[[EmbedRequest], Iterable[FieldViolation]]) -> EmbedRequest:
    """Return the request in a serialized EmbedRequest; one without an id gets a fresh one.

    `check_options` says which of its provider options are not to be passed, as for `decode_request`. Raises
    InvalidRequestError for whatever is wrong with the request.
    """
    try:
        request = pb.EmbedRequest.FromString(raw)
    except DecodeError:
        raise InvalidRequestError("not a valid EmbedRequest message") from None
    found = Violations()
    options_json = request.provider_options_json
    decoded = EmbedRequest(
        model=decode_model(request.model, found),
        inputs=_inputs(request.inputs, found),
        dimensions=_dimensions(request, found),
        input_type=_input_type(request.input_type, found),
        allow_other_models=request.allow_other_models,
        routing=_routing(request.routing, found) if request.HasField("routing") else _ASKS_NOTHING,
        request_id=decode_request_id(request.request_id, found),
        labels=decode_labels(request.labels, found) if request.labels else {},
        provider_options=decode_provider_options(options_json, found) if options_json else {},
    )
    if decoded.provider_options:
        for violation in check_options(decoded):
            found.add(violation.path, violation.message)
    found.raise_if_any()
    return decoded


def _inputs(inputs: Sequence[str], found: Violations) -> tuple[str, ...]:
    if not 1 <= len(inputs) <= MAX_INPUTS:
        found.add("inputs", f"must have 1 to {MAX_INPUTS} entries")
        return ()
    for index, text in enumerate(inputs):
        if not text:
            found.add(f"inputs[{index}]", "must not be empty")
    return tuple(inputs)


def _dimensions(request: pb.EmbedRequest, found: Violations) -> int | None:
    if not request.HasField("dimensions"):
        return None
    if not request.dimensions:
        found.add("dimensions", "must be at least 1")
    return request.dimensions


def _input_type(value: int, found: Violations) -> EmbedInputType | None:
    if value not in pb.EmbedRequest.InputType.values():
        found.add("input_type", f"unknown value {value}")
    return _INPUT_TYPES.get(pb.EmbedRequest.InputType.ValueType(value))


def _routing(routing: pb.RoutingOptions, found: Violations) -> RoutingOptions:
    decoded = decode_routing(routing, found)
    for name, attribute in _NO_MEANING.items():
        if getattr(decoded, attribute) != getattr(_ASKS_NOTHING, attribute):
            found.add(f"routing.{name}", "has no meaning for Embed")
    return decoded
