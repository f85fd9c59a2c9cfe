"""The simulator as a server: connections, cancellations, refused and dropped connections."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

import msgspec
from aiohttp import web

from trunkline_server.simulator.control import CONTROL_PATH, ordered_scenario, read_order
from trunkline_server.simulator.dialects import DIALECTS
from trunkline_server.simulator.errors import ScenarioError, SimulatorError
from trunkline_server.simulator.exchange import Exchange
from trunkline_server.simulator.failure import JSON_TYPE
from trunkline_server.simulator.listener import Listener
from trunkline_server.simulator.output import CLOSE, ClientGoneError, Output, Written, head, reset
from trunkline_server.simulator.scenario import Scenario, parse_scenario
from trunkline_server.simulator.state import State

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from trunkline_server.simulator.stats import RecordedRequest, Stats

MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_HEADER_BYTES = 64 * 1024
STOP_WITHIN_S = 5.0


def _request(
    message: Any, payload: Any, protocol: web.RequestHandler, writer: Any, task: asyncio.Task[None]
) -> web.BaseRequest:
    """Make a request whose body may be as large as pictures are; aiohttp's own bound is 1 MiB."""
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY_BYTES)


def _problem(message: str) -> bytes:
    return msgspec.json.encode({"error": {"message": message}})


class _CountingServer(web.Server):
    """aiohttp's connection handling, with the open connections counted."""

    def __init__(self, handler: Callable[[web.BaseRequest], Any], stats: Stats, changed: Callable[[], None]) -> None:
        super().__init__(
            handler,
            handler_cancellation=True,  # a client that leaves cancels its handler: that is how cancellations are seen
            access_log=None,
            request_factory=_request,
            lingering_time=1.0,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
        )
        self._stats = stats
        self._changed = changed

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._stats.connections += 1
        self._stats.connections_opened += 1
        self._changed()

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._stats.connections -= 1
        self._changed()


class Simulator:
    """A provider on a socket. `async with Simulator(scenario) as simulator:` listens on a free loopback port.

    `scenario` may be a Scenario or the data of one; it is checked (ScenarioError). One `start`, one `stop`.
    """

    def __init__(self, scenario: Scenario | dict[str, Any] | None = None) -> None:
        self._state = State(parse_scenario(scenario))
        self._web: _CountingServer | None = None
        self._listener: Listener | None = None
        self._in_flight: dict[web.RequestHandler, RecordedRequest] = {}
        self._waiters: list[tuple[Callable[[Stats], bool], asyncio.Future[None]]] = []
        self._refusal: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def port(self) -> int:
        """The port, resolved. Raises RuntimeError before `start`."""
        return self._started().address[1]

    @property
    def root_url(self) -> str:
        """`http://HOST:PORT`, for control calls."""
        host, port = self._started().address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as its base URL: `http://HOST:PORT/v1`."""
        return f"{self.root_url}/v1"

    def url_of(self, protocol: str) -> str:
        """Return what a client of this protocol takes as its base URL. Raises KeyError for one that has no dialect."""
        return self.root_url + DIALECTS[protocol].base_path

    @property
    def stats(self) -> Stats:
        """The counters, live."""
        return self._state.stats

    @property
    def scenario(self) -> Scenario:
        """The scenario at work; setting it is `configure`."""
        return self._state.scenario

    @scenario.setter
    def scenario(self, scenario: Scenario | dict[str, Any] | None) -> None:
        self.configure(scenario)

    def configure(self, scenario: Scenario | dict[str, Any] | None) -> None:
        """Use another scenario from the next request on, with fresh rule counts and limits. Raises ScenarioError."""
        self._state.use(parse_scenario(scenario))

    def rule_counts(self) -> list[dict[str, int]]:
        """How often each rule matched and fired, in the scenario's order."""
        return self._state.rules.counts()

    def snapshot(self) -> dict[str, Any]:
        """Return what `GET /_control` answers: the counters, the rules' counts and the scenario."""
        return {
            **self.stats.as_dict(),
            "rules": self.rule_counts(),
            "scenario": msgspec.to_builtins(self.scenario),
        }

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen. Raises ListenError (a SimulatorError) naming the address and the reason."""
        if self._listener is not None:
            raise SimulatorError("the simulator was already started")
        server = _CountingServer(self._handle, self.stats, self._changed)
        listener = Listener(server)
        await listener.open(host, port)
        self._web, self._listener = server, listener

    async def stop(self) -> None:
        """Stop at once: no port, no connection and no task is left. A second call does nothing."""
        listener, server = self._listener, self._web
        if listener is None or server is None:
            return
        self._listener = self._web = None
        if self._refusal is not None:
            self._refusal.cancel()
            await asyncio.wait([self._refusal])
        listener.close()
        self._drop(server)
        async with asyncio.timeout(STOP_WITHIN_S):
            # aiohttp tells nobody when the last connection's task has ended, which takes a few iterations.
            while server.connections:  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0)
        for _, waiter in self._waiters:
            waiter.cancel()

    async def refuse(self, on: bool = True) -> None:  # noqa: FBT001, FBT002 - `refuse()` and `refuse(on=False)` say it
        """Refuse new connections and drop the open ones, or listen again on the same port."""
        listener = self._started()
        if on:
            await listener.refuse()
            self.drop_connections()
        else:
            await listener.accept()

    def drop_connections(self) -> None:
        """Reset every open connection, whatever is on it; not counted as cancellations."""
        if self._web is not None:
            self._drop(self._web)

    async def until(self, holds: Callable[[Stats], bool], timeout_s: float = 5.0) -> None:
        """Wait until `holds` of the counters: looked at whenever a request or a connection begins or ends.

        Raises TimeoutError.
        """
        if holds(self.stats):
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (holds, waiter)
        self._waiters.append(entry)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        finally:
            self._waiters.remove(entry)

    def _started(self) -> Listener:
        if self._listener is None:
            raise RuntimeError("the simulator is not started")
        return self._listener

    def _changed(self) -> None:
        for holds, waiter in self._waiters:
            if not waiter.done() and holds(self.stats):
                waiter.set_result(None)

    def _drop(self, server: _CountingServer, but: web.RequestHandler | None = None) -> None:
        for protocol in server.connections:
            if protocol is not but and protocol.transport is not None:
                if (record := self._in_flight.get(protocol)) is not None:
                    record.ended = "stopped"
                reset(protocol.transport)

    async def _handle(self, request: web.BaseRequest) -> Written:
        if request.headers.get("expect", "").lower() == "100-continue":
            Output(request).write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if request.path == CONTROL_PATH:
            return await self._control(request)
        stats, protocol = self.stats, request.protocol
        record = stats.begin(request.method, request.path, request.query_string, request.headers)
        self._in_flight[protocol] = record
        self._changed()
        ended = "failed"
        try:
            body = await request.read()
            stats.got_body(record, body)
            exchange = Exchange(self._state, request, record, body)
            written = await exchange.answer()
            ended = "broken" if exchange.broken else "answered"
        except asyncio.CancelledError:
            # Either the client left, or we dropped the connection and said so in the record.
            ended = record.ended or "cancelled"
            raise
        except (ClientGoneError, ConnectionError, web.RequestPayloadError):
            ended = record.ended or "cancelled"
            return CLOSE
        except web.HTTPException as refusal:
            stats.answered(record, refusal.status)
            ended = "answered"
            raise
        else:
            return written
        finally:
            del self._in_flight[protocol]
            stats.end(record, ended)
            self._changed()

    async def _control(self, request: web.BaseRequest) -> Written:
        body = await request.read()
        status, answer = 200, b""
        if request.method == "POST":
            try:
                await self._obey(body, request.protocol)
            except ScenarioError as failure:
                status, answer = 400, _problem(str(failure))
        elif request.method != "GET":
            status, answer = 405, _problem(f"{CONTROL_PATH} takes GET and POST")
        answer = answer or msgspec.json.encode(
            {"urls": {name: self.url_of(name) for name in DIALECTS}} | self.snapshot()
        )
        output = Output(request)
        headers = [("content-type", JSON_TYPE), ("content-length", str(len(answer)))]
        if output.connection is not None:
            headers.append(("connection", output.connection))
        output.write(head(status, headers) + answer)
        await output.drain()
        return output.finished()

    async def _obey(self, body: bytes, caller: web.RequestHandler) -> None:
        order = read_order(body)
        scenario = ordered_scenario(order, self.scenario)
        if scenario is not None:
            self._state.use(scenario)
        if order.reset:
            self.stats.reset()
        if order.refuse_for_s is not None:
            await self._refuse_for(order.refuse_for_s)
        if (order.drop_connections or order.refuse_for_s is not None) and self._web is not None:
            self._drop(self._web, but=caller)

    async def _refuse_for(self, seconds: float) -> None:
        listener = self._started()
        await listener.refuse()
        if self._refusal is not None:
            self._refusal.cancel()

        async def accept_later() -> None:
            await asyncio.sleep(seconds)
            await listener.accept()

        self._refusal = asyncio.create_task(accept_later())
