"""Requests from their bytes. Decoding is validation: all is well with what comes out, or all violations are told."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from trunkline import v1 as pb
from trunkline_server.chat.request import NO_SAMPLING, ChatRequest, RoutingOptions
from trunkline_server.engine.frames import FieldViolation
from trunkline_server.rpc.decode_message import decode_messages
from trunkline_server.rpc.decode_options import decode_labels, decode_provider_options
from trunkline_server.rpc.decode_routing import decode_routing
from trunkline_server.rpc.decode_sampling import decode_sampling
from trunkline_server.rpc.decode_tools import decode_output, decode_tool_choice, decode_tools
from trunkline_server.rpc.violations import InvalidRequestError, Violations

MAX_MODEL_BYTES = 256
MAX_REQUEST_ID_BYTES = 128
MAX_STREAM_ID_BYTES = 64

_IDS = random.Random(secrets.token_bytes(32))  # noqa: S311  an id is unique, not secret; no call to the system each time
_NO_ROUTING = RoutingOptions()


@dataclass(frozen=True, slots=True)
class ResumeRequest:
    """Which stream to go on reading."""

    stream_id: str
    after_seq: int
    """Frames with a higher number are wanted."""
    cancel: bool
    """End the stream instead."""


def _allow_all(_request: ChatRequest) -> Iterable[FieldViolation]:
    return ()


def decode_request(
    raw: bytes, check_options: Callable[[ChatRequest], Iterable[FieldViolation]] = _allow_all
) -> ChatRequest:
    """Return the request in a serialized CompleteRequest; one without an id gets a fresh one.

    `check_options` says which of its provider options are not to be passed; it is asked here so that they are told
    with everything else. Whatever else may be wrong with a request, its options are well formed when it is asked.

    Raises InvalidRequestError for whatever is wrong with it.
    """
    try:
        request = pb.CompleteRequest.FromString(raw)
    except DecodeError:
        raise InvalidRequestError("not a valid CompleteRequest message") from None
    found = Violations()
    is_set = request.HasField
    model = decode_model(request.model, found)
    messages = decode_messages(request.messages, found)
    sampling = decode_sampling(request.sampling, found) if is_set("sampling") else NO_SAMPLING
    tools = decode_tools(request.tools, found) if request.tools else ()
    tool_choice = decode_tool_choice(request.tool_choice, tools, found) if is_set("tool_choice") else None
    output = decode_output(request.output, found) if is_set("output") else None
    routing = decode_routing(request.routing, found) if is_set("routing") else _NO_ROUTING
    request_id = decode_request_id(request.request_id, found)
    labels = decode_labels(request.labels, found) if request.labels else {}
    options_json = request.provider_options_json
    provider_options = decode_provider_options(options_json, found) if options_json else {}
    decoded = ChatRequest(
        model=model,
        messages=messages,
        request_id=request_id,
        sampling=sampling,
        tools=tools,
        tool_choice=tool_choice,
        output=output,
        routing=routing,
        labels=labels,
        provider_options=provider_options,
    )
    if provider_options:
        for violation in check_options(decoded):
            found.add(violation.path, violation.message)
    found.raise_if_any()
    return decoded


def decode_resume(raw: bytes) -> ResumeRequest:
    """Return the request in a serialized ResumeStreamRequest; raises InvalidRequestError."""
    try:
        request = pb.ResumeStreamRequest.FromString(raw)
    except DecodeError:
        raise InvalidRequestError("not a valid ResumeStreamRequest message") from None
    found = Violations()
    if not request.stream_id or len(request.stream_id.encode()) > MAX_STREAM_ID_BYTES:
        found.add("stream_id", f"must be 1 to {MAX_STREAM_ID_BYTES} bytes")
    found.raise_if_any()
    return ResumeRequest(request.stream_id, request.after_seq, request.cancel)


def decode_list_models(raw: bytes) -> None:
    """Check that `raw` is a ListModelsRequest, which has no settings; raises InvalidRequestError."""
    try:
        pb.ListModelsRequest.FromString(raw)
    except DecodeError:
        raise InvalidRequestError("not a valid ListModelsRequest message") from None


def new_request_id() -> str:
    """Return a fresh id for a request whose caller gave none."""
    return f"req_{_IDS.getrandbits(96):024x}"


def decode_model(model: str, found: Violations) -> str:
    """Return the name that a request goes to."""
    if not model or len(model) > MAX_MODEL_BYTES or len(model.encode()) > MAX_MODEL_BYTES:
        found.add("model", f"must be an alias or provider/model of 1 to {MAX_MODEL_BYTES} bytes")
    return model


def decode_request_id(given: str, found: Violations) -> str:
    """Return the caller's own id, which goes into logs and headers, or a fresh one."""
    if not given:
        return new_request_id()
    if len(given) > MAX_REQUEST_ID_BYTES or not (given.isascii() and given.isprintable()):
        found.add("request_id", f"must be at most {MAX_REQUEST_ID_BYTES} bytes of printable ASCII")
    return given
