"""The HTTP port: `/healthz` says that the process lives, `/readyz` that it takes calls, `/metrics` how it does."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from trunkline_server.telemetry.metrics import CONTENT_TYPE

_HEADERS = {"cache-control": "no-store", "server": "trunkline"}


class HttpPort:
    """A small HTTP server beside the gRPC ones. It has no state of its own: `ready` and `metrics` are asked each time.

    `metrics` returns Prometheus's text format; None: there is no `/metrics`.
    """

    def __init__(self, ready: Callable[[], bool], metrics: Callable[[], bytes] | None = None) -> None:
        self._ready = ready
        self._metrics = metrics
        app = web.Application(client_max_size=1024)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        if metrics is not None:
            app.router.add_get("/metrics", self._tell_metrics)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start(self, host: str, port: int) -> int:
        """Listen and serve; return the port, with 0 resolved. Raises OSError if the address cannot be had."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, reuse_port=False)
        await site.start()
        bound: int = self._runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        """Stop listening and close what is open. May be called whether `start` succeeded or not."""
        await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n", headers=_HEADERS)

    async def _readyz(self, _: web.Request) -> web.Response:
        if self._ready():
            return web.Response(text="ready\n", headers=_HEADERS)
        return web.Response(status=503, text="not ready: starting or draining\n", headers=_HEADERS)

    async def _tell_metrics(self, _: web.Request) -> web.Response:
        body = b"" if self._metrics is None else self._metrics()
        return web.Response(body=body, headers={**_HEADERS, "content-type": CONTENT_TYPE})
