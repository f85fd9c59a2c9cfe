"""A chat request in neutral words, and its answer in Cohere's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trunkline_server.simulator.ask import Ask, Tool, Turn
from trunkline_server.simulator.cohere import wire
from trunkline_server.simulator.cohere.checks import check_chat
from trunkline_server.simulator.cohere.request import CHAT, STRICT_CHAT, decoded
from trunkline_server.simulator.dialect import EVENT_STREAM_TYPE

if TYPE_CHECKING:
    from trunkline_server.simulator.answer import Answer
    from trunkline_server.simulator.cohere.request import ChatRequest, Message
    from trunkline_server.simulator.dialect import Mark
    from trunkline_server.simulator.scenario import Scenario


class ChatJob:
    """One request to `/v2/chat`."""

    stream_type = EVENT_STREAM_TYPE

    def __init__(self, chat: ChatRequest) -> None:
        self._chat = chat
        self.ask = ask_of(chat)

    def body(self, answer: Answer, mark: Mark) -> bytes:
        """See Job."""
        return wire.unary_body(answer, self._envelope(mark))

    def events(self, answer: Answer, mark: Mark) -> wire.StreamEvents:
        """See Job."""
        return wire.StreamEvents(answer, self._envelope(mark))

    def _envelope(self, mark: Mark) -> wire.Envelope:
        chat = self._chat
        # A model that was not told to reason plans its calls in words of another kind.
        plans = bool(chat.tools) and (chat.thinking is None or chat.thinking.type == "disabled")
        return wire.Envelope(id=wire.answer_id(mark.number), logprobs=bool(chat.logprobs), plans=plans)


def read_chat(body: bytes, scenario: Scenario) -> ChatJob:
    """Read and check a request. Raises RefusedError."""
    request = decoded(STRICT_CHAT if scenario.strict_parameters else CHAT, body)
    check_chat(request)
    return ChatJob(request)


def ask_of(chat: ChatRequest) -> Ask:
    """Return what a checked request asks for."""
    wanted = chat.response_format
    return Ask(
        model=chat.model,
        stream=chat.stream,
        turns=[_turn(message) for message in chat.messages],
        tools=[Tool(tool.function.name, tool.function.parameters) for tool in chat.tools or ()],
        must_call=chat.tool_choice == "REQUIRED",
        may_call=chat.tool_choice != "NONE",
        call_ids="call_sim",
        most_tokens=chat.max_tokens,
        stops=chat.stop_sequences or (),
        wants_json=wanted is not None and wanted.type != "text",
        schema=None if wanted is None else wanted.json_schema,
    )


def _turn(message: Message) -> Turn:
    return Turn(message.role, message.text(), sum(item.type == "image_url" for item in message.items()))
