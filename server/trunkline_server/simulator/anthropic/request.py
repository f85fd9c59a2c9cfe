"""A Messages request: every field that the service knows, and nothing more."""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from trunkline_server.simulator.anthropic.errors import invalid
from trunkline_server.simulator.failure import RefusedError


class CacheControl(msgspec.Struct, forbid_unknown_fields=True):
    """A mark: up to here is worth keeping."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class Source(msgspec.Struct, forbid_unknown_fields=True):
    """Where a picture or a document is."""

    type: str
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    content: Any = None


class Text(msgspec.Struct, tag_field="type", tag="text", forbid_unknown_fields=True):
    """Words."""

    text: str
    cache_control: CacheControl | None = None
    citations: Any = None


class Image(msgspec.Struct, tag_field="type", tag="image", forbid_unknown_fields=True):
    """A picture."""

    source: Source
    cache_control: CacheControl | None = None
    transformations: Any = None


class Document(msgspec.Struct, tag_field="type", tag="document", forbid_unknown_fields=True):
    """A document."""

    source: Source
    cache_control: CacheControl | None = None
    citations: Any = None
    context: str | None = None
    title: str | None = None


class Thinking(msgspec.Struct, tag_field="type", tag="thinking", forbid_unknown_fields=True):
    """Thinking of an earlier answer."""

    thinking: str
    signature: str


class RedactedThinking(msgspec.Struct, tag_field="type", tag="redacted_thinking", forbid_unknown_fields=True):
    """Thinking whose words were withheld."""

    data: str


class ToolUse(msgspec.Struct, tag_field="type", tag="tool_use", forbid_unknown_fields=True):
    """A call of an earlier answer."""

    id: str
    name: str
    input: dict[str, Any]
    cache_control: CacheControl | None = None
    caller: Any = None
    toolset_name: str | None = None


class ToolResult(msgspec.Struct, tag_field="type", tag="tool_result", forbid_unknown_fields=True):
    """What a tool answered."""

    tool_use_id: str
    content: str | list[Text | Image | Document] | None = None
    is_error: bool | None = None
    cache_control: CacheControl | None = None
    toolset_name: str | None = None


Block = Text | Image | Document | Thinking | RedactedThinking | ToolUse | ToolResult


class Message(msgspec.Struct, forbid_unknown_fields=True):
    """One turn."""

    role: str
    content: str | list[Block]

    def blocks(self) -> list[Block]:
        """Return the content as blocks."""
        return [Text(self.content)] if isinstance(self.content, str) else self.content

    def text(self) -> str:
        """Return all words of the turn, those in results included."""
        return "".join(_words(block) for block in self.blocks())


def _words(block: Block) -> str:
    if isinstance(block, Text):
        return block.text
    if not isinstance(block, ToolResult):
        return ""
    if isinstance(block.content, str):
        return block.content
    return "".join(_words(inner) for inner in block.content or ())


class ToolChoice(msgspec.Struct, forbid_unknown_fields=True):
    """Whether tools may, must not or must be called."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class ThinkingConfig(msgspec.Struct, forbid_unknown_fields=True):
    """Whether and how much to think."""

    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: int | None = None
    display: Literal["summarized", "omitted"] | None = None


class OutputFormat(msgspec.Struct, forbid_unknown_fields=True):
    """The form of the answer's text."""

    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(msgspec.Struct, forbid_unknown_fields=True):
    """Effort and form of the answer."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class MessagesRequest(msgspec.Struct, kw_only=True):
    """The body of `POST /v1/messages`."""

    model: str
    messages: list[Message]
    max_tokens: int
    system: str | list[Text] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: ToolChoice | None = None
    thinking: ThinkingConfig | None = None
    output_config: OutputConfig | None = None
    metadata: dict[str, str | None] | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    cache_control: CacheControl | None = None
    container: Any = None
    diagnostics: Any = None
    inference_geo: str | None = None
    speed: str | None = None

    def system_text(self) -> str:
        """Return the instructions in front of the conversation."""
        return self.system if isinstance(self.system, str) else "".join(block.text for block in self.system or ())


class _StrictRequest(MessagesRequest, kw_only=True, forbid_unknown_fields=True):
    """The same; unknown top-level fields are refused."""


_LENIENT = msgspec.json.Decoder(MessagesRequest)
_STRICT: msgspec.json.Decoder[MessagesRequest] = msgspec.json.Decoder(_StrictRequest)
_PATH = re.compile(r" - at `(?:key in )?\$\.?(.*)`$")
_MISSING = re.compile(r"^Object missing required field `(.+?)`")
_UNKNOWN = re.compile(r"^Object contains unknown field `(.+?)`")
_TYPE = re.compile(r"^Expected `(.+?)`, got `(.+?)`")
_TYPE_NAMES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "array": "list",
    "object": "dictionary",
}


def read_request(body: bytes, *, strict: bool) -> MessagesRequest:
    """Decode a request; `strict` refuses unknown top-level fields. Raises RefusedError."""
    try:
        return (_STRICT if strict else _LENIENT).decode(body)
    except msgspec.ValidationError as failure:
        raise _in_the_services_words(str(failure)) from failure
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as failure:
        raise invalid("The request body is not valid JSON") from failure


def _in_the_services_words(problem: str) -> RefusedError:
    found = _PATH.search(problem)
    path = re.sub(r"\[(\d+)\]", r".\1", found.group(1)) if found else ""
    if missing := _MISSING.match(problem):
        return invalid(f"{_join(path, missing.group(1))}: Field required")
    if unknown := _UNKNOWN.match(problem):
        return invalid(f"{_join(path, unknown.group(1))}: Extra inputs are not permitted")
    if wrong := _TYPE.match(problem):
        names = [_TYPE_NAMES.get(name, name) for name in wrong.group(1).split(" | ") if name != "null"]
        return invalid(f"{path}: Input should be a valid {' or '.join(names)}")
    return invalid(f"{path}: {problem.partition(' - at ')[0]}")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
