"""A streamed chat completion of a deployment: OpenAI's, with what the content filter says of its pieces."""

from __future__ import annotations

from typing import Final

from trunkline_server.chat.answer import Delta, Warning_
from trunkline_server.providers.azure_openai.errors import TABLE
from trunkline_server.providers.azure_openai.filters import Marks
from trunkline_server.providers.openai import OpenAIStreamDecoder
from trunkline_server.providers.sse import SseEvent

_read_event: Final = OpenAIStreamDecoder._event  # noqa: SLF001  its own base's; looked up once, not for each event


class AzureStreamDecoder(OpenAIStreamDecoder):
    """Decodes one streamed answer. See `OpenAIStreamDecoder`."""

    __slots__ = ("_marks",)

    def __init__(self) -> None:
        """Start before the first byte."""
        super().__init__(TABLE)
        self._marks = Marks()

    @property
    def warnings(self) -> tuple[Warning_, ...]:
        """What of the answer could not be carried over so far, and what the filter marked."""
        return super().warnings + self._marks.warnings

    def _event(self, event: SseEvent, deltas: list[Delta]) -> None:
        _read_event(self, event, deltas)
        data, marks = event.data, self._marks
        if not data.startswith(marks.harmless, marks.at):
            marks.read(data)
