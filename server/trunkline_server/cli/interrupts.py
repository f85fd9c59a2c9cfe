"""Ctrl-C while a call runs: the call is cancelled, and only then is the command interrupted.

A KeyboardInterrupt is raised wherever the main thread happens to be. Inside the library that can be a destructor, which
swallows it, or the middle of taking a lock, which is then released twice or never. So nothing is raised there: the
signal only wakes a thread, which ends the calls, and the interrupt follows in the block's own code.
"""

from __future__ import annotations

import queue
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

UNWIND_WITHIN_S: Final = 1.0
"""How long the block may take to end after its calls were. Then it hangs elsewhere, as in a write to a full pipe."""


@contextmanager
def cancelled_by_ctrl_c(cancel: Callable[[], None]) -> Iterator[None]:
    """Call `cancel`, in another thread, when Ctrl-C comes during the block; then raise KeyboardInterrupt for it.

    Whatever the block ended with is replaced. A block that goes on nevertheless is interrupted the ordinary way after
    UNWIND_WITHIN_S, and by a second Ctrl-C at once. Where Ctrl-C means something else already (ignored under nohup, or
    not in the main thread) nothing changes.
    """
    if not _interrupts():
        yield
        return
    watch = _Watch(cancel)
    signal.signal(signal.SIGINT, watch.on_signal)
    watch.thread.start()
    try:
        yield
    except BaseException:
        if watch.asked:
            # The calls were cancelled for it: how they ended says nothing.
            raise KeyboardInterrupt from None
        raise
    finally:
        # Before anything else: from here on a signal is nobody's to swallow.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        watch.end()
    if watch.asked:
        raise KeyboardInterrupt


def _interrupts() -> bool:
    """Return whether Ctrl-C would raise KeyboardInterrupt here."""
    here = threading.current_thread() is threading.main_thread()
    return here and signal.getsignal(signal.SIGINT) is signal.default_int_handler


class _Watch:
    """What a signal wakes. It is written to from a signal's handler, which may interrupt anything, itself included."""

    def __init__(self, cancel: Callable[[], None]) -> None:
        self.asked = False
        self._cancel = cancel
        # The one queue whose `put` may be called from a signal's handler.
        self._words: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._ended = threading.Event()
        self.thread = threading.Thread(target=self._run, name="ctrl-c", daemon=True)

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Note the first Ctrl-C; the second raises at once."""
        if self.asked:
            signal.default_int_handler(number, frame)
        self.asked = True
        self._words.put("asked")

    def end(self) -> None:
        """End the thread; it does not touch the calls any more when this returns, unless they cannot be cancelled."""
        self._ended.set()
        self._words.put("ended")
        self.thread.join(UNWIND_WITHIN_S)

    def _run(self) -> None:
        if self._words.get() == "ended":
            return
        self._cancel()
        main = threading.main_thread().ident
        while not self._ended.wait(UNWIND_WITHIN_S) and main is not None:
            signal.pthread_kill(main, signal.SIGINT)
