"""What the service and its models check of settings and tools, in their own words."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from trunkline_server.simulator.bedrock.errors import invalid

if TYPE_CHECKING:
    from trunkline_server.simulator.bedrock.request import ConverseRequest, InferenceConfig, ToolConfig

MIN_BUDGET_TOKENS = 1024
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}", re.ASCII)
_OWN_FIELDS: dict[str, frozenset[str]] = {
    "anthropic.": frozenset({"thinking", "top_k", "anthropic_beta", "tool_choice", "tools", "output_config"}),
    "amazon.nova": frozenset({"inferenceConfig", "reasoningConfig"}),
    "cohere.": frozenset({"k", "seed", "frequency_penalty", "presence_penalty", "documents", "preamble"}),
    "mistral.": frozenset({"top_k"}),
    "ai21.": frozenset({"frequency_penalty", "presence_penalty", "n"}),
    "openai.": frozenset({"reasoning_effort"}),
}
"""What each maker's models take beyond the API's own settings."""


def check_settings(request: ConverseRequest, model: str) -> None:
    """Raise RefusedError for the first thing that the service would refuse."""
    config = request.inference_config
    if config is not None:
        _check_inference(config)
    if request.tool_config is not None:
        _check_tools(request.tool_config)
    if any(block.text is not None and not block.text for block in request.system or ()):
        raise invalid("The text field in the SystemContentBlock object at system is blank.")
    if request.output_config is not None and request.output_config.text_format is not None:
        _check_schema(request.output_config.text_format.structure.json_schema.schema)
    fields = request.additional_model_request_fields or {}
    known = next((own for maker, own in _OWN_FIELDS.items() if maker in model), frozenset())
    for name in fields:
        if name not in known:
            raise invalid(
                f"The model returned the following errors: Malformed input request: #: extraneous key [{name}] is not "
                "permitted, please reformat your input and try again."
            )
    _check_thinking(fields.get("thinking"), config)


def _check_inference(config: InferenceConfig) -> None:
    for name, value, low, high in (
        ("maxTokens", config.max_tokens, 1, None),
        ("temperature", config.temperature, 0, 1),
        ("topP", config.top_p, 0, 1),
    ):
        if value is None:
            continue
        if value < low or (high is not None and value > high):
            raise invalid(
                f"1 validation error detected: Value '{value}' at 'inferenceConfig.{name}' failed to satisfy "
                f"constraint: Member must have value between {low} and {high}"
            )
    if any(not stop for stop in config.stop_sequences or ()):
        raise invalid(
            "Value at 'inferenceConfig.stopSequences' failed to satisfy constraint: Member must have length 1"
        )


def _check_tools(config: ToolConfig) -> None:
    specs = [tool.tool_spec for tool in config.tools if tool.tool_spec is not None]
    if not config.tools:
        raise invalid("Value '[]' at 'toolConfig.tools' failed to satisfy constraint: Member must have length 1")
    names = [spec.name for spec in specs]
    for spec in specs:
        if not _NAME.fullmatch(spec.name):
            raise invalid(
                f"Value '{spec.name}' at 'toolConfig.tools.1.member.toolSpec.name' failed to satisfy constraint: "
                "Member must satisfy regular expression pattern: [a-zA-Z0-9_-]+"
            )
        if spec.description is not None and not spec.description:
            raise invalid("Value '' at 'toolSpec.description' failed to satisfy constraint: Member must have length 1")
        if spec.input_schema.json.get("type") != "object":
            raise invalid(
                "The value at toolConfig.tools.0.toolSpec.inputSchema.json.type must be one of the following: object."
            )
    if len({*names}) < len(names):
        raise invalid("The model returned the following errors: tools: Tool names must be unique.")
    choice = config.tool_choice
    if choice is None:
        return
    if sum(each is not None for each in (choice.auto, choice.any, choice.tool)) != 1:
        raise invalid("The ToolChoice object at toolConfig.toolChoice must set one of: auto, any, tool.")
    if choice.tool is not None and choice.tool.name not in names:
        raise invalid(f"The model returned the following errors: Tool '{choice.tool.name}' not found in provided tools")


def _check_schema(text: str) -> None:
    try:
        schema = json.loads(text)
    except ValueError:
        raise invalid("The JSON schema at outputConfig is no JSON.") from None
    if not isinstance(schema, dict):
        raise invalid("The JSON schema at outputConfig is no object.")


def _check_thinking(thinking: Any, config: InferenceConfig | None) -> None:
    """Check what Claude checks of its `thinking`."""
    if not isinstance(thinking, dict) or thinking.get("type") == "disabled":
        return
    words = "The model returned the following errors: "
    budget = thinking.get("budget_tokens")
    if thinking.get("type") == "enabled":
        if not isinstance(budget, int) or budget < MIN_BUDGET_TOKENS:
            raise invalid(f"{words}thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
        if config is not None and config.max_tokens is not None and config.max_tokens <= budget:
            raise invalid(f"{words}`max_tokens` must be greater than `thinking.budget_tokens`.")
    if config is not None and config.temperature not in {None, 1.0}:
        raise invalid(f"{words}`temperature` may only be set to 1 when thinking is enabled.")
