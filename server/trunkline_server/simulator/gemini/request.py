"""A generateContent request: every field that the service knows, and nothing more."""

from __future__ import annotations

import re
from typing import Any, Literal, TypeVar

import msgspec

from trunkline_server.simulator.failure import RefusedError
from trunkline_server.simulator.gemini.errors import invalid


class _Wire(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A record of the service: its names are in camel case, and no other is known."""


class Blob(_Wire):
    """Bytes of a picture, a recording or a document."""

    mime_type: str
    data: str
    display_name: str | None = None


class FileData(_Wire):
    """The address of a file."""

    file_uri: str
    mime_type: str | None = None
    display_name: str | None = None


class FunctionCall(_Wire):
    """A call of an earlier answer."""

    name: str
    args: dict[str, Any] = {}
    id: str | None = None


class ResultPart(_Wire):
    """A picture or a document in a function's result."""

    inline_data: Blob | None = None
    file_data: FileData | None = None


class FunctionResponse(_Wire):
    """What a function answered."""

    name: str
    response: dict[str, Any]
    id: str | None = None
    parts: list[ResultPart] | None = None


class Part(_Wire):
    """One part of a content."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    inline_data: Blob | None = None
    file_data: FileData | None = None
    function_call: FunctionCall | None = None
    function_response: FunctionResponse | None = None
    executable_code: Any = None
    code_execution_result: Any = None
    video_metadata: Any = None
    media_resolution: Any = None

    def kinds(self) -> int:
        """Return how many kinds of content it holds; it must be one."""
        held = (
            self.text,
            self.inline_data,
            self.file_data,
            self.function_call,
            self.function_response,
            self.executable_code,
            self.code_execution_result,
        )
        return sum(value is not None for value in held)


class Content(_Wire):
    """One turn."""

    parts: list[Part] = []
    role: str | None = None

    def text(self) -> str:
        """Return all words of the turn but its thoughts, those in results included."""
        return "".join(_words(part) for part in self.parts)

    def calls(self) -> list[FunctionCall]:
        """Return the calls in it."""
        return [part.function_call for part in self.parts if part.function_call is not None]

    def responses(self) -> list[FunctionResponse]:
        """Return the results in it."""
        return [part.function_response for part in self.parts if part.function_response is not None]


def _words(part: Part) -> str:
    if part.text is not None:
        return "" if part.thought else part.text
    if part.function_response is None:
        return ""
    return "".join(value for value in part.function_response.response.values() if isinstance(value, str))


class Function(_Wire):
    """A function on offer."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    parameters_json_schema: dict[str, Any] | None = None
    response: dict[str, Any] | None = None
    response_json_schema: Any = None
    behavior: str | None = None


class Tool(_Wire):
    """Functions, or something that the service does itself."""

    function_declarations: list[Function] | None = None
    google_search: Any = None
    google_search_retrieval: Any = None
    google_maps: Any = None
    code_execution: Any = None
    url_context: Any = None
    file_search: Any = None
    computer_use: Any = None
    retrieval: Any = None
    enterprise_web_search: Any = None


class FunctionCallingConfig(_Wire):
    """Whether functions may, must not or must be called."""

    mode: Literal["MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"] = "AUTO"
    allowed_function_names: list[str] | None = None
    stream_function_call_arguments: bool | None = None


class ToolConfig(_Wire):
    """How tools are used."""

    function_calling_config: FunctionCallingConfig | None = None
    retrieval_config: Any = None
    include_server_side_tool_invocations: bool | None = None


class ThinkingConfig(_Wire):
    """How much to think, and whether to show it."""

    include_thoughts: bool | None = None
    thinking_budget: int | None = None
    thinking_level: Literal["MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH"] | None = None


class GenerationConfig(_Wire):
    """How the answer is drawn."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: float | None = None
    candidate_count: int | None = None
    max_output_tokens: int | None = None
    stop_sequences: list[str] | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    response_logprobs: bool | None = None
    logprobs: int | None = None
    response_mime_type: str | None = None
    response_schema: dict[str, Any] | None = None
    response_json_schema: dict[str, Any] | None = None
    response_modalities: list[str] | None = None
    thinking_config: ThinkingConfig | None = None
    media_resolution: str | None = None
    speech_config: Any = None
    image_config: Any = None
    audio_timestamp: bool | None = None
    enable_enhanced_civic_answers: bool | None = None


class GenerateRequest(msgspec.Struct, rename="camel", kw_only=True):
    """The body of `:generateContent` and `:streamGenerateContent`."""

    contents: list[Content] = []
    system_instruction: Content | None = None
    generation_config: GenerationConfig = msgspec.field(default_factory=GenerationConfig)
    tools: list[Tool] | None = None
    tool_config: ToolConfig | None = None
    safety_settings: list[dict[str, str]] | None = None
    cached_content: str | None = None
    labels: dict[str, str] | None = None
    service_tier: str | None = None
    store: bool | None = None
    model: str | None = None

    def functions(self) -> list[Function]:
        """Return all functions on offer."""
        return [function for tool in self.tools or () for function in tool.function_declarations or ()]

    def calling(self) -> FunctionCallingConfig:
        """Return how functions are to be called."""
        return (self.tool_config.function_calling_config if self.tool_config else None) or FunctionCallingConfig()


class _StrictRequest(GenerateRequest, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """The same; unknown top-level fields are refused."""


Record = TypeVar("Record", bound=msgspec.Struct)

_PATH = re.compile(r" - at `(?:key in )?\$\.?(.*)`$")
_MISSING = re.compile(r"^Object missing required field `(.+?)`")
_UNKNOWN = re.compile(r"^Object contains unknown field `(.+?)`")
_OPAQUE = frozenset(
    {"args", "labels", "parameters", "parametersJsonSchema", "response", "responseJsonSchema", "responseSchema"}
)
"""Fields whose inside is the caller's own."""


def read_request(body: bytes, *, strict: bool) -> GenerateRequest:
    """Decode a request; `strict` refuses unknown top-level fields. Raises RefusedError."""
    return decoded(_StrictRequest if strict else GenerateRequest, body)


def decoded(record: type[Record], body: bytes, *, spellings: bool = True) -> Record:
    """Decode a body. `spellings`: names may be in snake case too, as the vendor's own package has some of them.

    Raises RefusedError in the service's words.
    """
    try:
        found = msgspec.json.decode(body)
        return msgspec.convert(_camel(found) if spellings else found, record)
    except msgspec.ValidationError as failure:
        raise _in_the_services_words(str(failure)) from failure
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as failure:
        raise invalid("Invalid JSON payload received. Unexpected token.") from failure


def _camel(value: Any) -> Any:
    """Return decoded JSON with its names in camel case."""
    if isinstance(value, list):
        return [_camel(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    named = {re.sub(r"_([a-z])", lambda found: found[1].upper(), name): inner for name, inner in value.items()}
    return {name: inner if name in _OPAQUE else _camel(inner) for name, inner in named.items()}


def _in_the_services_words(problem: str) -> RefusedError:
    found = _PATH.search(problem)
    path = _snake(found.group(1)) if found else ""
    begin = "Invalid JSON payload received."
    if unknown := _UNKNOWN.match(problem):
        return invalid(f"{begin} Unknown name \"{unknown.group(1)}\" at '{path}': Cannot find field.", path or "body")
    if missing := _MISSING.match(problem):
        where = f"{path}.{_snake(missing.group(1))}" if path else _snake(missing.group(1))
        return invalid(f"* GenerateContentRequest.{where}: must be specified\n", where)
    return invalid(f"Invalid value at '{path}' ({problem.partition(' - at ')[0]})", path or "body")


def _snake(path: str) -> str:
    return re.sub(r"[A-Z]", lambda found: f"_{found.group().lower()}", path)
