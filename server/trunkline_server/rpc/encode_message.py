"""Messages of answers, and the log-probabilities of their tokens, as protobuf."""

from __future__ import annotations

from trunkline import v1 as pb
from trunkline_server.chat.answer import FinishReason, TokenLogprob
from trunkline_server.chat.message import (
    MediaPart,
    Message,
    Part,
    RefusalPart,
    Role,
    TextPart,
    ThinkingPart,
    ToolCallPart,
)

FINISH_REASON_PB = {each: pb.FinishReason.Value(f"FINISH_REASON_{each.value}") for each in FinishReason}
_ROLE_PB = {each: pb.Role.Value(f"ROLE_{each.name}") for each in Role}


def message_pb(message: Message) -> pb.Message:
    """Return one turn of a conversation."""
    turn = pb.Message()
    fill_message(turn, message)
    return turn


def fill_message(turn: pb.Message, message: Message) -> None:
    """Set one turn of a conversation where it stands, which spares a copy of its text."""
    turn.role = _ROLE_PB[message.role]
    for part in message.parts:
        if isinstance(part, TextPart):
            turn.parts.add(text=part.text)
        else:
            turn.parts.append(part_pb(part))
    if message.name:
        turn.name = message.name


def part_pb(part: Part) -> pb.Part:
    """Return one part of a message."""
    if isinstance(part, TextPart):
        return pb.Part(text=part.text)
    if isinstance(part, ToolCallPart):
        return pb.Part(
            tool_call=pb.ToolCallPart(id=part.id, name=part.name, arguments_json=part.arguments_json),
        )
    if isinstance(part, ThinkingPart):
        return pb.Part(
            thinking=pb.ThinkingPart(
                text=part.text,
                signature=part.signature or "",
                redacted=part.redacted,
                provider=part.provider or "",
            )
        )
    if isinstance(part, RefusalPart):
        return pb.Part(refusal=part.text)
    if isinstance(part, MediaPart):
        return pb.Part(media=_media_pb(part))
    return pb.Part(
        tool_result=pb.ToolResultPart(
            tool_call_id=part.tool_call_id, parts=map(part_pb, part.parts), is_error=part.is_error
        )
    )


def _media_pb(part: MediaPart) -> pb.MediaPart:
    """Return a picture, recording or document with its one source."""
    media = pb.MediaPart(mime_type=part.mime_type, provider=part.provider or "")
    if part.data is not None:
        media.data = part.data
    elif part.uri is not None:
        media.uri = part.uri
    elif part.file_id is not None:
        media.file_id = part.file_id
    return media


def logprob_pb(logprob: TokenLogprob) -> pb.TokenLogprob:
    """Return one token's log-probability with its alternatives."""
    return pb.TokenLogprob(
        token=logprob.token,
        bytes=logprob.bytes,
        logprob=logprob.logprob,
        top=[pb.TopLogprob(token=each.token, bytes=each.bytes, logprob=each.logprob) for each in logprob.top],
    )
