"""What OpenAI checks of a request for a response beyond its types, in its own words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trunkline_server.simulator.failure import RefusedError, Reply
from trunkline_server.simulator.openai.checks import RequestRefusedError, missing_parameter
from trunkline_server.simulator.openai.errors import ErrorBody
from trunkline_server.simulator.openai_responses.request import NamedTool
from trunkline_server.simulator.openai_responses.seals import is_sealed

if TYPE_CHECKING:
    from trunkline_server.simulator.openai_responses.request import InputItem, ResponseRequest

ROLES = ("assistant", "system", "developer", "user")
ITEM_TYPES = ("message", "function_call", "function_call_output", "reasoning")
ITEM_FIELDS = {
    "message": ("type", "id", "status", "role", "content", "phase"),
    "function_call": ("type", "id", "status", "call_id", "name", "arguments"),
    "function_call_output": ("type", "id", "status", "call_id", "output"),
    "reasoning": ("type", "id", "status", "summary", "content", "encrypted_content"),
}
GIVEN_PARTS = ("input_text", "input_image", "input_file")
SAID_PARTS = ("output_text", "refusal")
INCLUDABLE = (
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
)
MAX_ID_CHARS = 64
LEAST_OUTPUT_TOKENS = 16
MAX_TOP_LOGPROBS = 20


def check_request(request: ResponseRequest) -> None:
    """Raise RefusedError for the first thing that OpenAI would refuse."""
    items = request.items()
    if not items:
        raise RequestRefusedError(
            "Invalid 'input': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            param="input",
            code="empty_array",
        )
    for index, item in enumerate(items):
        _check_item(item, f"input[{index}]")
    _check_calls(items)
    _check_reasoning(items, stored=request.store is not False)
    _check_figures(request)
    _check_tools(request)


def _check_item(item: InputItem, where: str) -> None:
    if item.type not in ITEM_TYPES:
        raise _bad_value(item.type, ITEM_TYPES, f"{where}.type")
    for name in item.__struct_fields__:
        if getattr(item, name) is not None and name not in ITEM_FIELDS[item.type]:
            path = f"{where}.{name}"
            raise RequestRefusedError(f"Unknown parameter: '{path}'.", param=path, code="unknown_parameter")
    needed = {
        "message": ("role", "content"),
        "function_call": ("call_id", "name", "arguments"),
        "function_call_output": ("call_id", "output"),
        "reasoning": ("summary",),
    }[item.type]
    for name in needed:
        if getattr(item, name) is None:
            raise missing_parameter(f"{where}.{name}")
    if item.call_id is not None and len(item.call_id) > MAX_ID_CHARS:
        raise RequestRefusedError(
            f"Invalid '{where}.call_id': string too long. Expected a string with maximum length {MAX_ID_CHARS}, but "
            f"got a string with length {len(item.call_id)} instead.",
            param=f"{where}.call_id",
            code="string_above_max_length",
        )
    _check_parts(item, where)


def _check_parts(item: InputItem, where: str) -> None:
    known: tuple[str, ...] = GIVEN_PARTS
    if item.type == "message":
        if item.role not in ROLES:
            raise _bad_value(str(item.role), ROLES, f"{where}.role")
        known = SAID_PARTS if item.role == "assistant" else GIVEN_PARTS
    field = "output" if item.type == "function_call_output" else "content"
    for index, part in enumerate(item.parts()):
        path = f"{where}.{field}[{index}]"
        if part.type not in known:
            raise _bad_value(part.type, known, f"{path}.type")
        if part.type == "input_image" and item.role in {"system", "developer"}:
            raise RequestRefusedError(
                f"Invalid '{path}': images are only allowed in messages of the user.", param=path, code="invalid_value"
            )
        told = {
            "input_text": part.text,
            "output_text": part.text,
            "refusal": part.refusal,
            "input_image": part.image_url or part.file_id,
            "input_file": part.file_id or part.file_url or (part.file_data and part.filename),
        }[part.type]
        if told is None:
            raise missing_parameter(f"{path}.{part.type.removeprefix('input_').removeprefix('output_')}")
        if part.image_url is not None and not part.image_url.startswith(("http://", "https://", "data:image/")):
            raise RequestRefusedError(
                f"Invalid '{path}.image_url'. Expected a valid URL, but got a value with an invalid format.",
                param=f"{path}.image_url",
                code="invalid_value",
            )


def _check_calls(items: list[InputItem]) -> None:
    open_calls: list[str] = []
    for item in items:
        if item.type == "function_call":
            open_calls.append(str(item.call_id))
        elif item.type == "function_call_output":
            if item.call_id not in open_calls:
                message = f"No tool call found for function call output with call_id {item.call_id}."
                raise RequestRefusedError(message, param="input")
            open_calls.remove(str(item.call_id))
        elif item.type == "message" and open_calls and item.role != "assistant":
            # What the model says beside its calls may follow them; nobody else may speak before they are answered.
            break
    if open_calls:
        raise RequestRefusedError(f"No tool output found for function call {open_calls[0]}.", param="input")


def _check_reasoning(items: list[InputItem], *, stored: bool) -> None:
    for item, after in zip(items, [*items[1:], None], strict=True):
        if item.type != "reasoning":
            continue
        led_to = after is not None and (after.type in {"function_call", "reasoning"} or after.role == "assistant")
        if not led_to:
            raise RequestRefusedError(
                f"Item '{item.id}' of type 'reasoning' was provided without its required following item.",
                param="input",
            )
        if item.encrypted_content is None:
            if stored:
                continue
            message = (
                f"Item with id '{item.id}' not found. Items are not persisted when `store` is set to false. Try again "
                "with `store` set to true, or remove this item from your input."
            )
            raise RefusedError(Reply(404, ErrorBody(message, param="input").encoded()))
        if not is_sealed(item.id, item.encrypted_content):
            told = f"{item.encrypted_content[:4]}...{item.encrypted_content[-4:]}"
            raise RequestRefusedError(
                f"The encrypted content {told} could not be verified.", code="invalid_encrypted_content"
            )


def _check_figures(request: ResponseRequest) -> None:
    for name, kind, low, high in (
        ("max_output_tokens", "integer", LEAST_OUTPUT_TOKENS, None),
        ("top_logprobs", "integer", 0, MAX_TOP_LOGPROBS),
        ("temperature", "decimal", 0, 2),
        ("top_p", "decimal", 0, 1),
    ):
        value = getattr(request, name)
        if value is not None and value < low:
            raise _out_of_range(name, kind, "below minimum", f">= {low}", value)
        if value is not None and high is not None and value > high:
            raise _out_of_range(name, kind, "above maximum", f"<= {high}", value)
    for index, name in enumerate(request.include or ()):
        if name not in INCLUDABLE:
            raise _bad_value(name, INCLUDABLE, f"include[{index}]")
    if request.stream_options is not None and not request.stream:
        raise RequestRefusedError(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
        )
    for name in ("background", "conversation", "previous_response_id", "prompt"):
        if getattr(request, name):
            raise RequestRefusedError(
                f"The simulator stores no responses: '{name}' is not for it.", param=name, code="invalid_value"
            )


def _check_tools(request: ResponseRequest) -> None:
    wanted = None if request.text is None else request.text.format
    if wanted is not None and wanted.type == "json_schema":
        for name in ("name", "schema"):
            if getattr(wanted, name) is None:
                param = f"text.format.{name}"
                raise missing_parameter(param)
    names = []
    for index, tool in enumerate(request.tools or ()):
        if tool.type == "function":
            if not tool.name:
                param = f"tools[{index}].name"
                raise missing_parameter(param)
            names.append(tool.name)
    _check_choice(request, names)


def _check_choice(request: ResponseRequest, names: list[str]) -> None:
    choice = request.tool_choice
    if isinstance(choice, NamedTool) and choice.type == "function" and choice.name not in names:
        raise RequestRefusedError(
            f"Tool choice 'function' with name '{choice.name}' not found in 'tools' parameter.", param="tool_choice"
        )
    if isinstance(choice, str):
        if choice not in {"none", "auto", "required"}:
            raise _bad_value(choice, ("none", "auto", "required"), "tool_choice")
        if choice == "required" and not request.tools:
            raise RequestRefusedError(
                "Tool choice 'required' must be specified with 'tools' parameter.", param="tool_choice"
            )


def _bad_value(value: str, known: tuple[str, ...], param: str) -> RequestRefusedError:
    words = [f"'{name}'" for name in known]
    told = f"{', '.join(words[:-1])}, and {words[-1]}" if len(words) > 1 else words[0]
    return RequestRefusedError(
        f"Invalid value: '{value}'. Supported values are: {told}.", param=param, code="invalid_value"
    )


def _out_of_range(name: str, kind: str, where: str, wanted: str, value: float) -> RequestRefusedError:
    return RequestRefusedError(
        f"Invalid '{name}': {kind} {where} value. Expected a value {wanted}, but got {value} instead.",
        param=name,
        code=f"{kind}_{where.replace(' ', '_')}_value",
    )
