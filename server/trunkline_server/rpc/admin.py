"""The admin service: which RPCs there are, which role each takes, and what each asks of the control room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from trunkline import v1 as pb
from trunkline_server.control.api import Admin
from trunkline_server.control.types import Actor, Role
from trunkline_server.rpc.boundary import Method, UnaryMethod, WatchMethod
from trunkline_server.rpc.call import Work
from trunkline_server.rpc.decode_admin import (
    decode_drain,
    decode_list_versions,
    decode_override_key,
    decode_override_target,
    decode_plan,
    decode_reload,
    decode_rollback,
    decode_watch_status,
    parse,
)
from trunkline_server.rpc.encode_admin import (
    encode_drain,
    encode_event,
    encode_override_key,
    encode_override_target,
    encode_page,
    encode_plan,
    encode_reloaded,
    encode_rolled_back,
    encode_view,
)
from trunkline_server.rpc.encode_status import encode_status, encode_watched_status

SERVICE = "trunkline.v1.AdminService"


class AdminService:
    """Turns each RPC's bytes into a question or an order to the control room, and its result into bytes."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin

    def methods(self) -> tuple[Method, ...]:
        """Return every RPC of the service."""
        look, operate = Role.VIEWER, Role.OPERATOR
        return (
            UnaryMethod(f"/{SERVICE}/GetRoutes", self.get_routes, look),
            UnaryMethod(f"/{SERVICE}/PlanRoutes", self.plan_routes, operate),
            UnaryMethod(f"/{SERVICE}/ReloadRoutes", self.reload_routes, operate),
            UnaryMethod(f"/{SERVICE}/RollbackRoutes", self.rollback_routes, operate),
            UnaryMethod(f"/{SERVICE}/ListRouteVersions", self.list_route_versions, look),
            WatchMethod(f"/{SERVICE}/WatchRoutes", self.watch_routes, look),
            UnaryMethod(f"/{SERVICE}/GetStatus", self.get_status, look),
            WatchMethod(f"/{SERVICE}/WatchStatus", self.watch_status, look),
            UnaryMethod(f"/{SERVICE}/OverrideTarget", self.override_target, operate),
            UnaryMethod(f"/{SERVICE}/OverrideKey", self.override_key, operate),
            UnaryMethod(f"/{SERVICE}/Drain", self.drain, operate),
        )

    async def get_routes(self, raw: bytes, work: Work) -> bytes:
        """Return the running routes or an older version."""
        view = await self._admin.get_routes(parse(pb.GetRoutesRequest, raw).version)
        work.record.route_version = view.version.version
        return encode_view(view)

    async def plan_routes(self, raw: bytes, work: Work) -> bytes:
        """Return what a document would do."""
        source, base_etag = decode_plan(raw)
        plan = await self._admin.plan(source, base_etag)
        work.record.route_version = plan.base.version
        return encode_plan(plan)

    async def reload_routes(self, raw: bytes, work: Work) -> bytes:
        """Publish a document."""
        order = decode_reload(raw)
        work.record.request_id = order.request_id
        done = await self._admin.reload(order, actor_of(work))
        work.record.route_version = done.version.version
        return encode_reloaded(done)

    async def rollback_routes(self, raw: bytes, work: Work) -> bytes:
        """Publish an older version's document again."""
        done = await self._admin.rollback(decode_rollback(raw), actor_of(work))
        work.record.route_version = done.version.version
        return encode_rolled_back(done)

    async def list_route_versions(self, raw: bytes, _work: Work) -> bytes:
        """Return the versions that are kept, a page at a time."""
        return encode_page(await self._admin.list_versions(*decode_list_versions(raw)))

    async def watch_routes(self, raw: bytes, _work: Work) -> AsyncGenerator[bytes, None]:
        """Yield what happens to the routes. Who reads too slowly misses some of it: control keeps it, not this call."""
        after_version = parse(pb.WatchRoutesRequest, raw).after_version
        async with aclosing(self._admin.watch_routes(after_version)) as events:
            async for event in events:
                yield encode_event(event)

    async def get_status(self, raw: bytes, _work: Work) -> bytes:
        """Return how everything is."""
        parse(pb.GetStatusRequest, raw)
        return encode_status(self._admin.status())

    async def watch_status(self, raw: bytes, _work: Work) -> AsyncGenerator[bytes, None]:
        """Yield how everything is, at once and then so often. A slow reader gets what holds when it reads again."""
        every_s = decode_watch_status(raw)
        while True:
            yield encode_watched_status(self._admin.status())
            await asyncio.sleep(every_s)

    async def override_target(self, raw: bytes, work: Work) -> bytes:
        """Take a target out of service, or force its circuit."""
        return encode_override_target(await self._admin.override_target(decode_override_target(raw), actor_of(work)))

    async def override_key(self, raw: bytes, work: Work) -> bytes:
        """Take a key out of service."""
        return encode_override_key(await self._admin.override_key(decode_override_key(raw), actor_of(work)))

    async def drain(self, raw: bytes, work: Work) -> bytes:
        """Let the process go down."""
        grace_s, reason = decode_drain(raw)
        return encode_drain(*await self._admin.drain(grace_s, reason, actor_of(work)))


def actor_of(work: Work) -> Actor:
    """Return who gives the order of a call: whom its token or certificate names, and the other end's address."""
    return Actor(work.record.caller, work.record.peer)
