"""A server with one caller, in a process of its own; its memory is measured from outside. Ends with its input."""

from __future__ import annotations

import asyncio
import sys

from trunkline_server.routing.types import Caller
from trunkline_server.rpc.auth import CallerTable
from trunkline_server.rpc.server import ServerOptions, public_server
from trunkline_server.telemetry.logs import make_log
from trunkline_server.telemetry.sink import LineSink


class NoEngine:
    """Nobody gets as far as an engine."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"a refused call reached the engine: {name}")


async def main() -> None:
    sink = LineSink(sys.stderr.fileno())
    table = CallerTable({"0" * 64: Caller("nobody")})
    server = public_server(NoEngine(), lambda: table, make_log(sink, "error"), ServerOptions())  # type: ignore[arg-type]  # no method is ever called
    sys.stdout.write(await server.start("127.0.0.1:0") + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await server.stop_now()
    sink.close()


if __name__ == "__main__":
    asyncio.run(main())
