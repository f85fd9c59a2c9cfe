"""The parts of an answer, in the order in which the model said them; the same for whole answers and for streams.

Neighbouring pieces of text are one part of ours, and so are neighbouring pieces of reasoning. A signature that stands
on text or on a function call becomes a part of reasoning of its own, without text, right in front of what it seals:
there `contents` finds it when the conversation comes back, and puts it where it was. A signature on reasoning closes
that part.
"""

from __future__ import annotations

from typing import Final

from trunkline_server.chat.answer import (
    Delta,
    TextDelta,
    ThinkingDelta,
    ThinkingSignatureDelta,
    TokenLogprob,
    ToolCallDelta,
    Warning_,
)
from trunkline_server.providers.failures import protocol_error
from trunkline_server.providers.gemini.wire import CandidateWire, FunctionCallWire, PartWire, arguments_text
from trunkline_server.providers.json_wire import DECODING_ERRORS
from trunkline_server.providers.tool_arguments import MAX_ARGUMENTS_CHARS, MAX_CALLS, NO_ARGUMENTS, made_id

_NOTHING: Final = 0
_TEXT: Final = 1
_THINKING: Final = 2

_DROPPED_PARTS: Final = (
    "inline_data",
    "file_data",
    "executable_code",
    "code_execution_result",
    "tool_call",
    "tool_response",
)
_DROPPED_BESIDE: Final = ("grounding_metadata", "citation_metadata", "url_context_metadata")


class AnswerParts:
    """Turns what the provider sends of one answer into deltas, and remembers what of it no delta can say."""

    __slots__ = ("_calls", "_chars", "_dropped", "_open", "answer_id", "count")

    def __init__(self) -> None:
        self.count = 0
        """Parts so far."""
        self.answer_id = ""
        """The provider's id of the answer, which calls without an id get one from."""
        self._open = _NOTHING
        """What the last part is, as far as more of the same may join it."""
        self._calls = 0
        self._chars = 0
        self._dropped: dict[str, None] = {}

    @property
    def called(self) -> bool:
        """Whether the answer asks for a function at all."""
        return self._calls > 0

    @property
    def warnings(self) -> tuple[Warning_, ...]:
        """What of the answer could not be carried over, each kind once."""
        told = "the provider sent content that this gateway cannot carry"
        return tuple(Warning_("DROPPED_CONTENT", f"candidates[0].{name}", told) for name in self._dropped)

    def add(self, wire: CandidateWire, logprobs: tuple[TokenLogprob, ...], deltas: list[Delta]) -> None:
        """Append to `deltas` what `wire` adds; raise AttemptError (PROTOCOL) for calls that make no sense.

        `logprobs` go with the first text in it.
        """
        content = wire.content
        if content is not None and content.parts is not None:
            for part in content.parts:
                text = part.text
                if text is not None and not part.thought and part.thought_signature is None:  # nearly all
                    if text or logprobs:
                        self._text(text, logprobs, deltas)
                        logprobs = ()
                elif self._other(part, logprobs, deltas):
                    logprobs = ()
        if wire.grounding_metadata or wire.citation_metadata or wire.url_context_metadata:
            self._dropped.update((_camel(name), None) for name in _DROPPED_BESIDE if getattr(wire, name))

    def _text(self, text: str, logprobs: tuple[TokenLogprob, ...], deltas: list[Delta]) -> None:
        if self._open != _TEXT:
            self._new(_TEXT)
        deltas.append(TextDelta(self.count - 1, text, logprobs))

    def _other(self, part: PartWire, logprobs: tuple[TokenLogprob, ...], deltas: list[Delta]) -> bool:
        """Take any part that is more than plain text; return whether it took the log-probabilities."""
        lost = [name for name in _DROPPED_PARTS if getattr(part, name) is not None]
        self._dropped.update((f"content.parts.{_camel(name)}", None) for name in lost)
        signature = part.thought_signature
        if part.thought:
            self._thinking(part.text or "", signature, deltas)
            return False
        if signature:
            self._new(_NOTHING)
            deltas.append(ThinkingSignatureDelta(self.count - 1, signature))
        if part.function_call is not None:
            self._call(part.function_call, deltas)
        elif part.text:
            self._text(part.text, logprobs, deltas)
            return True
        elif part.text is None and not signature and not lost:
            self._dropped["content.parts"] = None  # of a kind that nobody knows yet
        return False

    def _thinking(self, text: str, signature: str | None, deltas: list[Delta]) -> None:
        if not text and not signature:
            return
        if self._open != _THINKING:
            self._new(_THINKING)
        if text:
            deltas.append(ThinkingDelta(self.count - 1, text))
        if signature:
            deltas.append(ThinkingSignatureDelta(self.count - 1, signature))
            self._open = _NOTHING

    def _call(self, call: FunctionCallWire, deltas: list[Delta]) -> None:
        if not call.name:
            raise protocol_error("a function call has no name")
        if call.partial_args or call.will_continue:
            raise protocol_error("a function call in pieces, which was not asked for")
        try:
            arguments = arguments_text(call.args) or NO_ARGUMENTS
        except DECODING_ERRORS:
            raise protocol_error("a function call's arguments are no JSON") from None  # it may hold the answer's words
        self._chars += len(arguments)
        if self._calls >= MAX_CALLS or self._chars > MAX_ARGUMENTS_CHARS:
            raise protocol_error("its function calls are without bounds")
        call_id = call.id or made_id(self.answer_id, self._calls)
        self._calls += 1
        self._new(_NOTHING)
        deltas.append(ToolCallDelta(self.count - 1, call_id, call.name, arguments, done=True))

    def _new(self, kind: int) -> None:
        self.count += 1
        self._open = kind


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
