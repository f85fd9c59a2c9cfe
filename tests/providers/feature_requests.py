"""One request for each feature that a chat request may ask for, and how to see in a body that it is there."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace

from trunkline_server.chat.message import MediaPart, Message, Part, Role, TextPart, ToolCallPart, ToolResultPart
from trunkline_server.chat.request import (
    ChatRequest,
    FunctionTool,
    JsonObjectOutput,
    JsonSchemaOutput,
    ProviderTool,
    ReasoningEffort,
    Sampling,
    ToolChoice,
    ToolMode,
)

PLAIN = ChatRequest("default", (Message(Role.USER, (TextPart("hello"),)),), "r1")
SCHEMA = {"type": "object", "properties": {"marker_property": {"type": "string"}}, "required": ["marker_property"]}
TOOL = FunctionTool(
    "look_up", "Looks things up.", {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
)
BYTES = b"%PDF-1.7 bytes of a marker"
TEXT = b"a text document with a marker in it"


@dataclass(frozen=True)
class Example:
    """A request that asks for a feature, and the same without it."""

    request: ChatRequest
    without: ChatRequest = PLAIN
    marks: tuple[str, ...] = ()
    """What must stand in the body; where none does, the body must differ from the other's."""
    or_marks: tuple[str, ...] = ()
    """What may stand there in place of `marks`."""

    def is_in(self, body: str, other: str) -> bool:
        """Return whether a body holds what was asked for; `other` is that of the request without it."""
        if body == other:
            return False
        return all(mark in body for mark in self.marks) or bool(
            self.or_marks and all(mark in body for mark in self.or_marks)
        )


def encoded(data: bytes) -> str:
    """Return the part of the base64 form that does not depend on padding."""
    return base64.b64encode(data).decode().rstrip("=")


def said(*parts: Part, role: Role = Role.USER) -> ChatRequest:
    return replace(PLAIN, messages=(Message(Role.USER, (TextPart("hello"),)), Message(role, parts)))


def by_data(mime_type: str, data: bytes = BYTES, role: Role = Role.USER) -> Example:
    request = said(TextPart("what is it?"), MediaPart(mime_type, data=data), role=role)
    plain = said(TextPart("what is it?"), role=role)
    return Example(request, plain, (encoded(data),), (data.decode(),) if mime_type.startswith("text/") else ())


def by_uri(mime_type: str, uri: str) -> Example:
    request = said(TextPart("what is it?"), MediaPart(mime_type, uri=uri))
    return Example(request, said(TextPart("what is it?")), (uri,))


def in_result(mime_type: str) -> Example:
    def conversation(*parts: Part) -> ChatRequest:
        return replace(
            PLAIN,
            messages=(
                Message(Role.USER, (TextPart("hello"),)),
                Message(Role.ASSISTANT, (ToolCallPart("call_1", "look_up", '{"q": "x"}'),)),
                Message(Role.TOOL, (ToolResultPart("call_1", parts),)),
            ),
            tools=(TOOL,),
        )

    media = MediaPart(mime_type, data=BYTES)
    return Example(conversation(TextPart("see"), media), conversation(TextPart("see")), (encoded(BYTES),))


def sampled(*marks: str, without: Sampling | None = None, **settings: object) -> Example:
    request = replace(PLAIN, sampling=Sampling(**settings))  # type: ignore[arg-type]
    return Example(request, PLAIN if without is None else replace(PLAIN, sampling=without), marks)


def choosing(choice: ToolChoice) -> Example:
    request = replace(PLAIN, tools=(TOOL, replace(TOOL, name="write_down")))
    return Example(replace(request, tool_choice=choice), request)


def examples(provider: str) -> dict[str, Example]:
    """Return an example for each feature of chat requests, for the adapter of the provider of this name."""
    own_file = MediaPart("application/pdf", file_id="file-marker", provider=provider)
    own_tool = ProviderTool(provider, {"type": "marker_tool"})
    schema = JsonSchemaOutput("answer", SCHEMA)
    with_tool = replace(PLAIN, tools=(TOOL,))
    calls = replace(in_result("image/png").without, tools=())
    return {
        "tools": Example(with_tool, marks=("look_up",)),
        "tools in the conversation": Example(calls, marks=("look_up", "see")),
        "provider_tools": Example(replace(PLAIN, tools=(own_tool,)), marks=("marker_tool",)),
        "tool_choice_required": choosing(ToolChoice(ToolMode.REQUIRED)),
        "tool_choice_none": choosing(ToolChoice(ToolMode.NONE)),
        "tool_choice_function": choosing(ToolChoice(function="write_down")),
        "tool_result_images": in_result("image/png"),
        "tool_result_documents": in_result("application/pdf"),
        "tool_result_media": in_result("video/mp4"),
        "json_object": Example(replace(PLAIN, output=JsonObjectOutput())),
        "json_schema": Example(replace(PLAIN, output=schema), marks=("marker_property",)),
        "json_with_tools": Example(replace(with_tool, output=schema), with_tool, ("marker_property", "look_up")),
        "images": by_data("image/png"),
        "other_images": by_data("image/tiff"),
        "image_uris": by_uri("image/png", "https://media.example/1.png"),
        "audio": by_data("audio/wav"),
        "other_audio": by_data("audio/ogg"),
        "audio_uris": by_uri("audio/wav", "https://media.example/1.wav"),
        "video": by_data("video/mp4"),
        "video_uris": by_uri("video/mp4", "https://media.example/1.mp4"),
        "documents": by_data("application/pdf"),
        "text_documents": by_data("text/plain", TEXT),
        "other_documents": by_data("application/msword"),
        "document_uris": by_uri("application/pdf", "https://media.example/1.pdf"),
        "file_ids": Example(said(TextPart("read"), own_file), said(TextPart("read")), ("file-marker",)),
        "system_media": by_data("image/png", role=Role.SYSTEM),
        "assistant_media": by_data("image/png", role=Role.ASSISTANT),
        "temperature": sampled("0.37", temperature=0.37),
        "high_temperature": sampled("1.37", temperature=1.37),
        "top_p": sampled("0.73", top_p=0.73),
        "top_k": sampled("37", top_k=37),
        "seed": sampled("12345", seed=12345),
        "frequency_penalty": sampled("0.41", frequency_penalty=0.41),
        "presence_penalty": sampled("0.43", presence_penalty=0.43),
        "wide_penalties": sampled("-1.5", frequency_penalty=-1.5),
        "stop": sampled("STOP-1", "STOP-4", stop=("STOP-1", "STOP-2", "STOP-3", "STOP-4")),
        "many_stops": sampled("STOP-15", stop=tuple(f"STOP-{number}" for number in range(16))),
        "logprobs": sampled(top_logprobs=0),
        "top_logprobs": sampled(top_logprobs=3, without=Sampling(top_logprobs=0)),
        "reasoning_effort": sampled(reasoning_effort=ReasoningEffort.HIGH),
        "reasoning_max_tokens": sampled("2048", reasoning_max_tokens=2048),
        "parallel_tool_calls": choosing(ToolChoice(parallel=False)),
        "message_name": Example(
            replace(PLAIN, messages=(Message(Role.USER, (TextPart("hello"),), name="ann_marker"),)),
            marks=("ann_marker",),
        ),
        "strict_tools": Example(replace(PLAIN, tools=(replace(TOOL, strict=True),)), with_tool),
    }
