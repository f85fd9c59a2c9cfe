"""Tool calls put together from the pieces of a stream. Cohere sends them one after the other, each closed in words."""

from __future__ import annotations

from collections.abc import Callable

from trunkline_server.chat.answer import Delta, ToolCallDelta
from trunkline_server.providers.cohere.wire import ToolCallWire
from trunkline_server.providers.failures import protocol_error
from trunkline_server.providers.json_wire import is_json
from trunkline_server.providers.tool_arguments import MAX_ARGUMENTS_CHARS, MAX_CALLS, NO_ARGUMENTS, made_id


class _Call:
    """One call as far as it has come."""

    __slots__ = ("done", "index", "part", "pieces")

    def __init__(self, index: int | None, part: int) -> None:
        self.index = index
        self.part = part
        self.pieces: list[str] = []
        self.done = False

    def __repr__(self) -> str:
        return f"<call {self.index} {'done' if self.done else 'open'}>"


class ToolCallAssembly:
    """The tool calls of one streamed answer. `new_part` gives each its part number."""

    __slots__ = ("_calls", "_chars", "_new_part")

    def __init__(self, new_part: Callable[[], int]) -> None:
        self._calls: list[_Call] = []
        self._chars = 0
        self._new_part = new_part

    def __bool__(self) -> bool:
        """Whether the answer asks for a tool at all."""
        return bool(self._calls)

    def start(self, index: int | None, wire: ToolCallWire, answer_id: str, deltas: list[Delta]) -> None:
        """Begin a call; the one before it is done then. Raise AttemptError (PROTOCOL) for one without a name."""
        function = wire.function
        if function is None or not function.name:
            raise protocol_error("a tool call has no name")
        if len(self._calls) >= MAX_CALLS:
            raise protocol_error("its tool calls are without bounds")
        if self._calls:
            _close(self._calls[-1], deltas, whole=False)
        call = _Call(index, self._new_part())
        call_id = wire.id or made_id(answer_id, len(self._calls))
        self._calls.append(call)
        deltas.append(ToolCallDelta(call.part, call_id, function.name))
        if function.arguments:
            self._add(call, function.arguments, deltas)

    def add(self, index: int | None, wire: ToolCallWire, deltas: list[Delta]) -> None:
        """Take more arguments of the call `index`; raise AttemptError (PROTOCOL) if there is none that is open."""
        arguments = None if wire.function is None else wire.function.arguments
        if arguments:
            self._add(self._find(index), arguments, deltas)

    def end(self, index: int | None, deltas: list[Delta]) -> None:
        """Tell that the provider closed the call `index`."""
        _close(self._find(index), deltas, whole=True)

    def finish(self, deltas: list[Delta], *, whole: bool) -> None:
        """Tell which calls are done now that the answer ended; `whole` if its reason says that nothing is missing."""
        for call in self._calls:
            _close(call, deltas, whole=whole)

    def _find(self, index: int | None) -> _Call:
        for call in reversed(self._calls):
            if index is None or call.index == index:
                return call
        raise protocol_error("a piece of a tool call that was not begun")

    def _add(self, call: _Call, arguments: str, deltas: list[Delta]) -> None:
        if call.done:
            if arguments.strip():
                raise protocol_error("a tool call went on after its arguments were whole")
            return
        self._chars += len(arguments)
        if self._chars > MAX_ARGUMENTS_CHARS:
            raise protocol_error("the arguments of its tool calls are without bounds")
        call.pieces.append(arguments)
        deltas.append(ToolCallDelta(call.part, arguments_json_delta=arguments))


def _close(call: _Call, deltas: list[Delta], *, whole: bool) -> None:
    """Tell that `call` is done, if it is: half of an argument never counts as one."""
    if call.done:
        return
    if not call.pieces:
        if whole:
            call.done = True
            deltas.append(ToolCallDelta(call.part, arguments_json_delta=NO_ARGUMENTS, done=True))
    elif is_json("".join(call.pieces)):
        call.done = True
        deltas.append(ToolCallDelta(call.part, done=True))
