"""What a provider heard of a request, in no vendor's words: read back out of the body that the simulator got.

Ids of tool calls are replaced by the number of the call in the conversation, so that two bodies mean the same if they
are equal; a result that belongs to no call, or to two, is an error of the body.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

ERROR_MARK = "Error: "
NO_SEALS = frozenset({"skip_thought_signature_validator", "context_engineering_is_the_way_to_go"})
"""What Gemini takes in place of a seal for calls that it did not make."""


@dataclass(frozen=True)
class Text:
    """Words."""

    text: str


@dataclass(frozen=True)
class Picture:
    """A picture by its bytes."""

    mime_type: str
    data: bytes


@dataclass(frozen=True)
class Thought:
    """Reasoning that goes back; vendors whose seal is all that they want back have no text here."""

    text: str
    seal: str


@dataclass(frozen=True)
class Called:
    """A tool call of the model's, the `number`-th of the conversation."""

    number: int
    name: str
    arguments: Any


@dataclass(frozen=True)
class Result:
    """What a tool answered to call `number`."""

    number: int
    text: str
    failed: bool = False


Said = Text | Picture | Thought | Called | Result


@dataclass
class Heard:
    """One request."""

    model: str
    stream: bool = False
    system: str = ""
    turns: list[tuple[str, list[Said]]] = field(default_factory=list)
    """`user`, `assistant` or `tool`; what one of them says without interruption is one turn."""
    tools: dict[str, Any] = field(default_factory=dict)
    """JSON schemas of the arguments, by name."""
    schema: Any = None
    """That the answer must have."""
    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    stop: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    """Of the calls, in their order, as they were sent; empty strings where the vendor has none."""

    def say(self, role: str, said: Said) -> None:
        """Add what `role` says."""
        if not self.turns or self.turns[-1][0] != role:
            self.turns.append((role, []))
        parts = self.turns[-1][1]
        if isinstance(said, Text) and parts and isinstance(parts[-1], Text):
            parts[-1] = Text(parts[-1].text + said.text)
        else:
            parts.append(said)

    def call(self, call_id: str, name: str, arguments: Any) -> None:
        """Add a call."""
        assert not call_id or call_id not in self.ids, f"two calls have the id {call_id}"
        self.ids.append(call_id)
        self.say("assistant", Called(len(self.ids), name, arguments))

    def result(self, call_id: str, text: str, *, failed: bool = False) -> None:
        """Add the result of the call with this id; where the vendor has no field for it, failure is in the words."""
        assert call_id in self.ids, f"no call has the id {call_id}; there are {self.ids}"
        failed = failed or text.startswith(ERROR_MARK)
        self.say("tool", Result(self.ids.index(call_id) + 1, text.removeprefix(ERROR_MARK), failed))


Reader = Callable[[str, dict[str, Any]], Heard]
"""Reads the path and the decoded body of a request."""


def data_url(url: str) -> Picture:
    """Return the picture in a `data:` URL."""
    head, _, data = url.partition(",")
    assert head.startswith("data:")
    assert head.endswith(";base64")
    return Picture(head.removeprefix("data:").removesuffix(";base64"), base64.b64decode(data, validate=True))


def _openai_chat(path: str, body: dict[str, Any]) -> Heard:
    del path
    heard = Heard(body["model"], bool(body.get("stream")))
    for message in body["messages"]:
        role, content = message["role"], message.get("content")
        parts: list[Any] = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
        if role in {"system", "developer"}:
            heard.system += "".join(part["text"] for part in parts)
            continue
        if role == "tool":
            heard.result(message["tool_call_id"], "".join(part["text"] for part in parts))
            continue
        for part in parts:
            heard.say(role, Text(part["text"]) if part["type"] == "text" else data_url(part["image_url"]["url"]))
        for call in message.get("tool_calls") or ():
            heard.call(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
    heard.tools = {tool["function"]["name"]: tool["function"]["parameters"] for tool in body.get("tools") or ()}
    if body.get("response_format"):
        assert body["response_format"]["type"] == "json_schema"
        heard.schema = body["response_format"]["json_schema"]["schema"]
    heard.temperature, heard.top_p = body.get("temperature"), body.get("top_p")
    heard.max_output_tokens = body.get("max_completion_tokens", body.get("max_tokens"))
    heard.stop = body.get("stop") or []
    return heard


def _azure_chat(path: str, body: dict[str, Any]) -> Heard:
    deployment = path.partition("/deployments/")[2].partition("/")[0]
    return _openai_chat(path, {"model": deployment, **body} if deployment else body)


def _openai_responses(path: str, body: dict[str, Any]) -> Heard:
    del path
    heard = Heard(body["model"], bool(body.get("stream")), body.get("instructions") or "")
    for item in body["input"]:
        kind = item.get("type", "message")
        if kind == "function_call":
            heard.call(item["call_id"], item["name"], json.loads(item["arguments"]))
        elif kind == "function_call_output":
            output = item["output"]
            heard.result(
                item["call_id"], output if isinstance(output, str) else "".join(part["text"] for part in output)
            )
        elif kind == "reasoning":
            summary = "".join(part["text"] for part in item.get("summary") or ())
            heard.say("assistant", Thought(summary, item.get("encrypted_content") or ""))
        else:
            _responses_message(heard, item)
    heard.tools = {tool["name"]: tool["parameters"] for tool in body.get("tools") or ()}
    wanted = (body.get("text") or {}).get("format")
    if wanted:
        assert wanted["type"] == "json_schema"
        heard.schema = wanted["schema"]
    heard.temperature, heard.top_p = body.get("temperature"), body.get("top_p")
    heard.max_output_tokens = body.get("max_output_tokens")
    return heard


def _responses_message(heard: Heard, item: dict[str, Any]) -> None:
    content = item["content"]
    parts: list[Any] = [{"type": "input_text", "text": content}] if isinstance(content, str) else content
    if item["role"] in {"system", "developer"}:
        heard.system += "".join(part["text"] for part in parts)
        return
    for part in parts:
        said: Said = data_url(part["image_url"]) if part["type"] == "input_image" else Text(part["text"])
        heard.say(item["role"], said)


def _anthropic(path: str, body: dict[str, Any]) -> Heard:
    del path
    heard = Heard(body["model"], bool(body.get("stream")))
    system = body.get("system") or ""
    heard.system = system if isinstance(system, str) else "".join(block["text"] for block in system)
    for message in body["messages"]:
        content = message["content"]
        for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            _anthropic_block(heard, message["role"], block)
    heard.tools = {tool["name"]: tool["input_schema"] for tool in body.get("tools") or ()}
    wanted = (body.get("output_config") or {}).get("format") or body.get("output_format")
    if wanted:
        assert wanted["type"] == "json_schema"
        heard.schema = wanted["schema"]
    heard.temperature, heard.top_p = body.get("temperature"), body.get("top_p")
    heard.max_output_tokens, heard.stop = body["max_tokens"], body.get("stop_sequences") or []
    return heard


def _anthropic_block(heard: Heard, role: str, block: dict[str, Any]) -> None:
    kind = block["type"]
    if kind == "text":
        heard.say(role, Text(block["text"]))
    elif kind == "image":
        source = block["source"]
        assert source["type"] == "base64"
        heard.say(role, Picture(source["media_type"], base64.b64decode(source["data"], validate=True)))
    elif kind == "thinking":
        heard.say(role, Thought(block["thinking"], block["signature"]))
    elif kind == "tool_use":
        heard.call(block["id"], block["name"], block["input"])
    else:
        assert kind == "tool_result", kind
        content = block.get("content") or ""
        text = content if isinstance(content, str) else "".join(part["text"] for part in content)
        heard.result(block["tool_use_id"], text, failed=block.get("is_error", False))


def _gemini(path: str, body: dict[str, Any]) -> Heard:
    model, _, method = path.rpartition("/")[2].partition(":")
    heard = Heard(model, method == "streamGenerateContent")
    heard.system = "".join(part["text"] for part in (body.get("systemInstruction") or {}).get("parts") or ())
    unnamed: list[tuple[str, int]] = []
    for content in body["contents"]:
        role = {"model": "assistant", "user": "user"}[content.get("role", "user")]
        for part in content["parts"]:
            _gemini_part(heard, role, part, unnamed)
    assert not unnamed, f"calls without a result: {unnamed}"
    heard.tools = {
        function["name"]: function.get("parametersJsonSchema") or function.get("parameters")
        for tool in body.get("tools") or ()
        for function in tool["functionDeclarations"]
    }
    config = body.get("generationConfig") or {}
    heard.schema = config.get("responseJsonSchema") or config.get("responseSchema")
    assert heard.schema is None or config["responseMimeType"] == "application/json"
    heard.temperature, heard.top_p = config.get("temperature"), config.get("topP")
    heard.max_output_tokens, heard.stop = config.get("maxOutputTokens"), config.get("stopSequences") or []
    return heard


def _gemini_part(heard: Heard, role: str, part: dict[str, Any], unnamed: list[tuple[str, int]]) -> None:
    seal = part.get("thoughtSignature", "")
    if "functionResponse" in part:
        answer = part["functionResponse"]
        ((kind, text),) = answer["response"].items()
        call_id, (name, number) = answer.get("id", ""), unnamed.pop(0)
        # Results stand in the order of their calls: without ids that alone says which is whose.
        assert (name, heard.ids[number - 1]) == (answer["name"], call_id)
        heard.say("tool", Result(number, text, kind == "error"))
        return
    if seal and seal not in NO_SEALS:
        _seal(heard, role, seal)
    if "functionCall" in part:
        call = part["functionCall"]
        heard.call(call.get("id", ""), call["name"], call.get("args", {}))
        unnamed.append((call["name"], len(heard.ids)))
    elif "inlineData" in part:
        heard.say(role, Picture(part["inlineData"]["mimeType"], base64.b64decode(part["inlineData"]["data"])))
    elif part.get("thought"):
        heard.say(role, Thought(part["text"], ""))
    elif part.get("text"):
        heard.say(role, Text(part["text"]))


def _seal(heard: Heard, role: str, seal: str) -> None:
    """Add the seal of a part that is no thinking to the thinking in front of it."""
    parts = heard.turns[-1][1] if heard.turns and heard.turns[-1][0] == role else []
    before = parts[-1] if parts else None
    words = ""
    if isinstance(before, Thought):
        words = before.text
        parts.pop()
    heard.say(role, Thought(words, seal))


def _bedrock(path: str, body: dict[str, Any]) -> Heard:
    model, _, method = path.removeprefix("/model/").rpartition("/")
    heard = Heard(model, method == "converse-stream")
    heard.system = "".join(block["text"] for block in body.get("system") or () if "text" in block)
    for message in body["messages"]:
        for block in message["content"]:
            _bedrock_block(heard, message["role"], block)
    for tool in (body.get("toolConfig") or {}).get("tools") or ():
        if "toolSpec" in tool:
            heard.tools[tool["toolSpec"]["name"]] = tool["toolSpec"]["inputSchema"]["json"]
    wanted = (body.get("outputConfig") or {}).get("textFormat")
    if wanted:
        heard.schema = json.loads(wanted["structure"]["jsonSchema"]["schema"])
    config = body.get("inferenceConfig") or {}
    heard.temperature, heard.top_p = config.get("temperature"), config.get("topP")
    heard.max_output_tokens, heard.stop = config.get("maxTokens"), config.get("stopSequences") or []
    return heard


def _bedrock_block(heard: Heard, role: str, block: dict[str, Any]) -> None:
    if "text" in block:
        heard.say(role, Text(block["text"]))
    elif "image" in block:
        image = block["image"]
        heard.say(role, Picture(f"image/{image['format']}", base64.b64decode(image["source"]["bytes"], validate=True)))
    elif "reasoningContent" in block:
        thought = block["reasoningContent"]["reasoningText"]
        heard.say(role, Thought(thought["text"], thought.get("signature", "")))
    elif "toolUse" in block:
        heard.call(block["toolUse"]["toolUseId"], block["toolUse"]["name"], block["toolUse"]["input"])
    else:
        answer = block["toolResult"]
        text = "".join(part["text"] for part in answer["content"])
        heard.result(answer["toolUseId"], text, failed=answer.get("status") == "error")


def _cohere(path: str, body: dict[str, Any]) -> Heard:
    del path
    heard = Heard(body["model"], bool(body.get("stream")))
    for message in body["messages"]:
        role, content = message["role"], message.get("content")
        parts: list[Any] = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
        if role in {"system", "developer"}:
            heard.system += "".join(part["text"] for part in parts)
        elif role == "tool":
            heard.result(message["tool_call_id"], "".join(_cohere_text(part) for part in parts))
        else:
            for part in parts:
                heard.say(role, _cohere_part(part))
            if message.get("tool_plan"):
                heard.say(role, Thought(message["tool_plan"], ""))
            for call in message.get("tool_calls") or ():
                heard.call(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
    heard.tools = {tool["function"]["name"]: tool["function"]["parameters"] for tool in body.get("tools") or ()}
    wanted = body.get("response_format") or {}
    heard.schema = wanted.get("json_schema", wanted.get("schema"))
    heard.temperature, heard.top_p = body.get("temperature"), body.get("p")
    heard.max_output_tokens, heard.stop = body.get("max_tokens"), body.get("stop_sequences") or []
    return heard


def _cohere_part(part: dict[str, Any]) -> Said:
    if part["type"] == "image_url":
        return data_url(part["image_url"]["url"])
    return Thought(part["thinking"], "") if part["type"] == "thinking" else Text(part["text"])


def _cohere_text(part: dict[str, Any]) -> str:
    """Return the text of a tool's result, which may be a document of one field."""
    if part["type"] == "text":
        return str(part["text"])
    data = part["document"]["data"]
    if isinstance(data, str):
        return data
    return str(next(iter(data.values())))


READERS: dict[str, Reader] = {
    "openai": _openai_chat,
    "azure_openai": _azure_chat,
    "responses": _openai_responses,
    "anthropic": _anthropic,
    "gemini": _gemini,
    "bedrock": _bedrock,
    "cohere": _cohere,
}
"""By the name of the wire."""
