"""What the service checks of a conversation beyond its types, in its own words."""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import TYPE_CHECKING

from trunkline_server.simulator.gemini.errors import invalid
from trunkline_server.simulator.gemini.seals import is_known, signature_of_call, signature_of_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trunkline_server.simulator.gemini.models import Model
    from trunkline_server.simulator.gemini.request import Blob, Content, FunctionResponse, GenerateRequest, Part

_BEGIN = "* GenerateContentRequest"


def check_turns(request: GenerateRequest, model: Model) -> None:
    """Raise RefusedError for the first thing that the service would refuse."""
    contents = request.contents
    if not contents:
        raise invalid(f"{_BEGIN}.contents: contents is not specified\n", "contents")
    for index, content in enumerate(contents):
        _check_content(content, f"contents[{index}]", model)
    _check_order(contents)
    if model.signs_calls:
        _check_signed(contents)
    system = request.system_instruction
    if system is not None and (not system.parts or any(part.text is None for part in system.parts)):
        raise invalid(f"{_BEGIN}.system_instruction.parts: only text is supported\n", "system_instruction")


def _check_content(content: Content, where: str, model: Model) -> None:
    if content.role not in {None, "user", "model"}:
        raise invalid("Please use a valid role: user, model.", f"{where}.role")
    if not content.parts:
        raise invalid(f"{_BEGIN}.{where}.parts: contents.parts must not be empty.\n", f"{where}.parts")
    for number, part in enumerate(content.parts):
        _check_part(part, content.role, f"{where}.parts[{number}]", model)


def _check_part(part: Part, role: str | None, where: str, model: Model) -> None:
    if part.kinds() != 1:
        raise invalid(f"{_BEGIN}.{where}.data: required oneof field 'data' must have one initialized field\n", where)
    if part.inline_data is not None:
        _check_blob(part.inline_data, f"{where}.inline_data")
    if part.function_call is not None and role != "model":
        raise invalid("Please ensure that function call parts are in a turn of the model.", where)
    if part.function_response is not None:
        if role == "model":
            raise invalid("Please ensure that function response parts are in a turn of the user.", where)
        _check_response(part.function_response, where, model)
    if part.thought_signature is not None and not is_known(part.thought_signature, _own_signature(part)):
        raise invalid("Thought signature is not valid.", f"{where}.thought_signature")


def _check_response(response: FunctionResponse, where: str, model: Model) -> None:
    if not response.name:
        raise invalid(f"{_BEGIN}.{where}.function_response.name: Name cannot be empty.\n", where)
    if response.parts and model.old:
        raise invalid("Multimodal function responses are not supported for this model.", where)
    for number, inner in enumerate(response.parts or ()):
        if inner.inline_data is not None:
            _check_blob(inner.inline_data, f"{where}.function_response.parts[{number}].inline_data")


def _check_blob(blob: Blob, where: str) -> None:
    if not blob.mime_type:
        raise invalid(f"{_BEGIN}.{where}.mime_type: mime_type must not be empty\n", where)
    try:
        b64decode(blob.data, validate=True)
    except binascii.Error as failure:
        raise invalid(f"Invalid value at '{where}.data' (TYPE_BYTES), Base64 decoding failed", where) from failure


def _own_signature(part: Part) -> str:
    call = part.function_call
    return signature_of_text(part.text or "") if call is None else signature_of_call(call.name, call.args)


def _check_order(contents: Sequence[Content]) -> None:
    """Check that results follow calls at once, as many as there are, by the names and ids of the calls."""
    open_calls = 0
    for index, content in enumerate(contents):
        calls, responses = content.calls(), content.responses()
        before = contents[index - 1] if index else None
        if responses:
            asked = before.calls() if before is not None else []
            if not asked:
                raise invalid("Please ensure that function response turn comes immediately after a function call turn.")
            _check_answers(content, before)
        elif open_calls:
            raise invalid("Please ensure that function call turn is followed immediately by a function response turn.")
        if calls and (before is None or before.role == "model"):
            raise invalid(
                "Please ensure that function call turn comes immediately after a user turn or after a function "
                "response turn."
            )
        open_calls = len(calls)


def _check_answers(content: Content, before: Content | None) -> None:
    asked = [] if before is None else before.calls()
    responses = content.responses()
    if len(asked) != len(responses):
        raise invalid(
            "Please ensure that the number of function response parts is equal to the number of function call parts of "
            "the function call turn."
        )
    if sorted(call.name for call in asked) != sorted(response.name for response in responses):
        raise invalid("Please ensure that function response names match the names of the function call turn.")
    ids = {call.id: call.name for call in asked if call.id is not None}
    for response in responses:
        if response.id is not None and ids.get(response.id, response.name) != response.name:
            raise invalid("Please ensure that function response ids match the ids of the function call turn.")
        if response.id is not None and ids and response.id not in ids:
            raise invalid("Please ensure that function response ids match the ids of the function call turn.")


def _check_signed(contents: Sequence[Content]) -> None:
    """Check that each step since the user last spoke begins its calls with a signature."""
    spoken = (at for at, content in enumerate(contents) if content.role != "model" and not content.responses())
    spoke = max(spoken, default=0)
    for index in range(spoke, len(contents)):
        content = contents[index]
        first = next((part for part in content.parts if part.function_call is not None), None)
        if first is not None and first.function_call is not None and first.thought_signature is None:
            raise invalid(
                "Function call is missing a thought_signature in functionCall parts. This is required for tools to "
                "work correctly, and missing thought_signature may lead to degraded model performance. Additional "
                f"data, function call `default_api:{first.function_call.name}` , position {index + 1}."
            )
