"""The reasoning of one streamed response: what is shown of each item, and its seal."""

from __future__ import annotations

from collections.abc import Callable

from trunkline_server.chat.answer import Delta, ThinkingDelta, ThinkingSignatureDelta
from trunkline_server.providers.openai_responses.finish import PIECE_BORDER, reasoning_text
from trunkline_server.providers.openai_responses.seal import sealed
from trunkline_server.providers.openai_responses.wire import ItemWire


class _Thought:
    """One item of reasoning as far as it has come. It is shown (`part` ≥ 0) once there is something of it."""

    __slots__ = ("ended", "part", "piece")

    def __init__(self) -> None:
        self.part = -1
        self.piece: tuple[str, int] | None = None
        self.ended = False


class Thoughts:
    """The items of reasoning by their places in the response. `new_part` gives an item its number when it is shown."""

    __slots__ = ("_by_index", "_new_part")

    def __init__(self, new_part: Callable[[], int]) -> None:
        self._by_index: dict[int, _Thought] = {}
        self._new_part = new_part

    def add(self, index: int, piece: tuple[str, int], text: str, deltas: list[Delta]) -> None:
        """Take more text of one piece (its kind and number) of the item at `index`."""
        if not text:
            return
        thought = self._thought(index)
        if thought.piece is not None and thought.piece != piece:
            text = PIECE_BORDER + text
        thought.piece = piece
        deltas.append(ThinkingDelta(thought.part, text))

    def end(self, index: int, item: ItemWire, deltas: list[Delta]) -> None:
        """Take an item as it is in the end: its seal, and its text if none came before."""
        known = self._by_index.get(index)
        if known is not None and known.ended:
            return
        text = "" if known is not None else reasoning_text(item.content, item.summary)
        if known is None and not text and not item.encrypted_content:
            return
        thought = self._thought(index)
        thought.ended = True
        if text:
            deltas.append(ThinkingDelta(thought.part, text))
        if item.encrypted_content:
            item_id = item.id if isinstance(item.id, str) else ""
            seal = sealed(item_id, item.encrypted_content)
            redacted = not text and thought.piece is None
            deltas.append(ThinkingSignatureDelta(thought.part, seal, redacted))

    def _thought(self, index: int) -> _Thought:
        thought = self._by_index.get(index)
        if thought is None:
            thought = self._by_index[index] = _Thought()
            thought.part = self._new_part()
        return thought
