"""Python client of Trunkline: generated stubs in `trunkline.v1`, thin helpers here."""

from __future__ import annotations

from trunkline.answer import Answer, Seam
from trunkline.assembly import Assembly
from trunkline.channel import connect, connect_aio
from trunkline.embedding import DOCUMENT, QUERY, Vectors, embed, embed_aio, vectors_of
from trunkline.errors import CallError, CallFailure, FieldViolation, failure_of
from trunkline.events import (
    AttemptBegan,
    AttemptBroke,
    RefusalPiece,
    Retracted,
    StreamEvent,
    TextPiece,
    ThinkingPiece,
    ToolCallDone,
    ToolCallPiece,
)
from trunkline.json_text import to_json
from trunkline.reader import AioAnswerStream, AnswerStream, read_stream, read_stream_aio
from trunkline.stream_errors import (
    CallFailedError,
    StreamBrokenError,
    StreamCorruptError,
    StreamError,
    StreamLostError,
)

__all__ = [
    "DOCUMENT",
    "QUERY",
    "AioAnswerStream",
    "Answer",
    "AnswerStream",
    "Assembly",
    "AttemptBegan",
    "AttemptBroke",
    "CallError",
    "CallFailedError",
    "CallFailure",
    "FieldViolation",
    "RefusalPiece",
    "Retracted",
    "Seam",
    "StreamBrokenError",
    "StreamCorruptError",
    "StreamError",
    "StreamEvent",
    "StreamLostError",
    "TextPiece",
    "ThinkingPiece",
    "ToolCallDone",
    "ToolCallPiece",
    "Vectors",
    "connect",
    "connect_aio",
    "embed",
    "embed_aio",
    "failure_of",
    "read_stream",
    "read_stream_aio",
    "to_json",
    "vectors_of",
]
