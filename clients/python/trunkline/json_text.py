"""Messages as JSON text, the way the command line prints them for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf import json_format

if TYPE_CHECKING:
    from google.protobuf.message import Message


def to_json(message: Message) -> str:
    """Return a message as protobuf JSON on one line.

    Names are the proto's own (snake_case). Zero scalars and empty lists are printed, so that every message of a type
    has the same keys; fields that know "unset" (sub-messages, oneofs, `optional`) are left out while they are unset.
    64-bit integers are strings, bytes are base64, durations end in `s`. The text is ASCII, so no character in it is
    taken for the end of a line.
    """
    return json_format.MessageToJson(
        message,
        always_print_fields_with_no_presence=True,
        preserving_proto_field_name=True,
        indent=None,
    )
