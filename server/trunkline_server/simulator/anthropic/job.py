"""A message: its request in neutral words, its answer in the service's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trunkline_server.simulator.anthropic import wire
from trunkline_server.simulator.anthropic.figures import check_settings
from trunkline_server.simulator.anthropic.models import model_of
from trunkline_server.simulator.anthropic.request import Image, Text, ToolResult, read_request
from trunkline_server.simulator.anthropic.turns import check_turns
from trunkline_server.simulator.ask import Ask, Tool, Turn
from trunkline_server.simulator.dialect import EVENT_STREAM_TYPE

if TYPE_CHECKING:
    from trunkline_server.simulator.answer import Answer
    from trunkline_server.simulator.anthropic.request import Message, MessagesRequest
    from trunkline_server.simulator.dialect import Mark
    from trunkline_server.simulator.scenario import Scenario

FILES_BETA = "files-api"
WITHHOLD = "ANTHROPIC_MAGIC_STRING_TRIGGER_REDACTED_THINKING"
"""A request that has this in it is answered with thinking whose words are withheld, as the service does for tests."""


class MessagesJob:
    """One request to `/v1/messages`."""

    stream_type = EVENT_STREAM_TYPE

    def __init__(self, request: MessagesRequest) -> None:
        self._request = request
        self.ask = ask_of(request)

    def body(self, answer: Answer, mark: Mark) -> bytes:
        """See Job."""
        return wire.unary_body(answer, self._envelope(answer, mark))

    def events(self, answer: Answer, mark: Mark) -> wire.StreamEvents:
        """See Job."""
        return wire.StreamEvents(answer, self._envelope(answer, mark))

    def _envelope(self, answer: Answer, mark: Mark) -> wire.Envelope:
        request = self._request
        display = None if request.thinking is None else request.thinking.display
        return wire.Envelope(
            id=f"msg_sim{mark.number:08d}",
            model=request.model,
            number=mark.number,
            # All but the frame of the prompt, since nobody remembers what was cached before.
            cached_tokens=answer.prompt_tokens - 3 if _is_marked(request) else 0,
            shows_thinking=display == "summarized" or (display is None and model_of(request.model).shows_thinking),
            withholds_thinking=any(WITHHOLD in message.text() for message in request.messages[-1:]),
        )


def read_messages(body: bytes, scenario: Scenario, *, version: str, betas: str) -> MessagesJob:
    """Read and check a request of a version of the API. Raises RefusedError."""
    request = read_request(body, strict=scenario.strict_parameters)
    model = model_of(request.model)
    check_turns(request, model, files=FILES_BETA in betas)
    check_settings(request, model, version)
    return MessagesJob(request)


def ask_of(request: MessagesRequest) -> Ask:
    """Return what a checked request asks for."""
    choice, config = request.tool_choice, request.output_config
    wanted = None if config is None else config.format
    system = request.system_text()
    return Ask(
        model=request.model,
        stream=bool(request.stream),
        turns=[*([Turn("system", system)] if system else ()), *map(_turn, request.messages)],
        tools=[_tool(tool) for tool in request.tools or ()],
        must_call=choice is not None and choice.type == "any",
        may_call=choice is None or choice.type != "none",
        only_tool=choice.name if choice is not None and choice.type == "tool" else None,
        parallel_calls=choice is None or not choice.disable_parallel_tool_use,
        call_ids="toolu_sim",
        most_tokens=request.max_tokens,
        stops=request.stop_sequences or (),
        wants_json=wanted is not None,
        schema=None if wanted is None else wanted.schema,
    )


def _tool(tool: dict[str, Any]) -> Tool:
    """Return a tool on offer; those that the service runs itself are never called."""
    if tool.get("type", "custom") != "custom":
        return Tool(None)
    return Tool(tool["name"], tool["input_schema"])


def _turn(message: Message) -> Turn:
    blocks = message.blocks()
    role = message.role
    if blocks and all(isinstance(block, ToolResult) for block in blocks):
        role = "tool"
    # What the user says beside results is what the model answers to.
    text = message.text() if role == "tool" else "".join(block.text for block in blocks if isinstance(block, Text))
    return Turn(role, text, sum(isinstance(block, Image) for block in blocks))


def _is_marked(request: MessagesRequest) -> bool:
    blocks = [block for message in request.messages for block in message.blocks()]
    system = [] if request.system is None or isinstance(request.system, str) else request.system
    return any(getattr(block, "cache_control", None) is not None for block in (*system, *blocks))
