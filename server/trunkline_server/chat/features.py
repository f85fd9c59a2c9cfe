"""What a request may ask for that not every protocol has: the names, and which of them a request asks for.

Each name is of one of three kinds. A *hard* one cannot be left out without another meaning: a target whose protocol
lacks it is no candidate. A *droppable* one rules a target out too, unless the request's `routing.may_drop` names it:
then an adapter that has no place for it leaves it out and says so in a warning. A *hint* never rules anybody out: who
has no place for it says so in a warning.

An adapter's `features` are the names that it carries. `tests/providers/test_features_carried.py` holds each adapter
to them, and `scripts/generate` writes the table of all of them into the README of `providers`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from trunkline_server.chat.message import MediaPart, Message, Part, Role, TextPart, ToolCallPart, ToolResultPart
from trunkline_server.chat.request import (
    NO_SAMPLING,
    ChatRequest,
    FunctionTool,
    JsonObjectOutput,
    ProviderTool,
    Sampling,
    ToolChoice,
    ToolMode,
)

EVERYTHING: Final = "*"
"""In `routing.may_drop`: all that is droppable."""

USUAL_STOPS: Final = 4
"""More stop sequences than this have a feature of their own: some protocols take no more."""


class Kind(Enum):
    """What the lack of a feature means."""

    HARD = "hard"
    DROPPABLE = "droppable"
    HINT = "hint"


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing that a request may ask for."""

    name: str
    kind: Kind
    field: str
    """Where in the request it is asked for; a warning of its loss has this field, with numbers in its brackets."""
    what: str
    """In words, for people."""


_H, _D, _HINT = Kind.HARD, Kind.DROPPABLE, Kind.HINT
_PART = "messages[].parts[]"
_RESULT = "messages[].parts[].tool_result.parts[]"

FEATURES: Final = (
    Feature("tools", _H, "tools[]", "functions that the model may call; calls and results in the conversation"),
    Feature("provider_tools", _H, "tools[].provider", "a tool that the provider runs itself"),
    Feature("tool_choice_required", _H, "tool_choice.mode", "the model must call some function"),
    Feature("tool_choice_none", _H, "tool_choice.mode", "the model must call none of the functions"),
    Feature("tool_choice_function", _H, "tool_choice.function", "the model must call one named function"),
    Feature("tool_result_images", _H, _RESULT, "pictures in a tool's result"),
    Feature("tool_result_documents", _H, _RESULT, "documents in a tool's result"),
    Feature("tool_result_media", _H, _RESULT, "sound, video or uploaded files in a tool's result"),
    Feature("json_object", _H, "output", "an answer that is some JSON object"),
    Feature("json_schema", _H, "output", "an answer that is JSON of a schema"),
    Feature("json_with_tools", _H, "output", "JSON output asked for together with functions"),
    Feature("images", _H, _PART, "pictures by their bytes: PNG, JPEG, GIF, WebP"),
    Feature("other_images", _H, _PART, "pictures of other types by their bytes"),
    Feature("image_uris", _H, _PART, "pictures by their address"),
    Feature("audio", _H, _PART, "sound by its bytes: WAV, MP3"),
    Feature("other_audio", _H, _PART, "sound of other types by its bytes"),
    Feature("audio_uris", _H, _PART, "sound by its address"),
    Feature("video", _H, _PART, "video by its bytes"),
    Feature("video_uris", _H, _PART, "video by its address"),
    Feature("documents", _H, _PART, "PDF documents by their bytes"),
    Feature("text_documents", _H, _PART, "documents of type `text/…` by their bytes"),
    Feature("other_documents", _H, _PART, "documents of other types by their bytes"),
    Feature("document_uris", _H, _PART, "documents by their address"),
    Feature("file_ids", _H, _PART, "files that were uploaded to the provider"),
    Feature("system_media", _H, _PART, "media in a message of the system or the developer"),
    Feature("assistant_media", _H, _PART, "media in a message of the assistant"),
    Feature("embeddings", _H, "", "the RPC `Embed`"),
    Feature("embedding_dimensions", _H, "dimensions", "how long an embedding is to be"),
    Feature("temperature", _D, "sampling.temperature", "a temperature"),
    Feature("high_temperature", _D, "sampling.temperature", "a temperature above 1"),
    Feature("top_p", _D, "sampling.top_p", "sampling from the likeliest tokens, by their probability"),
    Feature("top_k", _D, "sampling.top_k", "sampling from the likeliest tokens, by their number"),
    Feature("seed", _D, "sampling.seed", "a seed"),
    Feature("frequency_penalty", _D, "sampling.frequency_penalty", "a penalty for frequent tokens"),
    Feature("presence_penalty", _D, "sampling.presence_penalty", "a penalty for tokens that were there"),
    Feature("wide_penalties", _D, "sampling.frequency_penalty", "a penalty below 0 or above 1"),
    Feature("stop", _D, "sampling.stop", "sequences that end the answer"),
    Feature("many_stops", _D, "sampling.stop", f"more than {USUAL_STOPS} of them"),
    Feature("logprobs", _D, "sampling.top_logprobs", "the log-probability of each token"),
    Feature("top_logprobs", _D, "sampling.top_logprobs", "those of the likeliest others too"),
    Feature("reasoning_effort", _D, "sampling.reasoning_effort", "how hard the model should think"),
    Feature("reasoning_max_tokens", _D, "sampling.reasoning_max_tokens", "how long the model may think"),
    Feature("parallel_tool_calls", _D, "tool_choice.parallel", "`parallel: false`, one call at a time"),
    Feature("message_name", _HINT, "messages[].name", "the name of whoever said a message"),
    Feature("strict_tools", _HINT, "tools[].function.strict", "arguments that keep to their schema exactly"),
)
"""All of them, in the order in which they are shown."""

BY_NAME: Final = {feature.name: feature for feature in FEATURES}
NAMES: Final = frozenset(BY_NAME)
DROPPABLE: Final = frozenset(feature.name for feature in FEATURES if feature.kind is Kind.DROPPABLE)
HINTS: Final = frozenset(feature.name for feature in FEATURES if feature.kind is Kind.HINT)

_PART_OF: Final = {"high_temperature": "temperature", "many_stops": "stop", "top_logprobs": "logprobs"}
"""What is gone with something else."""

NO_FEATURES: Final[frozenset[str]] = frozenset()

_USUAL_MEDIA: Final = {
    **dict.fromkeys(("image/png", "image/jpeg", "image/jpg", "image/gif", "image/webp"), "images"),
    **dict.fromkeys(("audio/wav", "audio/wave", "audio/x-wav", "audio/vnd.wave", "audio/mpeg", "audio/mp3"), "audio"),
    "application/pdf": "documents",
}
_OTHER_MEDIA: Final = {
    "image": "other_images",
    "audio": "other_audio",
    "video": "video",
    "document": "other_documents",
}
_SAME_NAMES: Final = (
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "reasoning_effort",
    "reasoning_max_tokens",
)
"""Fields of `Sampling` that are features under the same name."""
_CHOICES: Final = {ToolMode.REQUIRED: "tool_choice_required", ToolMode.NONE: "tool_choice_none"}
_RESULT_FEATURES: Final = {"image": "tool_result_images", "document": "tool_result_documents"}
_SYSTEM: Final = frozenset({Role.SYSTEM, Role.DEVELOPER})


def features_of(request: ChatRequest) -> frozenset[str]:
    """Return the features that a target must have to serve the request: all but hints and what may be dropped."""
    asked: set[str] = set()
    if request.sampling is not NO_SAMPLING:
        _note_sampling(request.sampling, asked)
    for message in request.messages:
        for part in message.parts:
            if type(part) is not TextPart:  # most parts are
                _note_part(part, message, asked)
    if request.tools or request.tool_choice is not None:
        _note_tools(request.tools, request.tool_choice, asked)
    if request.output is not None:
        asked.add("json_object" if isinstance(request.output, JsonObjectOutput) else "json_schema")
        if request.tools:
            asked.add("json_with_tools")
    if not asked:
        return NO_FEATURES
    if request.routing.may_drop:
        asked -= dropped(request.routing.may_drop)
    return frozenset(asked)


def dropped(may_drop: frozenset[str]) -> frozenset[str]:
    """Return the features that a request gives up with `routing.may_drop`."""
    if EVERYTHING in may_drop:
        return DROPPABLE
    return may_drop & DROPPABLE | {part for part, whole in _PART_OF.items() if whole in may_drop}


def media_feature(part: MediaPart) -> str:
    """Return the feature that carries a picture, a recording or a document from the user."""
    if part.file_id is not None:
        return "file_ids"
    mime_type, kind = media_kind(part)
    if part.data is None:
        return f"{kind}_uris"
    usual = _USUAL_MEDIA.get(mime_type)
    if usual is not None:
        return usual
    return "text_documents" if mime_type.startswith("text/") else _OTHER_MEDIA[kind]


def media_kind(part: MediaPart) -> tuple[str, str]:
    """Return a part's MIME type in lower case without parameters, and `image`, `audio`, `video` or `document`."""
    mime_type = part.mime_type.partition(";")[0].strip().lower()
    kind = mime_type.partition("/")[0]
    return mime_type, kind if kind in {"image", "audio", "video"} else "document"


def _note_part(part: Part, message: Message, asked: set[str]) -> None:
    if isinstance(part, MediaPart):
        asked.add(media_feature(part))
        if message.role is Role.ASSISTANT:
            asked.add("assistant_media")
        elif message.role in _SYSTEM:
            asked.add("system_media")
    elif isinstance(part, ToolCallPart):
        asked.add("tools")
    elif isinstance(part, ToolResultPart):
        asked.add("tools")
        _note_result(part, asked)


def _note_result(result: ToolResultPart, asked: set[str]) -> None:
    for part in result.parts:
        if isinstance(part, MediaPart):
            asked.add(media_feature(part))
            kind = "file" if part.file_id is not None else media_kind(part)[1]
            asked.add(_RESULT_FEATURES.get(kind, "tool_result_media"))
        elif isinstance(part, ToolResultPart):
            _note_result(part, asked)


def _note_tools(tools: tuple[FunctionTool | ProviderTool, ...], choice: ToolChoice | None, asked: set[str]) -> None:
    asked.update("tools" if isinstance(tool, FunctionTool) else "provider_tools" for tool in tools)
    if choice is None:
        return
    if choice.function is not None:
        asked.add("tool_choice_function")
    elif choice.mode in _CHOICES:
        asked.add(_CHOICES[choice.mode])
    if choice.parallel is False:
        asked.add("parallel_tool_calls")


def _note_sampling(sampling: Sampling, asked: set[str]) -> None:
    for name in _SAME_NAMES:
        if getattr(sampling, name) is not None:
            asked.add(name)
    if sampling.temperature is not None and sampling.temperature > 1:
        asked.add("high_temperature")
    if _is_wide(sampling.frequency_penalty) or _is_wide(sampling.presence_penalty):
        asked.add("wide_penalties")
    if sampling.stop:
        asked.add("stop")
        if len(sampling.stop) > USUAL_STOPS:
            asked.add("many_stops")
    if sampling.top_logprobs is not None:
        asked.add("logprobs")
        if sampling.top_logprobs:
            asked.add("top_logprobs")


def _is_wide(penalty: float | None) -> bool:
    return penalty is not None and not 0 <= penalty <= 1
