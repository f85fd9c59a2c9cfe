"""Signs of life: when nothing else moves, never in front of a reader that stalls, and none left behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from tests.engine.broken_answers import take_all

from trunkline_server.chat.answer import TextDelta, Usage
from trunkline_server.engine.frames import DrainingFrame, HeartbeatFrame, UsageFrame
from trunkline_server.engine.outbox import Outbox
from trunkline_server.engine.pulse import MIN_S, Pulse, raised


class Timers:
    """The timers of a loop whose time is moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.outbox = Outbox(room_bytes=500)
        self.asked = 0
        self.known = True
        self._timers: list[tuple[float, asyncio.TimerHandle, Callable[[], None]]] = []
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "call_later", self._call_later)

    def _call_later(self, delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        assert delay_s > 0
        handle = asyncio.TimerHandle(self.now + delay_s, callback, (), asyncio.get_running_loop())
        self._timers.append((self.now + delay_s, handle, callback))
        return handle

    @property
    def scheduled(self) -> int:
        """How many timers are set."""
        return sum(1 for _, handle, _ in self._timers if not handle.cancelled())

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while due := [timer for timer in self._timers if not timer[1].cancelled() and timer[0] <= until + 1e-9]:
            first = min(due, key=lambda timer: timer[0])
            self._timers.remove(first)
            self.now = max(self.now, first[0])
            first[2]()
        self.now = until

    def pulse(self, heartbeat_s: float | None = None, usage_every_s: float | None = None) -> Pulse:
        """Return a pulse that has started."""
        pulse = Pulse(
            self.outbox,
            heartbeat_s=heartbeat_s,
            usage_every_s=usage_every_s,
            position=self._position,
            usage=self._usage,
            clock=lambda: self.now,
        )
        pulse.start()
        return pulse

    def _position(self) -> int:
        self.asked += 1
        return self.asked

    def _usage(self) -> UsageFrame | None:
        return UsageFrame(1, Usage(output_tokens=3), Usage(output_tokens=5)) if self.known else None

    def say(self) -> None:
        """Put content that is taken at once."""
        self.outbox.put(1, TextDelta(0, "a"))
        take_all(self.outbox)

    def heartbeats(self) -> list[tuple[int | None, float]]:
        """Take what waits; return what its heartbeats tell, rounded."""
        frames = take_all(self.outbox)
        return [(each.queue_position, round(each.waited_s, 6)) for each in frames if isinstance(each, HeartbeatFrame)]

    def reports(self) -> int:
        """Take what waits; return how many of it tell usage."""
        return sum(isinstance(frame, UsageFrame) for frame in take_all(self.outbox))


@pytest.fixture
async def timers(monkeypatch: pytest.MonkeyPatch) -> Timers:
    return Timers(monkeypatch)


@pytest.mark.parametrize(("wished", "got"), [(None, None), (0.0, MIN_S), (0.049, MIN_S), (0.05, 0.05), (15.0, 15.0)])
def test_a_wish_below_the_shortest_interval_is_raised(wished: float | None, got: float | None) -> None:
    """To 0.05 s; none stays none."""
    assert raised(wished) == got


async def test_a_silence_is_filled_beat_by_beat(timers: Timers) -> None:
    """Each beat tells the place in the queue as it is then, and how long it has been since the beginning."""
    timers.pulse(heartbeat_s=2.0)
    beats = []
    for _ in range(3):
        timers.pass_s(2.0)
        beats += timers.heartbeats()
    assert beats == [(1, 2.0), (2, 4.0), (3, 6.0)]


async def test_no_beat_comes_while_content_does(timers: Timers) -> None:
    """It comes only after a whole interval of silence, counted from the last content, and tells that time."""
    timers.pulse(heartbeat_s=2.0)
    for _ in range(20):
        timers.pass_s(0.7)
        assert timers.heartbeats() == []
        timers.say()
    timers.pass_s(1.99)
    assert timers.heartbeats() == []
    timers.pass_s(0.01)
    assert timers.heartbeats() == [(1, 2.0)]
    timers.pass_s(2.0)
    assert timers.heartbeats() == [(2, 4.0)]


async def test_another_frame_puts_a_beat_off_too(timers: Timers) -> None:
    """Any frame is a sign of life; but only content begins the wait anew."""
    timers.pulse(heartbeat_s=2.0)
    timers.pass_s(1.5)
    timers.outbox.put_frame(DrainingFrame(1.0))
    timers.pass_s(1.9)
    assert timers.heartbeats() == []
    timers.pass_s(0.1)
    assert timers.heartbeats() == [(1, 3.5)]


async def test_beats_do_not_pile_up_in_front_of_a_reader_that_stalls(timers: Timers) -> None:
    """While anything waits for the reader no beat is added; once it reads again, they come again."""
    timers.pulse(heartbeat_s=2.0)
    timers.pass_s(100.0)
    assert timers.heartbeats() == [(1, 2.0)]
    timers.pass_s(2.0)
    assert timers.heartbeats() == [(2, 102.0)]


async def test_usage_is_told_on_time_and_only_if_content_came(timers: Timers) -> None:
    """Nothing new, no frame."""
    timers.pulse(usage_every_s=5.0)
    timers.pass_s(10.0)
    assert timers.reports() == 0
    timers.say()
    timers.say()
    timers.pass_s(4.9)
    assert timers.reports() == 0
    timers.pass_s(0.1)
    assert timers.reports() == 1
    timers.pass_s(20.0)
    assert timers.reports() == 0


async def test_usage_that_is_not_known_yet_is_told_when_it_is(timers: Timers) -> None:
    """An interval without a frame to tell leaves the content to be told of."""
    timers.known = False
    timers.pulse(usage_every_s=5.0)
    timers.say()
    timers.pass_s(5.0)
    assert timers.reports() == 0
    timers.known = True
    timers.pass_s(5.0)
    assert timers.reports() == 1


async def test_usage_waits_until_the_reader_has_caught_up(timers: Timers) -> None:
    """None is put while the producer has to wait."""
    timers.pulse(usage_every_s=5.0)
    timers.outbox.put(1, TextDelta(0, "x" * 1000))
    timers.pass_s(50.0)
    assert timers.reports() == 0
    timers.pass_s(5.0)
    assert timers.reports() == 1


async def test_nothing_is_scheduled_when_content_comes(timers: Timers) -> None:
    """There is one timer for each wish, however much is said."""
    timers.pulse(heartbeat_s=2.0, usage_every_s=5.0)
    for _ in range(1000):
        timers.say()
    assert timers.scheduled == 2


async def test_close_leaves_no_timer_and_no_listener(timers: Timers) -> None:
    """Nothing is put afterwards; closing twice, or what never started, does nothing."""
    pulse = timers.pulse(heartbeat_s=2.0, usage_every_s=5.0)
    timers.say()
    pulse.close()
    pulse.close()
    assert timers.scheduled == 0
    assert timers.outbox.on_content is None
    assert timers.outbox.on_frame is None
    timers.pass_s(100.0)
    assert not timers.outbox.behind


async def test_who_asked_for_nothing_pays_nothing(timers: Timers) -> None:
    """Without a wish there is neither a timer nor a listener."""
    pulse = timers.pulse()
    assert timers.scheduled == 0
    assert timers.outbox.on_content is None
    pulse.close()


async def test_a_beat_comes_on_a_real_loop() -> None:
    """With the loop's own timers and clock: a reader that waits gets beats, and none after the close."""
    outbox = Outbox()
    pulse = Pulse(
        outbox,
        heartbeat_s=0.0,
        usage_every_s=None,
        position=lambda: None,
        usage=lambda: None,
        clock=time.monotonic,
    )
    pulse.start()
    frames = [await asyncio.wait_for(outbox.take(), 5) for _ in range(2)]
    pulse.close()
    assert [frame.queue_position for frame in frames if isinstance(frame, HeartbeatFrame)] == [None, None]
