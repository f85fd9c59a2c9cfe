"""Signs of life that a request asked for: heartbeats while nothing else moves, and what was used so far.

Content comes far more often than either is due. So nothing is scheduled when content comes: a timer that fires looks
at the time that counts and sets itself once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from trunkline_server.engine.frames import HeartbeatFrame, UsageFrame
from trunkline_server.engine.outbox import Outbox

MIN_S = 0.05
"""The shortest interval of either; a shorter wish is raised to it."""


def raised(seconds: float | None) -> float | None:
    """Return a wished interval, or the shortest one if it is below that; None stays."""
    return None if seconds is None else max(MIN_S, seconds)


def _nothing() -> None:
    """Stand for what may be asked no more."""


class Pulse:
    """Puts the heartbeats and usage frames of one stream. It listens to the outbox from `start` until `close`.

    Invariant: at most one timer for each is scheduled; `close` leaves none. Neither frame piles up in front of a
    reader that stalls: a heartbeat is put only if nothing waits for the reader, usage only while there is room.
    """

    __slots__ = (
        "_beat",
        "_clock",
        "_content_at",
        "_heartbeat_s",
        "_outbox",
        "_position",
        "_put_at",
        "_report",
        "_said",
        "_usage",
        "_usage_every_s",
    )

    def __init__(
        self,
        outbox: Outbox,
        *,
        heartbeat_s: float | None,
        usage_every_s: float | None,
        position: Callable[[], int | None],
        usage: Callable[[], UsageFrame | None],
        clock: Callable[[], float],
    ) -> None:
        self._outbox = outbox
        self._heartbeat_s = raised(heartbeat_s)
        self._usage_every_s = raised(usage_every_s)
        self._position = position
        """Asked for the place in a queue when a heartbeat is due."""
        self._usage = usage
        """Asked for a frame when one is due; None: nothing is known yet."""
        self._clock = clock
        self._put_at = 0.0
        self._content_at = 0.0
        self._said = False
        """Whether content came since the last usage frame."""
        self._beat: asyncio.TimerHandle | None = None
        self._report: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to count, on the running loop; does nothing if neither was asked for."""
        self._put_at = self._content_at = self._clock()
        if self._heartbeat_s is not None:
            self._outbox.on_frame = self._on_frame
            self._set_beat(self._heartbeat_s)
        if self._usage_every_s is not None:
            self._set_report(self._usage_every_s)
        if self._beat is not None or self._report is not None:
            self._outbox.on_content = self._on_content

    def close(self) -> None:
        """Stop: no timer is left and nothing more is put. A second time does nothing."""
        timers = [timer for timer in (self._beat, self._report) if timer is not None]
        self._beat = self._report = None
        for timer in timers:
            timer.cancel()
        if timers:
            self._outbox.on_content = self._outbox.on_frame = None
        self._position = self._usage = _nothing  # whoever owns it is known no more: no circle is left of the two

    def _on_content(self) -> None:
        self._said = True
        self._put_at = self._content_at = self._clock()

    def _on_frame(self) -> None:
        self._put_at = self._clock()

    def _set_beat(self, delay_s: float) -> None:
        self._beat = asyncio.get_running_loop().call_later(delay_s, self._beat_due)

    def _set_report(self, delay_s: float) -> None:
        self._report = asyncio.get_running_loop().call_later(delay_s, self._report_due)

    def _beat_due(self) -> None:
        if self._heartbeat_s is None:
            return
        now = self._clock()
        if now >= self._put_at + self._heartbeat_s:
            # What still waits after so long a silence waits for a reader that stalls: it needs no sign from us.
            if not self._outbox.behind:
                self._outbox.put_frame(HeartbeatFrame(self._position(), now - self._content_at))
            self._put_at = now
        self._set_beat(self._put_at + self._heartbeat_s - now)

    def _report_due(self) -> None:
        if self._usage_every_s is None:
            return
        if self._said and not self._outbox.full and (frame := self._usage()) is not None:
            self._outbox.put_frame(frame)
            self._said = False
        self._set_report(self._usage_every_s)
