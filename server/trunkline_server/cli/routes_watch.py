"""`trunkline routes watch`: what happens to the routes, a line an event."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from trunkline_server.cli import exits
from trunkline_server.cli.admin_call import DEFAULT_WATCHING, Watching
from trunkline_server.cli.calling import CallFailedError, admin_calls
from trunkline_server.cli.routes_show import checked_version

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trunkline.v1 import RejectedRoutes, WatchRoutesResponse


def watch(
    *,
    after: Annotated[
        int | None, Parameter(help="Begin behind this version, with what is still kept. Default: from now on.")
    ] = None,
    watching: Watching = DEFAULT_WATCHING,
) -> int:
    """Print what happens to the routes as it happens, until Ctrl-C.

    Exit code 1 if the server ends the watch, with the version to go on
    from. Programs get every message, people those that say something new.
    """
    from trunkline.v1 import WatchRoutesRequest

    request = WatchRoutesRequest(after_version=checked_version(after))
    output = _Output(as_json=watching.json_output)
    try:
        with admin_calls(watching.server) as stub:
            # No deadline: it lasts until somebody has enough.
            output.show_all(stub.WatchRoutes(request))
    except CallFailedError as error:
        from trunkline_server.cli.failure_output import show_failure

        code = show_failure(error, watching.server, as_json=watching.json_output)
        output.say_where_to_go_on()
        return code
    output.say_where_to_go_on()
    raise exits.CommandError("the server ended the watch")


class _Output:
    """Prints one watch, and remembers how far it came."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._version = 0

    def show_all(self, messages: Iterable[WatchRoutesResponse]) -> None:
        """Print every message that says something."""
        from trunkline import to_json

        for message in messages:
            line = to_json(message) if self._as_json else self._line(message)
            if line:
                print(line, flush=True)
            self._version = max(self._version, _version_of(message))

    def say_where_to_go_on(self) -> None:
        """Say, on standard error, with which words nothing is missed."""
        if self._version:
            print(f"to go on from there: trunkline routes watch --after {self._version}", file=sys.stderr)

    def _line(self, message: WatchRoutesResponse) -> str:
        """Return an event as a line; nothing for a bookmark that says only that nothing happened."""
        from trunkline_server.cli.admin_wording import exact

        told = self._told(message)
        return f"{exact(message.at)}  {told}" if told else ""

    def _told(self, message: WatchRoutesResponse) -> str:
        from trunkline_server.cli.columns import plain

        match message.WhichOneof("event"):
            case "applied":
                return _applied_text(message.applied)
            case "rejected":
                return _rejected_text(message.rejected)
            case "rolled_back":
                back = message.rolled_back
                why = f": {back.reason}" if back.reason else ""
                return plain(f"rolled back  version {back.version}, version {back.to.version} runs, by {back.by}{why}")
            case "bookmark":
                return self._bookmark_text(message)
        return ""

    def _bookmark_text(self, message: WatchRoutesResponse) -> str:
        mark = message.bookmark
        if mark.missed:
            return f"missed       some events; version {mark.version} (etag {mark.etag}) runs"
        return "" if self._version else f"watching     version {mark.version} (etag {mark.etag}) runs"


def _applied_text(applied: WatchRoutesResponse.Applied) -> str:
    from trunkline_server.cli.admin_wording import percent
    from trunkline_server.cli.columns import plain

    version = applied.version
    share = "" if applied.fraction >= 1 else f" for {percent(applied.fraction)} of the calls"
    why = f": {version.reason}" if version.reason else ""
    return plain(f"applied      version {version.version} (etag {version.etag}){share} by {version.published_by}{why}")


def _rejected_text(rejected: RejectedRoutes) -> str:
    from trunkline_server.cli.admin_wording import finding_text
    from trunkline_server.cli.columns import plain
    from trunkline_server.cli.routes_file import counted

    number = counted(len(rejected.findings) + rejected.omitted, "finding")
    first = f": {finding_text(rejected.findings[0])}" if rejected.findings else ""
    return plain(f"rejected     a document from {rejected.by}, {number}{first}")


def _version_of(message: WatchRoutesResponse) -> int:
    match message.WhichOneof("event"):
        case "applied":
            return message.applied.version.version
        case "rolled_back":
            return message.rolled_back.to.version
        case "bookmark":
            return message.bookmark.version
    return 0
