"""Reading a chat-completions request as OpenAI does: what it takes, and how it words what it refuses."""

from __future__ import annotations

import re
from typing import Any, Literal, TypeVar

import msgspec

from trunkline_server.simulator.openai.checks import RequestRefusedError, check_request, missing_parameter


class Part(msgspec.Struct, forbid_unknown_fields=True):
    """One piece of a message's content."""

    type: str
    text: str | None = None
    image_url: dict[str, Any] | None = None
    input_audio: dict[str, Any] | None = None
    refusal: str | None = None
    file: dict[str, Any] | None = None


class CalledFunction(msgspec.Struct):
    """Name and arguments of a tool call that the assistant made."""

    name: str
    arguments: str


class MadeToolCall(msgspec.Struct):
    """A tool call in an assistant's message."""

    id: str
    type: str = "function"
    function: CalledFunction | None = None
    custom: dict[str, Any] | None = None


class Message(msgspec.Struct, forbid_unknown_fields=True):
    """One message of the conversation."""

    role: str
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[MadeToolCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    audio: dict[str, Any] | None = None
    function_call: dict[str, Any] | None = None
    reasoning_content: str | None = None
    """Not OpenAI's own, but of servers that speak its protocol and want their reasoning back."""

    def text(self) -> str:
        """Return all text of the message."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text or "" for part in self.content or ())


class FunctionSpec(msgspec.Struct):
    """A function that the model may call."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolSpec(msgspec.Struct):
    """A tool on offer."""

    type: str
    function: FunctionSpec | None = None
    custom: dict[str, Any] | None = None


class NamedFunction(msgspec.Struct):
    """The name in a tool choice."""

    name: str


class NamedTool(msgspec.Struct):
    """A tool choice that names one function."""

    type: str
    function: NamedFunction


class SchemaFormat(msgspec.Struct):
    """The schema of a structured answer."""

    name: str
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct):
    """The form that the answer's text must have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: SchemaFormat | None = None


class StreamOptions(msgspec.Struct, forbid_unknown_fields=True):
    """Options of a stream."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ChatRequest(msgspec.Struct, kw_only=True):
    """A chat-completions request: every top-level field that OpenAI knows."""

    model: str
    messages: list[Message]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[ToolSpec] | None = None
    tool_choice: str | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    audio: Any = None
    function_call: Any = None
    functions: Any = None
    metadata: dict[str, str] | None = None
    modalities: list[str] | None = None
    prediction: Any = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    user: str | None = None
    verbosity: str | None = None
    web_search_options: Any = None

    def most_tokens(self) -> int | None:
        """Return the most completion tokens that the caller wants, if it said so."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


class _StrictChatRequest(ChatRequest, kw_only=True, forbid_unknown_fields=True):
    """The same; unknown top-level fields are refused."""


_LENIENT = msgspec.json.Decoder(ChatRequest)
_STRICT: msgspec.json.Decoder[ChatRequest] = msgspec.json.Decoder(_StrictChatRequest)
_PATH = re.compile(r" - at `(?:key in )?\$\.?(.*)`$")
_MISSING = re.compile(r"^Object missing required field `(.+?)`")
_UNKNOWN = re.compile(r"^Object contains unknown field `(.+?)`")
_TYPE = re.compile(r"^Expected `(.+?)`, got `(.+?)`")
_TYPE_NAMES = {
    "str": "a string",
    "int": "an integer",
    "float": "a decimal",
    "bool": "a boolean",
    "array": "an array",
    "object": "an object",
    "null": "null",
}


_Body = TypeVar("_Body")


def read_request(body: bytes, *, strict: bool) -> ChatRequest:
    """Decode and check a request; `strict` refuses unknown top-level fields. Raises RequestRefusedError."""
    request = decode_body(_STRICT if strict else _LENIENT, body)
    check_request(request)
    return request


def decode_body(decoder: msgspec.json.Decoder[_Body], body: bytes) -> _Body:
    """Decode any request of OpenAI's; raises RequestRefusedError in its words."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as failure:
        raise _in_openai_words(str(failure)) from failure
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as failure:
        raise RequestRefusedError(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
            "library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)"
        ) from failure


def _in_openai_words(problem: str) -> RequestRefusedError:
    found = _PATH.search(problem)
    path = found.group(1) if found else ""
    if missing := _MISSING.match(problem):
        return missing_parameter(_join(path, missing.group(1)))
    if unknown := _UNKNOWN.match(problem):
        param = _join(path, unknown.group(1))
        return RequestRefusedError(f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter")
    if wrong := _TYPE.match(problem):
        names = [name for name in wrong.group(1).split(" | ") if name != "null"]
        wanted = ("one of " if len(names) > 1 else "") + " or ".join(_TYPE_NAMES.get(name, name) for name in names)
        got = _TYPE_NAMES.get(wrong.group(2), wrong.group(2))
        return RequestRefusedError(
            f"Invalid type for '{path}': expected {wanted}, but got {got} instead.",
            param=path or None,
            code="invalid_type",
        )
    return RequestRefusedError(
        f"Invalid value for '{path}': {problem.partition(' - at ')[0]}", param=path or None, code="invalid_value"
    )


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
