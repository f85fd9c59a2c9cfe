"""Playing one answer: its bytes, its pace and its breaks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from trunkline_server.simulator.delays import MAX_DELAY_S, draw_delay_s
from trunkline_server.simulator.output import CLOSE, LAST_CHUNK, head

if TYPE_CHECKING:
    from random import Random

    from trunkline_server.simulator.dialect import Events
    from trunkline_server.simulator.failure import Trouble
    from trunkline_server.simulator.output import Output, Written
    from trunkline_server.simulator.scenario import Fault
    from trunkline_server.simulator.stats import RecordedRequest, Stats

BREAKS = ("stall", "malformed", "error", "cut", "reset")
"""In the order in which they happen at the same chunk."""

YIELD_EVERY = 32
"""A stream without pauses lets others run after so many chunks."""


def breaks_of(fault: Fault, length: int) -> dict[int, list[str]]:
    """Return which breaks happen after which chunk; those beyond the end happen at the end."""
    found: dict[int, list[str]] = {}
    for name in BREAKS:
        after = getattr(fault, f"{name}_after_chunks")
        if after is not None:
            found.setdefault(min(after, length), []).append(name)
    return found


class Player:
    """Plays one answer to one client. `broken` tells afterwards whether a fault ended it early."""

    def __init__(self, output: Output, fault: Fault, stats: Stats, record: RecordedRequest, random: Random) -> None:
        self._output = output
        self._fault = fault
        self._stats = stats
        self._record = record
        self._random = random
        self._beat_s: float | None = None
        self._beat = b""
        self._held = b""
        self._specials: dict[str, bytes] = {}
        self.broken = False

    async def unary(self, body: bytes, headers: list[tuple[str, str]]) -> Written:
        """Write a body with its head; breaks at 0 come before any byte, others after half of the body."""
        fault, output = self._fault, self._output
        if fault.malformed_after_chunks is not None and fault.error_after_chunks is None:
            body = body[: len(body) // 2]
        chunked = fault.framing == "chunked" and output.chunked
        length = ("transfer-encoding", "chunked") if chunked else ("content-length", str(len(body)))
        start = head(200, [*headers, length])
        if fault.cut_after_bytes is not None and fault.cut_after_bytes < len(body):
            opening = b"%x\r\n" % len(body) if chunked else b""
            self._stats.answered(self._record, 200)
            output.write(start + opening + body[: fault.cut_after_bytes])
            return self._end_broken()
        whole = start + (output.frame(body) + LAST_CHUNK if chunked else body)
        written, half = 0, len(whole) - (len(body) + 1) // 2
        for after, names in sorted(breaks_of(fault, 1).items()):
            upto = half if after else 0
            if upto > written:
                self._stats.answered(self._record, 200)
                output.write(whole[written:upto])
                written = upto
            if "stall" in names:
                await self._stall()
            if "reset" in names or "cut" in names:
                return self._end_broken(reset="reset" in names)
        if not written:
            self._stats.answered(self._record, 200)
        output.write(whole[written:])
        await output.drain()
        return output.finished()

    async def stream(self, events: Events, trouble: Trouble, headers: list[tuple[str, str]]) -> Written:
        """Write the events of a stream, each in one write, with pauses and breaks; `trouble` is its error event's."""
        fault, output = self._fault, self._output
        self._beat_s = fault.heartbeat_s
        self._beat = output.frame(events.heartbeat())
        breaks = breaks_of(fault, len(events))
        framing = [("transfer-encoding", "chunked")] if output.chunked else []
        self._held = head(200, [*headers, *framing])
        self._specials = {"malformed": events.malformed(), "error": events.error(trouble)} if breaks else {}
        ended = await self._opening(events, breaks) or await self._contents(events, breaks)
        if ended is not None:
            return ended
        last = events.ending(done=not fault.no_done)
        if last and not self._send(last):
            return self._end_broken()
        return self._end_clean()

    async def _opening(self, events: Events, breaks: dict[int, list[str]]) -> Written | None:
        """Write head and opening, with the breaks of place 0 before or after the latter; the end, if they end it."""
        if self._fault.cut_after_bytes == 0:
            self._flush()
            return self._end_broken()
        first = breaks.get(0, [])
        if not self._fault.after_role and (ended := await self._break(first)) is not None:
            return ended
        if not self._send(events.opening(), hold=self._holds_after(0, breaks)):
            return self._end_broken()
        return await self._break(first) if self._fault.after_role else None

    async def _contents(self, events: Events, breaks: dict[int, list[str]]) -> Written | None:
        fault, output, record = self._fault, self._output, self._record
        paced = fault.chunk_gap_s is not None or self._beat_s is not None
        for number, event in enumerate(events.contents(), 1):
            if number > 1:
                if paced:
                    await self._gap()
                elif number % YIELD_EVERY == 0:
                    await asyncio.sleep(0)
            whole = self._send(event, hold=self._holds_after(number, breaks))
            record.chunks_sent = number
            if not whole:
                return self._end_broken()
            if number in breaks and (ended := await self._break(breaks[number])):
                return ended
            await output.drain()
        return None

    def _holds_after(self, number: int, breaks: dict[int, list[str]]) -> bool:
        """Say whether what comes next goes into the same write as chunk `number`."""
        if not self._fault.same_segment:
            return False
        return number in breaks or (number == 0 and 1 in breaks)

    def _send(self, payload: bytes, *, hold: bool = False) -> bool:
        """Write what was held back and `payload` in one write, or hold it back too; False: cut by the byte budget."""
        if hold and self._fault.cut_after_bytes is None:
            self._held += self._output.frame(payload)
            return True
        return self._output.body_part(payload, self._take_held() if self._held else b"")

    def _take_held(self) -> bytes:
        """Return what was held back, to be written now; the first time it begins with the head."""
        if self._record.status is None:
            self._stats.answered(self._record, 200)
        held, self._held = self._held, b""
        return held

    def _flush(self) -> None:
        if self._held:
            self._output.write(self._take_held())

    async def _break(self, names: list[str]) -> Written | None:
        """Do the breaks of one place; the answer's end, if they end it."""
        if names == ["reset"] and not self._record.chunks_sent and not self._fault.after_role:
            return self._end_broken(reset=True)  # before any byte: the head is not written either
        for name in names:
            if name == "stall":
                self._flush()
                await self._stall()
            elif name == "malformed":
                self._send(self._specials[name])
            elif name == "error":
                self._send(self._specials[name])
                self.broken = True
                return self._end_clean()
            else:
                self._flush()
                return self._end_broken(reset=name == "reset")
        return None

    def _end_clean(self) -> Written:
        output = self._output
        if output.chunked:
            output.write((self._take_held() if self._held else b"") + LAST_CHUNK)
        else:
            self._flush()
        return output.finished()

    def _end_broken(self, *, reset: bool = False) -> Written:
        self.broken = True
        return self._output.reset() if reset else CLOSE

    async def _gap(self) -> None:
        if self._beat_s is not None:
            self._output.write(self._beat)
        await self._silence(draw_delay_s(self._fault.chunk_gap_s, self._random))

    async def _stall(self) -> None:
        await self._silence(MAX_DELAY_S if self._fault.stall_s is None else self._fault.stall_s)

    async def _silence(self, seconds: float) -> None:
        """Wait, with heartbeats if this stream has any."""
        beat_s = self._beat_s
        if beat_s is None:
            await asyncio.sleep(seconds)
            return
        while seconds > beat_s:
            await asyncio.sleep(beat_s)
            seconds -= beat_s
            self._output.write(self._beat)
            await self._output.drain()
        await asyncio.sleep(seconds)
