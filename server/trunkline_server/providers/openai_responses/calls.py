"""The function calls of one streamed response, told as soon as they are whole."""

from __future__ import annotations

from collections.abc import Callable

from trunkline_server.chat.answer import Delta, ToolCallDelta
from trunkline_server.providers.failures import protocol_error
from trunkline_server.providers.json_wire import is_json
from trunkline_server.providers.openai.wire import arguments_text
from trunkline_server.providers.openai_responses.finish import COMPLETED
from trunkline_server.providers.openai_responses.wire import ItemWire
from trunkline_server.providers.tool_arguments import MAX_ARGUMENTS_CHARS, MAX_CALLS, NO_ARGUMENTS, made_id


class _Call:
    """One call as far as it has come. It is shown (`part` ≥ 0) once its name is known."""

    __slots__ = ("done", "number", "part", "pieces")

    def __init__(self, number: int) -> None:
        self.number = number
        self.part = -1
        self.pieces: list[str] = []
        self.done = False


class Calls:
    """The calls by their places in the response. `new_part` gives a call its number when it is shown."""

    __slots__ = ("_by_index", "_chars", "_new_part", "answer_id")

    def __init__(self, new_part: Callable[[], int]) -> None:
        self.answer_id = ""
        """The response's own id, for calls that have none."""
        self._by_index: dict[int, _Call] = {}
        self._chars = 0
        self._new_part = new_part

    def __bool__(self) -> bool:
        """Whether the response asks for a function at all."""
        return bool(self._by_index)

    def show(self, index: int, item: ItemWire, deltas: list[Delta]) -> None:
        """Take the head of a call: its id and its name, mostly without arguments."""
        call = self._call(index)
        if call.part >= 0 or not item.name:
            return
        call.part = self._new_part()
        early = arguments_text(item.arguments) if not call.pieces else ""
        if early:
            self._take(call, early)
        call_id = item.call_id or made_id(self.answer_id, call.number)
        deltas.append(ToolCallDelta(call.part, call_id, item.name, "".join(call.pieces)))

    def add(self, index: int, arguments: str, deltas: list[Delta]) -> None:
        """Take a piece of a call's arguments; raise AttemptError (PROTOCOL) if there may be no more of them."""
        if not arguments:
            return
        call = self._call(index)
        if call.done:
            raise protocol_error("a tool call went on after its arguments were whole")
        self._take(call, arguments)
        if call.part >= 0:
            deltas.append(ToolCallDelta(call.part, arguments_json_delta=arguments))

    def complete(self, index: int, arguments: str, deltas: list[Delta]) -> None:
        """Take a call's arguments as they are in the end; raise AttemptError (PROTOCOL) if they were others before."""
        call = self._call(index)
        if call.done:
            return
        told = "".join(call.pieces)
        if not arguments.startswith(told):
            raise protocol_error("a tool call's arguments are others in the end")
        self.add(index, arguments[len(told) :], deltas)
        _close(call, deltas)

    def end(self, index: int, item: ItemWire, deltas: list[Delta]) -> None:
        """Take a call as it is in the end, with its status."""
        self.show(index, item, deltas)
        arguments = arguments_text(item.arguments)
        if arguments:
            self.complete(index, arguments, deltas)
        call = self._call(index)
        if not call.done and not call.pieces and call.part >= 0 and item.status == COMPLETED:
            call.done = True
            deltas.append(ToolCallDelta(call.part, arguments_json_delta=NO_ARGUMENTS, done=True))

    def finish(self, deltas: list[Delta], *, whole: bool) -> None:
        """Tell which calls are done now that the response ended; `whole` if nothing is missing from it."""
        for call in self._by_index.values():
            if call.part < 0:
                if whole:
                    raise protocol_error("a tool call has no name")
            elif whole and not call.done and not call.pieces:
                call.done = True
                deltas.append(ToolCallDelta(call.part, arguments_json_delta=NO_ARGUMENTS, done=True))
            else:
                _close(call, deltas)

    def _call(self, index: int) -> _Call:
        call = self._by_index.get(index)
        if call is None:
            if len(self._by_index) >= MAX_CALLS:
                raise protocol_error("its tool calls are without bounds")
            call = self._by_index[index] = _Call(len(self._by_index))
        return call

    def _take(self, call: _Call, arguments: str) -> None:
        self._chars += len(arguments)
        if self._chars > MAX_ARGUMENTS_CHARS:
            raise protocol_error("the arguments of its tool calls are without bounds")
        call.pieces.append(arguments)


def _close(call: _Call, deltas: list[Delta]) -> None:
    """Tell that `call` is done, if it is: half of an argument never counts as one."""
    if not call.done and call.part >= 0 and is_json("".join(call.pieces)):
        call.done = True
        deltas.append(ToolCallDelta(call.part, done=True))
