"""Calls with one whole answer, `Complete` first. Nothing is committed before the end: every failure may be moved."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from trunkline_server.chat.answer import Answer
from trunkline_server.chat.embedding import EmbedAnswer, EmbedRequest
from trunkline_server.chat.message import Part, RefusalPart, TextPart, ThinkingPart, ToolCallPart
from trunkline_server.chat.request import ChatRequest
from trunkline_server.engine.alarm import Alarm
from trunkline_server.engine.attempt import Dispatched, ask
from trunkline_server.engine.call import Call
from trunkline_server.engine.frames import AnsweredCall, CallFailedError, CallFailure
from trunkline_server.engine.record import AttemptRecord, route_info, unused_options
from trunkline_server.routing.events import Broken
from trunkline_server.routing.failures import FailureClass

_Request = TypeVar("_Request", bound=ChatRequest | EmbedRequest)
_Answer = TypeVar("_Answer", Answer, EmbedAnswer)


class WholeCall(Call[_Request, _Answer]):
    """A call that is answered at once, and asks its upstream without a stream."""

    streams = False

    async def run(self) -> AnsweredCall[_Answer]:
        """Return the answer; raise CallFailedError."""
        answer = await self.drive()
        if answer is None:
            if self.failure is None:
                raise RuntimeError("a call ended without an answer and without a failure")
            raise CallFailedError(self.failure)
        last = self.answered
        if last.usage is not answer.usage:
            # The attempt's books know what the answer cost, its provider does not.
            answer = replace(answer, usage=last.usage)
        now = self._clock()
        warnings = self._warnings + last.warnings + answer.warnings
        if self.request.provider_options:
            warnings += unused_options(self.request, last.served_by)
        return AnsweredCall(
            self.request.request_id,
            answer,
            route_info(self.machine, self.request.model, self.snapshot.version, last.served_by),
            tuple([record.summary(now) for record in self.records]),
            self.created_unix_s,
            warnings,
        )

    def _broke(self, broken: Broken) -> None:
        """Nothing was shown that could break: the machine does not ask for it."""
        raise RuntimeError(f"a call that is answered at once broke: {broken}")

    def _finished(self) -> None:
        """Nothing to do: the answer is returned."""

    def _failed(self, told: CallFailure) -> None:
        """Nothing to do: the failure is raised."""


class UnaryCall(WholeCall[ChatRequest, Answer]):
    """A call for an answer of a model."""

    async def _exchange(self, sent: Dispatched, record: AttemptRecord, alarm: Alarm) -> Answer:
        alarm.set(record.dispatched_at + sent.timeouts.response_s, FailureClass.FIRST_TOKEN_TIMEOUT)
        answer = await ask(sent, sent.adapter.decode_answer)
        record.usage = answer.usage
        thought = False
        for part in answer.message.parts:
            record.bytes_emitted += _content_bytes(part)
            thought = thought or isinstance(part, ThinkingPart)
        return _signed(answer, record.served_by.target.provider) if thought else answer


def _content_bytes(part: Part) -> int:
    """Return the size of what counts as content in a stream too: text, reasoning, refusals and tool arguments."""
    if isinstance(part, (TextPart, ThinkingPart, RefusalPart)):
        return len(part.text.encode())
    return len(part.arguments_json.encode()) if isinstance(part, ToolCallPart) else 0


def _signed(answer: Answer, provider: str) -> Answer:
    """Return the answer with its reasoning marked as this provider's, so that it never goes back to another."""
    parts = answer.message.parts
    marked = tuple(replace(part, provider=provider) if isinstance(part, ThinkingPart) else part for part in parts)
    return replace(answer, message=replace(answer.message, parts=marked))
