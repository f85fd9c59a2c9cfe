"""A chat completion: its request in neutral words, its answer in OpenAI's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trunkline_server.simulator.ask import Ask, Tool, Turn
from trunkline_server.simulator.dialect import EVENT_STREAM_TYPE
from trunkline_server.simulator.openai import wire
from trunkline_server.simulator.openai.request import NamedTool, read_request

if TYPE_CHECKING:
    from trunkline_server.simulator.answer import Answer
    from trunkline_server.simulator.dialect import Mark
    from trunkline_server.simulator.openai.request import ChatRequest, Message
    from trunkline_server.simulator.scenario import Scenario


class ChatJob:
    """One request to `/v1/chat/completions`."""

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
        return wire.Envelope(
            id=f"chatcmpl-sim-{mark.number:08d}",
            created=int(mark.created_unix_s),
            model=chat.model,
            logprobs=(chat.top_logprobs or 0) if chat.logprobs else None,
            include_usage=bool(chat.stream_options and chat.stream_options.include_usage),
        )


def read_chat(body: bytes, scenario: Scenario) -> ChatJob:
    """Read and check a request. Raises RefusedError."""
    return ChatJob(read_request(body, strict=scenario.strict_parameters))


def ask_of(chat: ChatRequest) -> Ask:
    """Return what a checked request asks for."""
    choice, wanted = chat.tool_choice, chat.response_format
    named = choice.function.name if isinstance(choice, NamedTool) else None
    tools = [
        Tool(tool.function.name, tool.function.parameters) if tool.function else Tool(None) for tool in chat.tools or ()
    ]
    return Ask(
        model=chat.model,
        stream=bool(chat.stream),
        turns=[_turn(message) for message in chat.messages],
        tools=tools,
        must_call=choice == "required",
        may_call=choice != "none",
        only_tool=named,
        parallel_calls=chat.parallel_tool_calls is not False,
        # OpenAI's habit: a call that was forced by name ends with "stop".
        calls_end_with="tool_calls" if named is None else "stop",
        most_tokens=chat.most_tokens(),
        stops=[chat.stop] if isinstance(chat.stop, str) else chat.stop or (),
        wants_json=wanted is not None and wanted.type != "text",
        schema=wanted.json_schema.schema if wanted is not None and wanted.json_schema else None,
    )


def _turn(message: Message) -> Turn:
    parts = () if isinstance(message.content, str) else message.content or ()
    return Turn(message.role, message.text(), sum(part.type == "image_url" for part in parts))
