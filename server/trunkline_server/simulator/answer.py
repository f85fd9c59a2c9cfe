"""What the simulated model says: text, tool calls, reasoning, and the figures that go with them.

One chunk counts as one token, in streams and in unary answers alike, so that limits and usage can be told beforehand.
Deterministic: the same request and fault give the same answer, but for the ids.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import msgspec

from trunkline_server.simulator.going_on import (
    beginning_of,
    characters_said,
    repeated_characters,
    without_front,
)
from trunkline_server.simulator.schema_sample import sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trunkline_server.simulator.ask import Ask, Turn
    from trunkline_server.simulator.going_on import Beginning
    from trunkline_server.simulator.scenario import Fault, ToolCall

MAX_ECHO_CHARACTERS = 4096
"""No more of the last user message is repeated."""

JSON_PIECE_CHARACTERS = 8
"""JSON answers come in pieces of this many characters."""

DEFAULT_TOOL_PIECES = 4
_WORD = re.compile(r"\s*\S+\s?|\s+")


class Call(msgspec.Struct):
    """One tool call, its arguments in pieces."""

    id: str
    name: str
    pieces: list[str]


class Answer(msgspec.Struct, kw_only=True):
    """All that one answer holds, in no vendor's words."""

    reasoning: list[str]
    text: list[str]
    refusal: list[str]
    calls: list[Call]
    interleaved: bool
    finish_reason: str | None
    """`stop`, `length`, `tool_calls`, `content_filter`, or what the scenario says; None: it ends without one."""
    prompt_tokens: int
    no_choices: bool
    """Not even an empty message: no choices, no candidates, no blocks."""
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


def make_answer(ask: Ask, fault: Fault, number: int, *, prefill: bool = False) -> Answer:
    """Return the answer under `fault`; `number` is the request's and goes into call ids.

    `prefill`: the model goes on from an assistant's message at the end.
    """
    calls = [] if ask.silent else _calls(ask, fault, number)
    answer = Answer(
        reasoning=_WORD.findall(fault.reasoning) if fault.reasoning else [],
        text=[],
        refusal=[],
        calls=calls,
        interleaved=bool(fault.tool_interleaved),
        finish_reason="stop",
        prompt_tokens=ask.prompt_tokens(),
        no_choices=fault.empty == "choices",
    )
    if fault.empty is not None or ask.silent:
        answer.reasoning, answer.calls = [], []
    elif fault.refusal is not None:
        answer.refusal, answer.calls = _WORD.findall(fault.refusal), []
    elif not calls or fault.content is not None:
        _say(answer, ask, fault, beginning_of(ask, fault, prefill=prefill))
    if answer.calls:
        answer.finish_reason = ask.calls_end_with
    most = ask.most_tokens
    if most is not None and answer.completion_tokens > most:
        _shorten(answer, most)
        answer.finish_reason = "length"
    if fault.finish_reason is not None:
        answer.finish_reason = fault.finish_reason
    return answer


def _say(answer: Answer, ask: Ask, fault: Fault, beginning: Beginning | None) -> None:
    """Give `answer` its text: whole, or what comes after its beginning."""
    if beginning is not None:
        pieces = _stopped(_text(ask, fault, beginning.conversation), ask.stops)
        said = characters_said(whole := "".join(pieces), beginning)
        if said is not None:
            answer.text = without_front(pieces, said - repeated_characters(whole[:said], beginning.repeat_bytes))
            answer.went_on_after_bytes = len(whole[:said].encode())
            if beginning.prefilled:
                answer.reasoning = []
            return
    answer.text = _stopped(_text(ask, fault, ask.turns), ask.stops)


def _text(ask: Ask, fault: Fault, turns: Sequence[Turn]) -> list[str]:
    if fault.chunk_text is not None:
        return [fault.chunk_text] * (fault.chunks or 1)
    if fault.content is not None:
        return _split(fault.content, fault.chunks) if fault.chunks else _WORD.findall(fault.content)
    if ask.wants_json:
        value = {"answer": _last_user_text(turns)} if ask.schema is None else sample(ask.schema)
        written = json.dumps(value, ensure_ascii=False)
        return _split(written, fault.chunks or -(-len(written) // JSON_PIECE_CHARACTERS))
    words: list[str] = _WORD.findall(f"You said: {_last_user_text(turns)}")
    if fault.chunks is None:
        return words
    spaced = [word.rstrip() + " " for word in words]
    return (spaced * -(-fault.chunks // len(spaced)))[: fault.chunks]


def _last_user_text(turns: Sequence[Turn]) -> str:
    for turn in reversed(turns):
        if turn.role == "user":
            return turn.text[:MAX_ECHO_CHARACTERS]
    return ""


def _split(text: str, pieces: int) -> list[str]:
    """Cut `text` into `pieces` parts of nearly equal length, none of them empty."""
    pieces = min(pieces, len(text))
    return [text[len(text) * index // pieces : len(text) * (index + 1) // pieces] for index in range(pieces)]


def _stopped(pieces: list[str], stops: Sequence[str]) -> list[str]:
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


def _calls(ask: Ask, fault: Fault, number: int) -> list[Call]:
    pieces = fault.tool_pieces or DEFAULT_TOOL_PIECES
    prefix = f"{ask.call_ids}{number}_"
    if isinstance(fault.tool_calls, list):
        return [_scripted(call, f"{prefix}{index}", pieces) for index, call in enumerate(fault.tool_calls)]
    on_offer = [(tool.name, tool.parameters) for tool in ask.tools if tool.name is not None]
    count = fault.tool_calls or 0
    if ask.only_tool is not None:
        on_offer = [tool for tool in on_offer if tool[0] == ask.only_tool]
    if ask.only_tool is not None or ask.must_call:
        count = max(1, count)
    if not on_offer or not ask.may_call:
        return []
    if not ask.parallel_calls:
        count = min(count, 1)
    calls: list[Call] = []
    for index in range(count):
        name, parameters = on_offer[index % len(on_offer)]
        arguments = json.dumps(sample(parameters or {}) or {}, ensure_ascii=False)
        calls.append(Call(f"{prefix}{index}", name, _split(arguments, pieces)))
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
