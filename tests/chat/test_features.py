"""What a request asks for that not every protocol has."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from trunkline_server.chat.features import DROPPABLE, FEATURES, HINTS, NAMES, Kind, features_of, media_feature
from trunkline_server.chat.message import (
    MediaPart,
    Message,
    Part,
    RefusalPart,
    Role,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from trunkline_server.chat.request import (
    ChatRequest,
    FunctionTool,
    JsonObjectOutput,
    JsonSchemaOutput,
    ProviderTool,
    ReasoningEffort,
    RoutingOptions,
    Sampling,
    ToolChoice,
    ToolMode,
)

PLAIN = ChatRequest("default", (Message(Role.USER, (TextPart("hello"),)),), "r1")
PNG = MediaPart("image/png", data=b"1")
F = FunctionTool("f", strict=True)


def said(*parts: Part, role: Role = Role.USER) -> ChatRequest:
    return replace(PLAIN, messages=(Message(role, parts, name="ann"),))


def sampled(**settings: object) -> ChatRequest:
    return replace(PLAIN, sampling=Sampling(**settings))  # type: ignore[arg-type]


def test_plain_words_ask_for_nothing() -> None:
    """Text, reasoning, refusals, names, strictness and an output limit are carried or merely told of by everybody."""
    assert features_of(PLAIN) == frozenset()
    assert features_of(said(TextPart("a"), ThinkingPart("b"), RefusalPart("c"), role=Role.ASSISTANT)) == frozenset()
    assert features_of(sampled(max_output_tokens=7)) == frozenset()
    assert features_of(replace(PLAIN, tools=(F,))) == {"tools"}


ASKED: dict[str, tuple[ChatRequest, set[str]]] = {
    "the provider's own tool": (replace(PLAIN, tools=(ProviderTool("openai", {}),)), {"provider_tools"}),
    "calls and results without tools": (
        replace(
            PLAIN,
            messages=(
                Message(Role.ASSISTANT, (ToolCallPart("c", "f", "{}"),)),
                Message(Role.TOOL, (ToolResultPart("c", ()),)),
            ),
        ),
        {"tools"},
    ),
    "a forced call": (
        replace(PLAIN, tools=(F,), tool_choice=ToolChoice(ToolMode.REQUIRED)),
        {"tools", "tool_choice_required"},
    ),
    "no call": (replace(PLAIN, tools=(F,), tool_choice=ToolChoice(ToolMode.NONE)), {"tools", "tool_choice_none"}),
    "a free choice, several calls": (
        replace(PLAIN, tools=(F,), tool_choice=ToolChoice(ToolMode.AUTO, parallel=True)),
        {"tools"},
    ),
    "one function, one call": (
        replace(PLAIN, tools=(F,), tool_choice=ToolChoice(function="f", parallel=False)),
        {"tools", "tool_choice_function", "parallel_tool_calls"},
    ),
    "json": (replace(PLAIN, output=JsonObjectOutput()), {"json_object"}),
    "a schema": (replace(PLAIN, output=JsonSchemaOutput("o", {})), {"json_schema"}),
    "a schema and tools": (
        replace(PLAIN, output=JsonSchemaOutput("o", {}), tools=(F,)),
        {"json_schema", "tools", "json_with_tools"},
    ),
    "media of the system": (said(PNG, role=Role.SYSTEM), {"images", "system_media"}),
    "media of the developer": (said(PNG, role=Role.DEVELOPER), {"images", "system_media"}),
    "media of the assistant": (said(PNG, role=Role.ASSISTANT), {"images", "assistant_media"}),
    "media in results": (
        said(
            ToolResultPart("c", (MediaPart("image/png", uri="https://a"), ToolResultPart("d", (PNG,)))),
            ToolResultPart("e", (MediaPart("application/pdf", data=b"1"),)),
            ToolResultPart("f", (MediaPart("video/mp4", data=b"1"),)),
            role=Role.TOOL,
        ),
        {
            "tools", "image_uris", "images", "documents", "video",
            "tool_result_images", "tool_result_documents", "tool_result_media",
        },
    ),
    "an uploaded file in a result": (
        said(ToolResultPart("c", (MediaPart("image/png", file_id="x", provider="p"),)), role=Role.TOOL),
        {"tools", "file_ids", "tool_result_media"},
    ),
    "settings": (
        sampled(
            temperature=0.0, top_p=1.0, top_k=1, seed=0, frequency_penalty=0.0, presence_penalty=1.0, stop=("a",) * 4,
            top_logprobs=0, reasoning_effort=ReasoningEffort.NONE, reasoning_max_tokens=0,
        ),
        {
            "temperature", "top_p", "top_k", "seed", "frequency_penalty", "presence_penalty", "stop", "logprobs",
            "reasoning_effort", "reasoning_max_tokens",
        },
    ),
    "a high temperature": (sampled(temperature=1.01), {"temperature", "high_temperature"}),
    "a reward": (sampled(presence_penalty=-0.1), {"presence_penalty", "wide_penalties"}),
    "a heavy penalty": (sampled(frequency_penalty=1.1), {"frequency_penalty", "wide_penalties"}),
    "many stops": (sampled(stop=tuple("abcde")), {"stop", "many_stops"}),
    "alternatives": (sampled(top_logprobs=1), {"logprobs", "top_logprobs"}),
}  # fmt: skip


@pytest.mark.parametrize("case", ASKED)
def test_what_is_asked_for_has_its_names(case: str) -> None:
    """Exactly these."""
    request, expected = ASKED[case]
    assert features_of(request) == expected


@pytest.mark.parametrize(
    ("mime_type", "by_data", "by_uri"),
    [
        ("image/PNG; a=b", "images", "image_uris"),
        ("image/jpg", "images", "image_uris"),
        ("image/tiff", "other_images", "image_uris"),
        ("audio/mpeg", "audio", "audio_uris"),
        ("audio/ogg", "other_audio", "audio_uris"),
        ("video/mp4", "video", "video_uris"),
        ("application/pdf", "documents", "document_uris"),
        ("text/csv", "text_documents", "document_uris"),
        ("application/msword", "other_documents", "document_uris"),
        ("", "other_documents", "document_uris"),
    ],
)
def test_media_go_by_type_and_source(mime_type: str, by_data: str, by_uri: str) -> None:
    """The type's parameters and its case say nothing; a file's id goes before all."""
    assert media_feature(MediaPart(mime_type, data=b"")) == by_data
    assert media_feature(MediaPart(mime_type, uri="https://a")) == by_uri
    assert media_feature(MediaPart(mime_type, file_id="f", provider="p")) == "file_ids"


@pytest.mark.parametrize(
    ("may_drop", "left"),
    [
        ({"top_k"}, {"temperature", "high_temperature", "stop", "many_stops", "images"}),
        ({"high_temperature"}, {"top_k", "temperature", "stop", "many_stops", "images"}),
        ({"temperature", "stop"}, {"top_k", "images"}),
        ({"*"}, {"images"}),
        ({"images"}, {"top_k", "temperature", "high_temperature", "stop", "many_stops", "images"}),
    ],
)
def test_what_may_be_dropped_is_not_asked_for(may_drop: set[str], left: set[str]) -> None:
    """By its name, with the thing that it is a part of, or all at once; a hard feature stays."""
    request = replace(
        said(PNG),
        sampling=Sampling(top_k=1, temperature=2.0, stop=tuple("abcde")),
        routing=RoutingOptions(may_drop=frozenset(may_drop)),
    )
    assert features_of(request) == left


def test_every_setting_is_a_feature_or_everybody_s() -> None:
    """A field that is added to Sampling cannot be forgotten here."""
    named = {feature.field.removeprefix("sampling.") for feature in FEATURES if feature.field.startswith("sampling.")}
    assert {field.name for field in fields(Sampling)} == named | {"max_output_tokens"}


def test_each_feature_is_of_one_kind() -> None:
    """No name stands twice, and the kinds share none."""
    assert len(NAMES) == len(FEATURES)
    assert DROPPABLE | HINTS | {feature.name for feature in FEATURES if feature.kind is Kind.HARD} == NAMES
    assert not DROPPABLE & HINTS


def test_every_feature_can_be_asked_for() -> None:
    """Each name that rules a target out comes from some request; those of embeddings have their own."""
    shown = set().union(*(expected for _, expected in ASKED.values()))
    media = [MediaPart(kind, data=b"") for kind in ("image/x", "audio/wav", "audio/ogg", "text/plain", "application/x")]
    media += [MediaPart(f"{kind}/x", uri="https://a") for kind in ("audio", "video", "application")]
    shown |= {media_feature(part) for part in media}
    assert NAMES - shown - HINTS == {"embeddings", "embedding_dimensions"}
