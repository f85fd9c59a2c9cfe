"""What the simulated model says: text, tool calls, reasoning, and the figures that go with them.

One chunk counts as one token, in streams and in unary answers alike, so that limits and usage can be told beforehand.
Deterministic: the same request and fault give the same answer, but for the ids.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import msgspec

from trunkline_server.simulator.openai.going_on import (
    beginning_of,
    characters_said,
    repeated_characters,
    without_front,
)
from trunkline_server.simulator.openai.request import NamedTool
from trunkline_server.simulator.openai.schema_sample import sample

if TYPE_CHECKING:
    from trunkline_server.simulator.openai.going_on import Beginning
    from trunkline_server.simulator.openai.request import ChatRequest, Message
    from trunkline_server.simulator.scenario import Fault, ToolCall

MAX_ECHO_CHARACTERS = 4096
"""No more of the last user message is repeated."""

JSON_PIECE_CHARACTERS = 8
"""JSON answers come in pieces of this many characters."""

DEFAULT_TOOL_PIECES = 4
IMAGE_TOKENS = 85
_WORD = re.compile(r"\s*\S+\s?|\s+")


class Call(msgspec.Struct):
    """One tool call, its arguments in pieces."""

    id: str
    name: str
    pieces: list[str]


class Answer(msgspec.Struct, kw_only=True):
    """All that one answer holds, before any wire format."""

    reasoning: list[str]
    text: list[str]
    refusal: list[str]
    calls: list[Call]
    interleaved: bool
    finish_reason: str
    prompt_tokens: int
    no_choices: bool
    went_on_after_bytes: int | None = None
    """So many bytes of the answer were in the request already; None: it is whole."""

    @property
    def reasoning_tokens(self) -> int:
        """Tokens of the reasoning alone."""
        return len(self.reasoning)

    @property
    def completion_tokens(self) -> int:
        """All tokens of the answer, reasoning included."""
        return self.reasoning_tokens + len(self.text) + len(self.refusal) + sum(len(call.pieces) for call in self.calls)


def prompt_tokens(request: ChatRequest) -> int:
    """Estimate the prompt: a token for four characters, four a message, 85 an image."""
    total = 3
    for message in request.messages:
        total += 4 + -(-len(message.text()) // 4)
        if not isinstance(message.content, str):
            total += sum(IMAGE_TOKENS for part in message.content or () if part.type == "image_url")
    for tool in request.tools or ():
        total += 16 + (len(str(tool.function.parameters)) // 4 if tool.function else 0)
    return total


def make_answer(request: ChatRequest, fault: Fault, prompt: int, number: int, *, prefill: bool = False) -> Answer:
    """Return the answer to `request` under `fault`; `prompt` is its token count, `number` goes into call ids.

    `prefill`: the model goes on from an assistant's message at the end.
    """
    calls = _calls(request, fault, number)
    answer = Answer(
        reasoning=_WORD.findall(fault.reasoning) if fault.reasoning else [],
        text=[],
        refusal=[],
        calls=calls,
        interleaved=bool(fault.tool_interleaved),
        finish_reason="stop",
        prompt_tokens=prompt,
        no_choices=fault.empty == "choices",
    )
    if fault.empty is not None:
        answer.reasoning, answer.calls = [], []
    elif fault.refusal is not None:
        answer.refusal, answer.calls = _WORD.findall(fault.refusal), []
    elif not calls or fault.content is not None:
        _say(answer, request, fault, beginning_of(request, fault, prefill=prefill))
    # OpenAI's habit: a call that was forced by name ends with "stop".
    if answer.calls and not isinstance(request.tool_choice, NamedTool):
        answer.finish_reason = "tool_calls"
    most = request.most_tokens()
    if most is not None and answer.completion_tokens > most:
        _shorten(answer, most)
        answer.finish_reason = "length"
    if fault.finish_reason is not None:
        answer.finish_reason = fault.finish_reason
    return answer


def _say(answer: Answer, request: ChatRequest, fault: Fault, beginning: Beginning | None) -> None:
    """Give `answer` its text: whole, or what comes after its beginning."""
    if beginning is not None:
        pieces = _stopped(_text(request, fault, beginning.conversation), request.stop)
        said = characters_said(whole := "".join(pieces), beginning)
        if said is not None:
            answer.text = without_front(pieces, said - repeated_characters(whole[:said], beginning.repeat_bytes))
            answer.went_on_after_bytes = len(whole[:said].encode())
            if beginning.prefilled:
                answer.reasoning = []
            return
    answer.text = _stopped(_text(request, fault, request.messages), request.stop)


def _text(request: ChatRequest, fault: Fault, messages: list[Message]) -> list[str]:
    if fault.chunk_text is not None:
        return [fault.chunk_text] * (fault.chunks or 1)
    if fault.content is not None:
        return _split(fault.content, fault.chunks) if fault.chunks else _WORD.findall(fault.content)
    wanted = request.response_format
    if wanted is not None and wanted.type != "text":
        schema = wanted.json_schema.schema if wanted.json_schema else None
        value = {"answer": _last_user_text(messages)} if schema is None else sample(schema)
        written = json.dumps(value, ensure_ascii=False)
        return _split(written, fault.chunks or -(-len(written) // JSON_PIECE_CHARACTERS))
    words: list[str] = _WORD.findall(f"You said: {_last_user_text(messages)}")
    if fault.chunks is None:
        return words
    spaced = [word.rstrip() + " " for word in words]
    return (spaced * -(-fault.chunks // len(spaced)))[: fault.chunks]


def _last_user_text(messages: list[Message]) -> str:
    for message in reversed(messages):
        if message.role == "user":
            return message.text()[:MAX_ECHO_CHARACTERS]
    return ""


def _split(text: str, pieces: int) -> list[str]:
    """Cut `text` into `pieces` parts of nearly equal length, none of them empty."""
    pieces = min(pieces, len(text))
    return [text[len(text) * index // pieces : len(text) * (index + 1) // pieces] for index in range(pieces)]


def _stopped(pieces: list[str], stop: str | list[str] | None) -> list[str]:
    stops = [stop] if isinstance(stop, str) else stop or []
    if not stops:
        return pieces
    text = "".join(pieces)
    end = min((at for at in (text.find(word) for word in stops if word) if at >= 0), default=None)
    if end is None:
        return pieces
    kept: list[str] = []
    for piece in pieces:
        if end <= 0:
            break
        kept.append(piece[:end])
        end -= len(piece)
    return kept


def _calls(request: ChatRequest, fault: Fault, number: int) -> list[Call]:
    pieces = fault.tool_pieces or DEFAULT_TOOL_PIECES
    if isinstance(fault.tool_calls, list):
        return [_scripted(call, f"call_sim{number}_{index}", pieces) for index, call in enumerate(fault.tool_calls)]
    on_offer = [tool.function for tool in request.tools or () if tool.function]
    choice = request.tool_choice
    count = fault.tool_calls or 0
    if isinstance(choice, NamedTool):
        on_offer = [function for function in on_offer if function.name == choice.function.name]
    if isinstance(choice, NamedTool) or choice == "required":
        count = max(1, count)
    if not on_offer or choice == "none":
        return []
    if request.parallel_tool_calls is False:
        count = min(count, 1)
    calls: list[Call] = []
    for index in range(count):
        function = on_offer[index % len(on_offer)]
        arguments = json.dumps(sample(function.parameters or {}) or {}, ensure_ascii=False)
        calls.append(Call(f"call_sim{number}_{index}", function.name, _split(arguments, pieces)))
    return calls


def _scripted(call: ToolCall, call_id: str, pieces: int) -> Call:
    written = call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments, ensure_ascii=False)
    return Call(call.id or call_id, call.name, _split(written, pieces))


def _shorten(answer: Answer, most: int) -> None:
    """Keep the first `most` tokens, in the order in which they would have been sent."""
    for part in (answer.reasoning, answer.text, answer.refusal, *(call.pieces for call in answer.calls)):
        del part[most:]
        most -= len(part)
    answer.calls = [call for call in answer.calls if call.pieces]
