"""Messages and the parts that they are made of."""

from __future__ import annotations

from trunkline_server.routing.record import Word, record


class Role(Word):
    """Who said a message."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@record
class TextPart:
    """Plain text."""

    text: str


@record
class MediaPart:
    """A picture, a recording or a document; exactly one of `data`, `uri` and `file_id` is set."""

    mime_type: str
    data: bytes | None = None
    uri: str | None = None
    """Handed to the provider as it is; never fetched by us."""
    file_id: str | None = None
    """The name of a file that was uploaded at `provider`."""
    provider: str | None = None
    """The provider that knows `file_id`; only it can serve a request with this part."""


@record
class ThinkingPart:
    """Reasoning that a model showed. It goes back to no provider but the one that made it."""

    text: str
    signature: str | None = None
    redacted: bool = False
    provider: str | None = None


@record
class ToolCallPart:
    """The model asks for a tool to be run."""

    id: str
    name: str
    arguments_json: str
    """A JSON object as text, exactly as the model wrote it."""


@record
class ToolResultPart:
    """What a tool answered."""

    tool_call_id: str
    parts: tuple[Part, ...]
    is_error: bool = False


@record
class RefusalPart:
    """The model's own words of refusal."""

    text: str


Part = TextPart | MediaPart | ThinkingPart | ToolCallPart | ToolResultPart | RefusalPart


@record
class Message:
    """One turn of the conversation."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None
    cache_breakpoint: bool = False
    """Everything up to and including this message is worth keeping in the provider's cache: a hint."""
