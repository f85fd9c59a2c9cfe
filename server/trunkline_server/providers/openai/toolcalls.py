"""Tool calls put together from the pieces of a stream, and told as soon as they are whole."""

from __future__ import annotations

from collections.abc import Callable

from trunkline_server.chat.answer import Delta, ToolCallDelta
from trunkline_server.providers.failures import protocol_error
from trunkline_server.providers.json_wire import is_json
from trunkline_server.providers.openai.wire import ToolCallWire, arguments_text
from trunkline_server.providers.tool_arguments import MAX_ARGUMENTS_CHARS, MAX_CALLS, NO_ARGUMENTS, made_id


class _Call:
    """One call as far as it has come. It is shown (`part` ≥ 0) once its name is known."""

    __slots__ = ("done", "id", "index", "name", "part", "pieces")

    def __init__(self, index: int | None, call_id: str) -> None:
        self.index = index
        self.id = call_id
        self.name = ""
        self.part = -1
        self.pieces: list[str] = []
        self.done = False

    def __repr__(self) -> str:
        state = "done" if self.done else "open" if self.part >= 0 else "unnamed"
        return f"<call {self.index} {self.id!r} {self.name!r} {state}>"


class ToolCallAssembly:
    """The tool calls of one streamed answer. `new_part` gives a call its part number when it is first shown."""

    __slots__ = ("_calls", "_chars", "_current", "_new_part")

    def __init__(self, new_part: Callable[[], int]) -> None:
        self._calls: list[_Call] = []
        self._current: _Call | None = None
        self._chars = 0
        self._new_part = new_part

    def __bool__(self) -> bool:
        """Whether the answer asks for a tool at all."""
        return bool(self._calls)

    def add(self, wire: ToolCallWire, answer_id: str, deltas: list[Delta]) -> None:
        """Take one piece and append what it tells to `deltas`; raise AttemptError (PROTOCOL) if it fits nowhere."""
        function = wire.function
        name = "" if function is None else function.name or ""
        arguments = "" if function is None else arguments_text(function.arguments)
        call = self._find(wire, name)
        if call is None:
            call = self._start(wire, deltas)
        self._current = call
        if call.done:
            if arguments.strip():
                raise protocol_error("a tool call went on after its arguments were whole")
            return
        self._chars += len(arguments)
        if self._chars > MAX_ARGUMENTS_CHARS:
            raise protocol_error("the arguments of its tool calls are without bounds")
        if arguments:
            call.pieces.append(arguments)
        if call.part >= 0:
            if arguments:
                deltas.append(ToolCallDelta(call.part, arguments_json_delta=arguments))
        elif name:
            self._show(call, name, answer_id, deltas)

    def finish(self, deltas: list[Delta], *, whole: bool) -> None:
        """Tell which calls are done now that the answer ended; `whole` if its reason says that nothing is missing."""
        for call in self._calls:
            if call.part < 0:
                if whole:
                    raise protocol_error("a tool call has no name")
            elif not call.done:
                if whole and not call.pieces:
                    call.done = True
                    deltas.append(ToolCallDelta(call.part, arguments_json_delta=NO_ARGUMENTS, done=True))
                else:
                    _close(call, deltas)

    def _find(self, wire: ToolCallWire, name: str) -> _Call | None:
        """Return the call that a piece belongs to; None if it starts a new one.

        The index says it, where there is one; but some servers number every call 0 and tell them apart by id
        alone, and some send neither, one whole call a piece.
        """
        if wire.index is not None:
            found = next((call for call in reversed(self._calls) if call.index == wire.index), None)
            if found is not None and name and found.name and wire.id and found.id and wire.id != found.id:
                return None
            return found
        if wire.id:
            return next((call for call in self._calls if call.id == wire.id), None)
        return None if name else self._current

    def _start(self, wire: ToolCallWire, deltas: list[Delta]) -> _Call:
        if len(self._calls) >= MAX_CALLS:
            raise protocol_error("its tool calls are without bounds")
        if self._current is not None:
            _close(self._current, deltas)
        call = _Call(wire.index, wire.id or "")
        self._calls.append(call)
        return call

    def _show(self, call: _Call, name: str, answer_id: str, deltas: list[Delta]) -> None:
        call.name = name
        call.part = self._new_part()
        shown_id = call.id or made_id(answer_id, self._calls.index(call))
        deltas.append(ToolCallDelta(call.part, shown_id, name, "".join(call.pieces)))


def _close(call: _Call, deltas: list[Delta]) -> None:
    """Tell that `call` is done, if it is: half of an argument never counts as one."""
    if not call.done and call.part >= 0 and is_json("".join(call.pieces)):
        call.done = True
        deltas.append(ToolCallDelta(call.part, done=True))
