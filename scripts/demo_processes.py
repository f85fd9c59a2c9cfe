"""The processes of scripts/demo and scripts/bench: started, waited for, shown, ended. Every wait has a bound."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

READY_WITHIN_S = 60.0
"""The first start on a fresh machine compiles every module."""
STEP_WITHIN_S = 60.0
STOP_WITHIN_S = 15.0
POLL_S = 0.05
LAST_LINES = 15


class Termination:
    """A SIGTERM as SystemExit, but never in the middle of starting a process, which nobody would end then."""

    def __init__(self) -> None:
        self._starting = False
        self._asked = False
        self._started: list[subprocess.Popen[bytes]] = []

    def install(self) -> None:
        """Take SIGTERM over, for the rest of the program."""
        signal.signal(signal.SIGTERM, self._on_signal)

    def start(self, command: list[str], **more: Any) -> subprocess.Popen[bytes]:
        """Start a process; a SIGTERM that comes meanwhile raises SystemExit once `end_all` knows of the process."""
        self._starting = True
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **more)
            self._started.append(process)
        finally:
            self._starting = False
        if self._asked:
            raise SystemExit(128 + signal.SIGTERM)
        return process

    def end_all(self) -> None:
        """End by force what still runs of all that was started."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.wait()

    def _on_signal(self, *_: object) -> None:
        self._asked = True
        if not self._starting:
            raise SystemExit(128 + signal.SIGTERM)


TERMINATION = Termination()


class DemoError(Exception):
    """The demo cannot go on, or did not show what it promised; the text says where."""


class Running:
    """A process in the background, for the length of a `with` block. What it writes goes into files in `scratch`."""

    def __init__(
        self,
        name: str,
        command: list[str],
        environment: dict[str, str],
        scratch: Path,
        *,
        stop_with: signal.Signals = signal.SIGTERM,
    ) -> None:
        self._name = name
        self._command = command
        self._environment = environment
        self._out = scratch / f"{name}.out"
        self._err = scratch / f"{name}.err"
        self._stop_with = stop_with
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it."""
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = TERMINATION.start(self._command, stdout=out, stderr=err, env=self._environment)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it, by force if it does not end when asked; raise DemoError for that if nothing else went wrong."""
        if self._process is None:
            return
        if self.ended:
            return
        self._process.send_signal(self._stop_with)
        try:
            self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            if kind is None:
                raise DemoError(f"{self._name} did not end within {STOP_WITHIN_S:g} s; {self._said()}") from None

    def ready(self, pattern: str) -> str:
        """Wait until its output matches; return the first group. Raises DemoError with what it said instead."""
        if self._process is None:
            raise DemoError(f"{self._name} was not started")
        ends_at = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < ends_at:
            # Asked before the look at the output, so that the last words of one that ends are not missed.
            ended = self._process.poll() is not None
            if (found := re.search(pattern, self._out.read_text())) is not None:
                return found[1]
            if ended:
                raise DemoError(f"{self._name} ended at its start; {self._said()}")
            time.sleep(POLL_S)
        raise DemoError(f"{self._name} was not ready within {READY_WITHIN_S:g} s; {self._said()}")

    @property
    def pid(self) -> int:
        """Its process id. Raises DemoError before the start."""
        if self._process is None:
            raise DemoError(f"{self._name} was not started")
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def outcome(self) -> tuple[str, int]:
        """Return all that it printed, and its exit code. Raises DemoError while it runs."""
        if self._process is None or self._process.returncode is None:
            raise DemoError(f"{self._name} has not ended")
        return self._out.read_text() + self._err.read_text(), self._process.returncode

    def _said(self) -> str:
        lines = self._err.read_text(errors="replace").splitlines()[-LAST_LINES:]
        return "it said:\n" + "\n".join(lines) if lines else "it said nothing"


def run_shown(command: list[str], environment: dict[str, str]) -> tuple[str, int]:
    """Run a command, show what it prints while it prints it, and return that with the exit code. Raises DemoError."""
    shown = bytearray()
    ends_at = time.monotonic() + STEP_WITHIN_S
    process: subprocess.Popen[bytes] | None = None
    try:
        process = TERMINATION.start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
        if process.stdout is None:
            raise DemoError("no pipe to the command")
        pipe = process.stdout.fileno()
        while True:
            ready, _, _ = select.select([pipe], [], [], max(0.0, ends_at - time.monotonic()))
            if not ready:
                raise DemoError(f"`{' '.join(command)}` did not end within {STEP_WITHIN_S:g} s")
            piece = os.read(pipe, 65536)
            if not piece:
                break
            shown += piece
            sys.stdout.buffer.write(piece)
            sys.stdout.flush()
        code = process.wait(STOP_WITHIN_S)
    finally:
        if process is not None:
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
    return shown.decode(errors="replace"), code


def first_to_end(processes: list[Running]) -> tuple[str, int]:
    """Wait for the first of the processes to end; return what it printed and its exit code. Raises DemoError."""
    ends_at = time.monotonic() + STEP_WITHIN_S
    while time.monotonic() < ends_at:
        for process in processes:
            if process.ended:
                return process.outcome()
        time.sleep(POLL_S)
    raise DemoError(f"no call ended within {STEP_WITHIN_S:g} s")


def wait_for_slow_call(simulator: str) -> None:
    """Wait until the simulator has a call in flight; raise DemoError if none comes."""
    # A proxy from the environment would be asked for a port of this machine.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    ends_at = time.monotonic() + STEP_WITHIN_S
    while time.monotonic() < ends_at:
        try:
            with direct.open(f"http://{simulator}/_control", timeout=STOP_WITHIN_S) as answer:
                if json.load(answer)["in_flight"] > 0:
                    return
        except urllib.error.URLError as error:
            raise DemoError(f"the simulator cannot be asked: {error.reason}") from None
        time.sleep(POLL_S)
    raise DemoError("the call that was to hold the slot did not come to the simulator")


def check_nothing_left() -> None:
    """Raise DemoError if a process that the demo started still lives, or was never waited for."""
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return
    raise DemoError("a process that the demo started was left behind")
