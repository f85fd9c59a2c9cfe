"""A Converse request: every field that the service knows, and nothing more."""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from trunkline_server.simulator.bedrock.errors import invalid


class _Part(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What all of these have in common: camelCase on the wire, and no other fields."""


class S3Location(_Part):
    """An object in a bucket."""

    uri: str
    bucket_owner: str | None = None


class Source(_Part):
    """Where media is: in the request, or in a bucket."""

    bytes: str | None = None
    s3_location: S3Location | None = None
    text: str | None = None
    content: Any = None


class Media(_Part):
    """A picture, a video or a recording."""

    format: str
    source: Source


class Document(_Part):
    """A document."""

    name: str
    source: Source
    format: str | None = None
    context: str | None = None
    citations: Any = None


class ToolUse(_Part):
    """A call of an earlier answer."""

    tool_use_id: str
    name: str
    input: dict[str, Any]
    type: str | None = None


class ResultBlock(_Part):
    """A piece of what a tool answered."""

    text: str | None = None
    json: Any = None
    image: Media | None = None
    document: Document | None = None
    video: Media | None = None
    search_result: Any = None


class ToolResult(_Part):
    """What a tool answered."""

    tool_use_id: str
    content: list[ResultBlock]
    status: Literal["success", "error"] | None = None
    type: str | None = None


class ReasoningText(_Part):
    """Reasoning of an earlier answer."""

    text: str
    signature: str | None = None


class Reasoning(_Part):
    """Reasoning of an earlier answer, shown or withheld."""

    reasoning_text: ReasoningText | None = None
    redacted_content: str | None = None


class CachePoint(_Part):
    """A mark: up to here is worth keeping."""

    type: Literal["default"]
    ttl: Literal["5m", "1h"] | None = None


class Block(_Part):
    """One block of a message: exactly one of its fields is set."""

    text: str | None = None
    image: Media | None = None
    document: Document | None = None
    video: Media | None = None
    audio: Media | None = None
    tool_use: ToolUse | None = None
    tool_result: ToolResult | None = None
    reasoning_content: Reasoning | None = None
    cache_point: CachePoint | None = None
    guard_content: Any = None
    citations_content: Any = None
    search_result: Any = None
    tool_addition: Any = None
    tool_removal: Any = None

    def kinds(self) -> list[str]:
        """Return which fields are set."""
        return [name for name in self.__struct_fields__ if getattr(self, name) is not None]


class Message(_Part):
    """One turn."""

    role: Literal["user", "assistant", "system"]
    content: list[Block]


class SystemBlock(_Part):
    """A piece of what stands before the conversation."""

    text: str | None = None
    cache_point: CachePoint | None = None
    guard_content: Any = None


class InferenceConfig(_Part):
    """The settings that all models share."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: list[str] | None = None


class InputSchema(_Part):
    """The schema of a tool's arguments."""

    json: dict[str, Any]


class ToolSpec(_Part):
    """A function that the model may call."""

    name: str
    input_schema: InputSchema
    description: str | None = None
    strict: bool | None = None


class NamedTool(_Part):
    """A tool by its name."""

    name: str


class Tool(_Part):
    """A tool on offer."""

    tool_spec: ToolSpec | None = None
    system_tool: NamedTool | None = None
    cache_point: CachePoint | None = None


class Nothing(_Part):
    """An empty object."""


class ToolChoice(_Part):
    """Whether tools may or must be called."""

    auto: Nothing | None = None
    any: Nothing | None = None
    tool: NamedTool | None = None


class ToolConfig(_Part):
    """The tools on offer."""

    tools: list[Tool]
    tool_choice: ToolChoice | None = None


class SchemaDefinition(_Part):
    """The schema of the answer, as a text."""

    schema: str
    name: str | None = None
    description: str | None = None


class Structure(_Part):
    """What wraps a schema."""

    json_schema: SchemaDefinition


class TextFormat(_Part):
    """The form of the answer's text."""

    type: Literal["json_schema"]
    structure: Structure


class OutputConfig(_Part):
    """Form and effort of the answer."""

    text_format: TextFormat | None = None
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None


class ConverseRequest(msgspec.Struct, kw_only=True, rename="camel"):
    """The body of `POST /model/{model}/converse` and `…/converse-stream`."""

    messages: list[Message] = msgspec.field(default_factory=list)
    system: list[SystemBlock] | None = None
    inference_config: InferenceConfig | None = None
    tool_config: ToolConfig | None = None
    output_config: OutputConfig | None = None
    additional_model_request_fields: dict[str, Any] | None = None
    additional_model_response_field_paths: list[str] | None = None
    guardrail_config: dict[str, Any] | None = None
    performance_config: dict[str, Any] | None = None
    prompt_variables: dict[str, Any] | None = None
    request_metadata: dict[str, str] | None = None
    service_tier: dict[str, Any] | None = None


class _StrictRequest(ConverseRequest, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The same; unknown top-level fields are refused."""


_LENIENT = msgspec.json.Decoder(ConverseRequest)
_STRICT: msgspec.json.Decoder[ConverseRequest] = msgspec.json.Decoder(_StrictRequest)
_PATH = re.compile(r" - at `(?:key in )?\$\.?(.*)`$")


def read_request(body: bytes, *, strict: bool) -> ConverseRequest:
    """Decode a request; `strict` refuses unknown top-level fields. Raises RefusedError."""
    try:
        return (_STRICT if strict else _LENIENT).decode(body)
    except msgspec.ValidationError as failure:
        problem = str(failure)
        found = _PATH.search(problem)
        words, where = problem.partition(" - at ")[0], found.group(1) if found else ""
        raise invalid(f"1 validation error detected: Value at '{where}' failed to satisfy: {words}") from failure
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as failure:
        raise invalid("Malformed input request, please reformat your input and try again.") from failure
