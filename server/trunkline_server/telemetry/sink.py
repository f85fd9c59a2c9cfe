"""Where log lines go: a file descriptor that may block, written by a thread so that the event loop never waits."""

from __future__ import annotations

import os
import threading
from collections import deque

_MAX_WAITING = 20_000
_GATHER_S = 0.02


class LineSink:
    """Takes finished lines and writes them in batches to a file descriptor.

    A reader of our standard error that stalls must not stall calls: at most `max_waiting` lines are kept, the newest
    are dropped beyond that and their number is told in a line of its own. `close` writes what is left.
    """

    def __init__(self, fd: int, *, max_waiting: int = _MAX_WAITING) -> None:
        self._fd = fd
        self._max_waiting = max_waiting
        self._lines: deque[bytes] = deque()
        self._dropped = 0
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-sink", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Take one line without its newline. Never blocks."""
        if len(self._lines) >= self._max_waiting:
            self._dropped += 1
            return
        self._lines.append(line)
        # Only the first line of a batch pays for waking the thread.
        if not self._wake.is_set():
            self._wake.set()

    def close(self, timeout_s: float = 1.0) -> None:
        """Write what is left and end the thread; gives up after `timeout_s` if the reader has stalled."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            closing = self._closing.wait(_GATHER_S)
            self._wake.clear()
            if not self._flush() or (closing and not self._lines):
                return

    def _flush(self) -> bool:
        """Write everything that waits; False if nobody can read it any more."""
        batch: list[bytes] = []
        while self._lines:
            batch.append(self._lines.popleft())
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            batch.append(b'{"event":"log_lines_dropped","level":"warning","count":%d}' % dropped)
        if not batch:
            return True
        batch.append(b"")
        left = memoryview(b"\n".join(batch))
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError:
            # Standard error was closed: there is nowhere left to say it, and serving goes on.
            return False
        return True
