"""Reading requests as Cohere does: every field that `/v2/chat` knows, and how it words what it cannot read."""

from __future__ import annotations

import re
from typing import Any, Literal, TypeVar

import msgspec

from trunkline_server.simulator.cohere.errors import RequestRefusedError


class Item(msgspec.Struct):
    """One piece of a message's content."""

    type: str
    text: str | None = None
    thinking: str | None = None
    image_url: dict[str, Any] | None = None
    document: dict[str, Any] | None = None


class CalledFunction(msgspec.Struct):
    """Name and arguments of a tool call that the assistant made."""

    name: str
    arguments: str


class MadeToolCall(msgspec.Struct):
    """A tool call in an assistant's message."""

    id: str
    type: str
    function: CalledFunction


class Message(msgspec.Struct, forbid_unknown_fields=True):
    """One message of the conversation."""

    role: str
    content: str | list[Item] | None = None
    tool_calls: list[MadeToolCall] | None = None
    tool_plan: str | None = None
    tool_call_id: str | None = None
    citations: list[Any] | None = None

    def items(self) -> list[Item]:
        """Return the content as a list, a plain string as one text."""
        if isinstance(self.content, str):
            return [Item("text", self.content)] if self.content else []
        return self.content or []

    def text(self) -> str:
        """Return all text of the message, that of documents included."""
        return "".join(item.text or (str(item.document.get("data")) if item.document else "") for item in self.items())


class FunctionSpec(msgspec.Struct, forbid_unknown_fields=True):
    """A function that the model may call."""

    name: str
    parameters: dict[str, Any]
    description: str | None = None


class ToolSpec(msgspec.Struct, forbid_unknown_fields=True):
    """A tool on offer."""

    type: Literal["function"]
    function: FunctionSpec


class ResponseFormat(msgspec.Struct, forbid_unknown_fields=True):
    """The form that the answer's text must have."""

    type: Literal["text", "json_object"]
    json_schema: dict[str, Any] | None = None


class Thinking(msgspec.Struct, forbid_unknown_fields=True):
    """Whether a model that reasons is to reason, and how long."""

    type: Literal["enabled", "disabled"]
    token_budget: int | None = None


class CitationOptions(msgspec.Struct, forbid_unknown_fields=True):
    """How citations are made."""

    mode: str | None = None


class ChatRequest(msgspec.Struct, kw_only=True):
    """A chat request: every top-level field that Cohere knows."""

    model: str = ""
    messages: list[Message]
    stream: bool = False
    tools: list[ToolSpec] | None = None
    strict_tools: bool | None = None
    tool_choice: Literal["REQUIRED", "NONE"] | None = None
    documents: list[str | dict[str, Any]] | None = None
    citation_options: CitationOptions | None = None
    response_format: ResponseFormat | None = None
    safety_mode: Literal["CONTEXTUAL", "STRICT", "OFF"] | None = None
    max_tokens: int | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    k: int | None = None
    p: float | None = None
    logprobs: bool | None = None
    thinking: Thinking | None = None
    priority: int | None = None


class _StrictChatRequest(ChatRequest, kw_only=True, forbid_unknown_fields=True):
    """The same; unknown top-level fields are refused."""


CHAT = msgspec.json.Decoder(ChatRequest)
STRICT_CHAT: msgspec.json.Decoder[ChatRequest] = msgspec.json.Decoder(_StrictChatRequest)

_PATH = re.compile(r" - at `\$\.?(.*)`$")
_UNKNOWN = re.compile(r"^Object contains unknown field `(.+?)`")
_Request = TypeVar("_Request")


def decoded(decoder: msgspec.json.Decoder[_Request], body: bytes) -> _Request:
    """Decode a request; raises RequestRefusedError in Cohere's words."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as failure:
        problem = str(failure)
        found = _PATH.search(problem)
        path = found.group(1) if found else ""
        if unknown := _UNKNOWN.match(problem):
            name = f"{path}.{unknown.group(1)}" if path else unknown.group(1)
            raise RequestRefusedError(f"unknown field: parameter '{name}' is not a valid field", 422) from failure
        where = f" ({path})" if path else ""
        raise RequestRefusedError(f"invalid type: {problem.partition(' - at ')[0]}{where}") from failure
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as failure:
        raise RequestRefusedError("invalid json syntax: the body of the request is no JSON") from failure
