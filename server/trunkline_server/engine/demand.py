"""What a request needs from whoever serves it, read off the request once."""

from __future__ import annotations

from trunkline_server.chat.features import features_of
from trunkline_server.chat.message import MediaPart, Part, TextPart, ToolResultPart
from trunkline_server.chat.request import ChatRequest, FunctionTool, JsonSchemaOutput, ProviderTool
from trunkline_server.routing.demand import Demand

TOOLS = "tools"
VISION = "vision"
JSON_SCHEMA = "json_schema"
REASONING = "reasoning"


def demand_of(request: ChatRequest, *, input_tokens: int = 0, streams: bool = True) -> Demand:
    """Return what the request cannot do without, its exclusions, limits and wishes.

    `input_tokens`: by estimate, 0 if nobody needs them. `streams`: whether the answer is shown as it comes.
    """
    capabilities = set(request.routing.require_capabilities)
    only: set[str] = set()
    for tool in request.tools:
        if isinstance(tool, ProviderTool):
            only.add(tool.provider)
        elif isinstance(tool, FunctionTool):
            capabilities.add(TOOLS)
    if isinstance(request.output, JsonSchemaOutput):
        capabilities.add(JSON_SCHEMA)
    if request.sampling.asks_reasoning:
        capabilities.add(REASONING)
    for message in request.messages:
        for part in message.parts:
            if type(part) is not TextPart:  # most parts are
                _note_media(part, capabilities, only)
    routing = request.routing
    return Demand(
        frozenset(capabilities),
        features_of(request),
        frozenset(only),
        routing.exclude_targets,
        routing.allow_fallback,
        routing.allow_regions,
        input_tokens,
        request.sampling.max_output_tokens,
        routing.max_cost_nanousd,
        0,
        routing.max_first_token_s,
        routing.sticky_key or None,
        streams,
    )


def media_bytes(request: ChatRequest) -> int:
    """Return how many bytes of media the request carries itself."""
    return sum([_size(part) for message in request.messages for part in message.parts if type(part) is not TextPart])


def _size(part: Part) -> int:
    if isinstance(part, MediaPart):
        return len(part.data or b"")
    if isinstance(part, ToolResultPart):
        return sum(_size(inner) for inner in part.parts)
    return 0


def _note_media(part: Part, capabilities: set[str], only: set[str]) -> None:
    if isinstance(part, MediaPart):
        if part.mime_type.startswith("image/"):
            capabilities.add(VISION)
        if part.file_id is not None and part.provider is not None:
            only.add(part.provider)
    elif isinstance(part, ToolResultPart):
        for inner in part.parts:
            _note_media(inner, capabilities, only)
