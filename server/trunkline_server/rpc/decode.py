"""Requests from their bytes. Decoding is validation: all is well with what comes out, or all violations are told."""

from __future__ import annotations

import secrets

from google.protobuf.message import DecodeError

from trunkline import v1 as pb
from trunkline_server.chat.request import ChatRequest
from trunkline_server.rpc.decode_message import decode_messages
from trunkline_server.rpc.violations import InvalidRequestError, Violations

MAX_MODEL_BYTES = 256


def decode_request(raw: bytes) -> ChatRequest:
    """Return the request in a serialized CompleteRequest.

    Raises InvalidRequestError for whatever is wrong with it, and NotBuiltError if all is well but it asks for
    something that this server cannot do yet.
    """
    try:
        request = pb.CompleteRequest.FromString(raw)
    except DecodeError:
        raise InvalidRequestError("not a valid CompleteRequest message") from None
    found = Violations()
    model = request.model
    if not model:
        found.add("model", "must be an alias or provider/model")
    messages = decode_messages(request.messages, found)
    found.raise_if_any()
    return ChatRequest(model=model, messages=messages, request_id=request.request_id or new_request_id())


def new_request_id() -> str:
    """Return a fresh id for a request whose caller gave none."""
    return f"req_{secrets.token_hex(12)}"
