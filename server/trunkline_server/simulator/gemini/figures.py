"""What the service checks of a request's settings, which differ by model, in its own words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from trunkline_server.simulator.gemini.errors import invalid

if TYPE_CHECKING:
    from trunkline_server.simulator.gemini.models import Model
    from trunkline_server.simulator.gemini.request import Function, GenerateRequest, GenerationConfig, ThinkingConfig

MAX_STOPS = 5
MAX_LOGPROBS = 20
MAX_CANDIDATES = 8
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}", re.ASCII)
_MIME_TYPES = ("text/plain", "application/json", "text/x.enum")
_BEGIN = "* GenerateContentRequest"


def check_settings(request: GenerateRequest, model: Model) -> None:
    """Raise RefusedError for the first setting that the service would refuse."""
    config = request.generation_config
    _check_ranges(config)
    _check_output(config)
    if config.thinking_config is not None:
        _check_thinking(config.thinking_config, model)
    for function in request.functions():
        _check_function(function)
    _check_calling(request)
    if model.old and config.response_mime_type == "application/json" and request.functions():
        raise invalid("Function calling with a response mime type: 'application/json' is unsupported")


def _check_ranges(config: GenerationConfig) -> None:
    for name, value, least, most in (
        ("temperature", config.temperature, 0.0, 2.0),
        ("top_p", config.top_p, 0.0, 1.0),
        ("top_k", config.top_k, 1.0, 1e9),
        ("max_output_tokens", config.max_output_tokens, 1, 1_000_000),
        ("candidate_count", config.candidate_count, 1, MAX_CANDIDATES),
        ("presence_penalty", config.presence_penalty, -2.0, 2.0),
        ("frequency_penalty", config.frequency_penalty, -2.0, 2.0),
        ("logprobs", config.logprobs, 1, MAX_LOGPROBS),
        ("seed", config.seed, -(2**31), 2**31 - 1),
    ):
        if value is not None and not least <= value <= most:
            message = f"{_BEGIN}.generation_config.{name}: {name} must be in the range [{least}, {most}].\n"
            raise invalid(message, f"generation_config.{name}")
    if config.stop_sequences is not None and len(config.stop_sequences) > MAX_STOPS:
        message = (
            f"{_BEGIN}.generation_config.stop_sequences: the number of stop_sequences must be at most {MAX_STOPS}\n"
        )
        raise invalid(message, "generation_config.stop_sequences")
    if config.logprobs is not None and not config.response_logprobs:
        raise invalid("Logprobs can only be set if response_logprobs is true.", "generation_config.logprobs")


def _check_output(config: GenerationConfig) -> None:
    mime_type = config.response_mime_type
    if mime_type is not None and mime_type not in _MIME_TYPES:
        raise invalid(f"{_BEGIN}.generation_config.response_mime_type: allowed mimetypes are {_MIME_TYPES}\n")
    if config.response_schema is not None and config.response_json_schema is not None:
        raise invalid("Only one of response_schema and response_json_schema may be set.")
    if config.response_schema is None and config.response_json_schema is None:
        return
    if mime_type not in {"application/json", "text/x.enum"}:
        raise invalid(f"{_BEGIN}.generation_config.response_schema: only allowed for response_mime_type JSON or enum\n")


def _check_thinking(thinking: ThinkingConfig, model: Model) -> None:
    budget, level = thinking.thinking_budget, thinking.thinking_level
    if budget is not None and level is not None:
        raise invalid("You can only set only one of thinking budget and thinking level.")
    if not model.thinks:
        raise invalid("Thinking is not supported by this model.")
    if level is not None and model.old:
        raise invalid("Thinking level is not supported for this model.")
    if level == "XHIGH" or (level == "MINIMAL" and not model.takes_minimal):
        raise invalid(f"Thinking level {level} is not supported for this model.")
    least, most = model.budgets
    if budget is not None and budget != -1 and not least <= budget <= most:
        raise invalid(f"The thinking budget {budget} is invalid. Please choose a value between {least} and {most}.")


def _check_function(function: Function) -> None:
    if _NAME.fullmatch(function.name) is None:
        raise invalid(
            "Invalid function name. Must start with a letter or an underscore. Must be alphanumeric (a-z, A-Z, 0-9), "
            "underscores (_), dots (.), colons (:), or dashes (-), with a maximum length of 128."
        )
    if function.parameters is not None and function.parameters_json_schema is not None:
        raise invalid("Only one of parameters and parameters_json_schema may be set.")
    schema = function.parameters_json_schema
    if schema is not None and schema.get("type", "object") != "object":
        raise invalid("parameters_json_schema: the schema of parameters must be of type object.")


def _check_calling(request: GenerateRequest) -> None:
    calling = request.calling()
    names = {function.name for function in request.functions()}
    if calling.mode in {"ANY", "VALIDATED"} and not names:
        raise invalid("Function calling config is set without function_declarations.")
    if calling.allowed_function_names:
        if calling.mode not in {"ANY", "VALIDATED"}:
            raise invalid("Allowed function names should only be set when the function calling mode is ANY.")
        if not set(calling.allowed_function_names) <= names:
            raise invalid("Allowed function names must be among the function_declarations.")
