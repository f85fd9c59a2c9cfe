"""`trunkline top`: a running server, live in the terminal."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from trunkline_server.cli import exits
from trunkline_server.cli.admin_call import DEFAULT_WATCHING, Watching
from trunkline_server.cli.calling import CallFailedError, admin_calls
from trunkline_server.cli.durations import parse_duration, span_text, validate_duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from trunkline.v1 import GetStatusResponse, WatchStatusRequest

_AGAIN_AFTER_S: Final = 1.0
_ONCE_WITHIN_S: Final = 10.0
_GONE: Final = frozenset({"UNAVAILABLE", "CANCELLED", "UNKNOWN", "INTERNAL", "DEADLINE_EXCEEDED", "ABORTED"})
"""How a watch ends whose server restarts. Anything else would be the same the next time."""


def top(
    *,
    once: Annotated[bool, Parameter(help="Print one picture and end.")] = False,
    every: Annotated[
        str, Parameter(validator=validate_duration, help="How often, such as 500ms or 5s: from 100ms to 60s.")
    ] = "1s",
    watching: Watching = DEFAULT_WATCHING,
) -> int:
    """Watch targets, keys, gates and failovers live; Ctrl-C ends it.

    What is in trouble stands first and in colours. When the server goes
    away the last picture stays, with a line that says so, until it is back.
    """
    from trunkline.v1 import WatchStatusRequest

    every_s = parse_duration(every)
    if not 0.1 <= every_s <= 60:  # noqa: PLR2004 - the contract's bounds
        raise exits.UsageError("--every must be from 100ms to 60s")
    request = WatchStatusRequest()
    request.every.FromNanoseconds(round(every_s * 1e9))
    try:
        return _once(watching) if once else _live(request, watching)
    except CallFailedError as error:
        from trunkline_server.cli.failure_output import show_failure

        return show_failure(error, watching.server, as_json=watching.json_output)


def _once(watching: Watching) -> int:
    from trunkline.v1 import GetStatusRequest

    with admin_calls(watching.server) as stub:
        status = stub.GetStatus(GetStatusRequest(), timeout=_ONCE_WITHIN_S)
    if watching.json_output:
        from trunkline import to_json

        print(to_json(status))
        return exits.OK
    from trunkline_server.cli.screen import WIDEST, output
    from trunkline_server.cli.top_frame import frame

    console = output()
    width = console.width if console.is_terminal else WIDEST
    console.print(frame(status, watching.server.server, "", width=width, height=None))
    return exits.OK


def _live(request: WatchStatusRequest, watching: Watching) -> int:
    """Show pictures until Ctrl-C, which is the way out and no failure."""
    try:
        if watching.json_output:
            from trunkline import to_json

            _follow(request, watching, lambda status, _: print(to_json(status), flush=True), _say_to_people)
        elif sys.stdout.isatty():
            _follow_on_screen(request, watching)
        else:
            _follow(request, watching, _printer(watching), _say_to_people)
    except KeyboardInterrupt:
        return exits.OK
    return exits.OK


def _follow_on_screen(request: WatchStatusRequest, watching: Watching) -> None:
    from rich.live import Live

    from trunkline_server.cli.screen import output
    from trunkline_server.cli.top_frame import frame

    console = output()
    last: list[GetStatusResponse] = []
    with Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:

        def show(status: GetStatusResponse, remark: str) -> None:
            last[:] = [status]
            size = console.size
            shown = frame(status, watching.server.server, remark, width=size.width, height=size.height)
            live.update(shown, refresh=True)

        def say(remark: str) -> None:
            if last:
                show(last[0], remark)

        _follow(request, watching, show, say)


def _printer(watching: Watching) -> Callable[[GetStatusResponse, str], None]:
    from trunkline_server.cli.screen import WIDEST, output
    from trunkline_server.cli.top_frame import frame

    console = output()

    def show(status: GetStatusResponse, remark: str) -> None:
        console.print(frame(status, watching.server.server, remark, width=WIDEST, height=None))
        print(flush=True)

    return show


def _say_to_people(remark: str) -> None:
    print(remark, file=sys.stderr, flush=True)


def _follow(
    request: WatchStatusRequest,
    watching: Watching,
    show: Callable[[GetStatusResponse, str], None],
    say: Callable[[str], None],
) -> None:
    """Show every status that comes, with what there is to say of the connection; connect again when it is lost.

    Raises CallFailedError if there is nobody at the start, or for a refusal that would be the same the next time.
    """
    seen = _Seen()
    while True:
        try:
            with admin_calls(watching.server) as stub:
                for message in stub.WatchStatus(request):
                    show(message.status, seen.remark(message.status))
        except CallFailedError as error:
            if not seen.any or error.failure.code.name not in _GONE:
                raise
        if not seen.any:
            raise exits.CommandError(f"{watching.server.server} ended the watch before it began")
        say(seen.lost())
        time.sleep(_AGAIN_AFTER_S)


class _Seen:
    """What was seen of a server: whether it is there, and whether it is still the same one."""

    def __init__(self) -> None:
        self.any = False
        self._started: frozenset[tuple[int, int, int]] = frozenset()
        self._lost_at_s: float | None = None
        self._remark = ""
        self._remark_until_s = 0.0

    def remark(self, status: GetStatusResponse) -> str:
        """Return what is to be said beside a status that came: for a while, that the server is back, or a new one."""
        now_s = time.monotonic()
        started = frozenset((worker.worker, worker.pid, worker.started.ToNanoseconds()) for worker in status.workers)
        if self.any and self._lost_at_s is not None:
            gone = span_text(now_s - self._lost_at_s)
            what = "connected again" if started == self._started else "the server has restarted; connected again"
            self._remark, self._remark_until_s = f"{what} after {gone}", now_s + 10
        self.any, self._started, self._lost_at_s = True, started, None
        return self._remark if now_s < self._remark_until_s else ""

    def lost(self) -> str:
        """Return what is to be said while nothing comes."""
        now_s = time.monotonic()
        if self._lost_at_s is None:
            self._lost_at_s = now_s
        gone = span_text(now_s - self._lost_at_s)
        return f"the server is gone for {gone}; this is its last picture; connecting again"
