"""What OpenAI checks of a chat-completions request beyond its types, in its own words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trunkline_server.simulator.failure import RefusedError, Reply
from trunkline_server.simulator.openai.errors import ErrorBody

if TYPE_CHECKING:
    from trunkline_server.simulator.openai.request import ChatRequest, Message, ResponseFormat

ROLES = ("system", "assistant", "user", "function", "tool", "developer")
PART_TYPES = ("text", "image_url", "input_audio", "refusal", "audio", "file")
MAX_STOPS = 4
MAX_TOP_LOGPROBS = 20
MAX_CALL_ID_CHARS = 40


class RequestRefusedError(RefusedError):
    """The request is one that OpenAI answers with 400, in its words."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(Reply(400, ErrorBody(message, param=param, code=code).encoded()))


def missing_parameter(param: str) -> RequestRefusedError:
    """Return the refusal of a request that lacks `param`."""
    return RequestRefusedError(
        f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
    )


def check_request(request: ChatRequest) -> None:
    """Raise RequestRefusedError for the first thing that OpenAI would refuse."""
    _check_messages(request.messages)
    _check_figures(request)
    _check_tools(request)


def _check_messages(messages: list[Message]) -> None:
    if not messages:
        raise RequestRefusedError(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            param="messages",
            code="empty_array",
        )
    open_calls: set[str] = set()
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if message.role not in ROLES:
            raise _bad_value(message.role, ROLES, f"{where}.role")
        if message.role == "tool":
            _check_tool_message(message, open_calls, index)
            continue
        _check_answered(open_calls, index)
        if message.content is None and not _may_be_without_content(message):
            raise RequestRefusedError(
                f"Invalid value for 'content': expected a string, got null. (at {where})",
                param=f"{where}.content",
                code="invalid_type",
            )
        _check_parts(message, where)
        for number, call in enumerate(message.tool_calls or ()):
            _check_call_id(call.id, f"{where}.tool_calls[{number}].id")
            open_calls.add(call.id)
    _check_answered(open_calls, len(messages))


def _may_be_without_content(message: Message) -> bool:
    return message.role == "assistant" and bool(
        message.tool_calls or message.refusal or message.audio or message.function_call
    )


def _check_call_id(call_id: str, path: str) -> None:
    if len(call_id) > MAX_CALL_ID_CHARS:
        raise RequestRefusedError(
            f"Invalid '{path}': string too long. Expected a string with maximum length {MAX_CALL_ID_CHARS}, but got a "
            f"string with length {len(call_id)} instead.",
            param=path,
            code="string_above_max_length",
        )


def _check_tool_message(message: Message, open_calls: set[str], index: int) -> None:
    if message.tool_call_id is None:
        param = f"messages[{index}].tool_call_id"
        raise missing_parameter(param)
    if message.tool_call_id not in open_calls:
        raise RequestRefusedError(
            "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
            "'tool_calls'.",
            param=f"messages.[{index}].role",
        )
    open_calls.discard(message.tool_call_id)


def _check_answered(open_calls: set[str], index: int) -> None:
    if open_calls:
        raise RequestRefusedError(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            "'tool_call_id'. The following tool_call_ids did not have response messages: "
            f"{', '.join(sorted(open_calls))}",
            param=f"messages.[{index}].role",
        )


def _check_parts(message: Message, where: str) -> None:
    if message.content is None or isinstance(message.content, str):
        return
    for index, part in enumerate(message.content):
        path = f"{where}.content[{index}]"
        if part.type not in PART_TYPES:
            raise _bad_value(part.type, PART_TYPES, f"{path}.type")
        if getattr(part, part.type, None) is None and part.type != "audio":
            raise missing_parameter(f"{path}.{part.type}")
        if part.image_url is not None:
            url = part.image_url.get("url")
            if not isinstance(url, str) or not url.startswith(("http://", "https://", "data:image/")):
                raise RequestRefusedError(
                    f"Invalid '{path}.image_url.url'. Expected a valid URL, but got a value with an invalid format.",
                    param=f"{path}.image_url.url",
                    code="invalid_value",
                )


def _check_figures(request: ChatRequest) -> None:
    for name, low, high in (
        ("max_tokens", 1, None),
        ("max_completion_tokens", 1, None),
        ("n", 1, 128),
        ("top_logprobs", 0, MAX_TOP_LOGPROBS),
        ("temperature", 0, 2),
        ("top_p", 0, 1),
        ("frequency_penalty", -2, 2),
        ("presence_penalty", -2, 2),
    ):
        value = getattr(request, name)
        if value is None:
            continue
        kind = "decimal" if name in {"temperature", "top_p", "frequency_penalty", "presence_penalty"} else "integer"
        if value < low:
            raise _out_of_range(name, kind, "below minimum", f">= {low}", value)
        if high is not None and value > high:
            raise _out_of_range(name, kind, "above maximum", f"<= {high}", value)
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise RequestRefusedError(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            param="max_tokens",
            code="invalid_parameter_combination",
        )
    if request.n is not None and request.n > 1:
        raise RequestRefusedError("The simulator answers one choice: 'n' must be 1.", param="n", code="invalid_value")
    if isinstance(request.stop, list) and len(request.stop) > MAX_STOPS:
        raise RequestRefusedError(
            f"Invalid 'stop': array too long. Expected an array with maximum length {MAX_STOPS}, but got an array with "
            f"length {len(request.stop)} instead.",
            param="stop",
            code="array_above_max_length",
        )
    if request.top_logprobs is not None and not request.logprobs:
        raise _only_with("top_logprobs", "logprobs")
    if request.stream_options is not None and not request.stream:
        raise _only_with("stream_options", "stream")


def _check_tools(request: ChatRequest) -> None:
    _check_format(request.response_format)
    for index, tool in enumerate(request.tools or ()):
        if tool.type == "function" and tool.function is None:
            param = f"tools[{index}].function"
            raise missing_parameter(param)
        if tool.type not in {"function", "custom"}:
            raise _bad_value(tool.type, ("function", "custom"), f"tools[{index}].type")
    choice = request.tool_choice
    if choice is None:
        return
    if not request.tools:
        raise RequestRefusedError(
            "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.",
            param="tool_choice",
        )
    if isinstance(choice, str):
        if choice not in {"none", "auto", "required"}:
            raise _bad_value(choice, ("none", "auto", "required"), "tool_choice")
    elif choice.function.name not in {tool.function.name for tool in request.tools if tool.function}:
        raise RequestRefusedError(
            f"Invalid value for 'tool_choice': the function '{choice.function.name}' is not in 'tools'.",
            param="tool_choice",
        )


def _check_format(wanted: ResponseFormat | None) -> None:
    if wanted is None or wanted.type != "json_schema":
        return
    if wanted.json_schema is None:
        raise missing_parameter("response_format.json_schema")
    if wanted.json_schema.schema is None:
        raise missing_parameter("response_format.json_schema.schema")


def _bad_value(value: str, known: tuple[str, ...], param: str) -> RequestRefusedError:
    *most, last = (f"'{name}'" for name in known)
    return RequestRefusedError(
        f"Invalid value: '{value}'. Supported values are: {', '.join(most)}, and {last}.",
        param=param,
        code="invalid_value",
    )


def _out_of_range(name: str, kind: str, side: str, bound: str, value: float) -> RequestRefusedError:
    return RequestRefusedError(
        f"Invalid '{name}': {kind} {side} value. Expected a value {bound}, but got {value} instead.",
        param=name,
        code=f"{kind}_{side.replace('minimum', 'min').replace('maximum', 'max').replace(' ', '_')}_value",
    )


def _only_with(name: str, other: str) -> RequestRefusedError:
    return RequestRefusedError(
        f"The '{name}' parameter is only allowed when '{other}' is enabled.", param=name, code="invalid_value"
    )
