"""Reading a request for a response as OpenAI does: what it takes, and how it words what it refuses."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from trunkline_server.simulator.openai.request import decode_body


class InputPart(msgspec.Struct, forbid_unknown_fields=True):
    """One piece of the content of a message or of a call's output."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: str | None = None
    file_id: str | None = None
    file_url: str | None = None
    file_data: str | None = None
    filename: str | None = None
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class SummaryPart(msgspec.Struct, forbid_unknown_fields=True):
    """One paragraph of a summary of reasoning."""

    type: Literal["summary_text"]
    text: str


class InputItem(msgspec.Struct, forbid_unknown_fields=True):
    """One item of the input: a message, a call, its output or reasoning."""

    type: str = "message"
    id: str | None = None
    status: str | None = None
    role: str | None = None
    content: str | list[InputPart] | None = None
    phase: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[InputPart] | None = None
    summary: list[SummaryPart] | None = None
    encrypted_content: str | None = None

    def parts(self) -> list[InputPart]:
        """Return the parts of its content or output; a plain text is none."""
        told = self.output if self.type == "function_call_output" else self.content
        return [] if told is None or isinstance(told, str) else told

    def text(self) -> str:
        """Return all its text."""
        told = self.output if self.type == "function_call_output" else self.content
        return told if isinstance(told, str) else "".join(part.text or "" for part in self.parts())


class ToolSpec(msgspec.Struct):
    """A tool on offer; those that the provider runs itself have fields of their own."""

    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    function: Any = None
    """Where chat completions have it; here it is a mistake."""


class NamedTool(msgspec.Struct):
    """A tool choice that names one tool."""

    type: str
    name: str | None = None


class Format(msgspec.Struct, forbid_unknown_fields=True):
    """The form that the answer's text must have."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class TextConfig(msgspec.Struct, forbid_unknown_fields=True):
    """Settings of the text."""

    format: Format | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class Reasoning(msgspec.Struct, forbid_unknown_fields=True):
    """Settings of the reasoning."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    context: str | None = None
    mode: str | None = None


class StreamOptions(msgspec.Struct, forbid_unknown_fields=True):
    """Options of a stream."""

    include_obfuscation: bool | None = None


class ResponseRequest(msgspec.Struct, kw_only=True):
    """A request for a response: every top-level field that OpenAI knows."""

    model: str
    input: str | list[InputItem]
    instructions: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    store: bool | None = None
    include: list[str] | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    tools: list[ToolSpec] | None = None
    tool_choice: str | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    reasoning: Reasoning | None = None
    background: bool | None = None
    context_management: Any = None
    conversation: Any = None
    metadata: dict[str, str] | None = None
    moderation: Any = None
    previous_response_id: str | None = None
    prompt: Any = None
    prompt_cache_key: str | None = None
    prompt_cache_options: Any = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    truncation: Literal["auto", "disabled"] | None = None
    user: str | None = None

    def items(self) -> list[InputItem]:
        """Return the input as items; a plain text is a message of the user."""
        return [InputItem(role="user", content=self.input)] if isinstance(self.input, str) else self.input


class _StrictResponseRequest(ResponseRequest, kw_only=True, forbid_unknown_fields=True):
    """The same; unknown top-level fields are refused."""


_LENIENT = msgspec.json.Decoder(ResponseRequest)
_STRICT: msgspec.json.Decoder[ResponseRequest] = msgspec.json.Decoder(_StrictResponseRequest)


def decode_request(body: bytes, *, strict: bool) -> ResponseRequest:
    """Decode a request; `strict` refuses unknown top-level fields. Raises RequestRefusedError."""
    return decode_body(_STRICT if strict else _LENIENT, body)
