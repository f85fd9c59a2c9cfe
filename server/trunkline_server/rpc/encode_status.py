"""How targets, keys, gates and processes are, as the bytes of their messages. Ids and figures only."""

from __future__ import annotations

from trunkline import v1 as pb
from trunkline_server.control.types import Failover, GateState, KeyState, Status, TargetState, WorkerState
from trunkline_server.rpc.encode_admin import (
    canary_pb,
    override_pb,
    rejection_pb,
    text,
    timestamp_pb,
    uint32,
    uint64,
    version_pb,
)
from trunkline_server.rpc.encode_route import duration_pb


def encode_status(status: Status) -> bytes:
    """Return the serialized GetStatusResponse."""
    return _status_pb(status).SerializeToString()


def encode_watched_status(status: Status) -> bytes:
    """Return the serialized WatchStatusResponse."""
    return pb.WatchStatusResponse(status=_status_pb(status)).SerializeToString()


def _status_pb(status: Status) -> pb.GetStatusResponse:
    return pb.GetStatusResponse(
        at=timestamp_pb(status.at),
        routes=version_pb(status.routes),
        targets=map(_target_pb, status.targets),
        keys=map(_key_pb, status.keys),
        gates=map(_gate_pb, status.gates),
        workers=map(_worker_pb, status.workers),
        failovers=map(_failover_pb, status.failovers),
        canary=None if status.canary is None else canary_pb(status.canary),
        last_rejected=None if status.last_rejected is None else rejection_pb(status.last_rejected),
    )


def _target_pb(target: TargetState) -> pb.TargetStatus:
    p50_s, p95_s = target.first_token_p50_s, target.first_token_p95_s
    return pb.TargetStatus(
        provider=target.provider,
        model=target.model,
        aliases=target.aliases,
        circuit=target.circuit,
        in_flight=uint32(target.in_flight),
        success_ratio=target.success_ratio,
        first_token_p50=None if p50_s is None else duration_pb(p50_s),
        first_token_p95=None if p95_s is None else duration_pb(p95_s),
        override=None if target.override is None else override_pb(target.override),
        attempts=uint64(target.attempts),
    )


def _key_pb(key: KeyState) -> pb.KeyStatus:
    """Return a key by its id; unset limits stay unset, since zero would mean that nothing goes."""
    most, requests, tokens = key.max_in_flight, key.headroom_requests, key.headroom_tokens
    return pb.KeyStatus(
        provider=key.provider,
        key_id=key.key_id,
        state=key.state,
        until=None if key.until is None else timestamp_pb(key.until),
        in_flight=uint32(key.in_flight),
        max_in_flight=None if most is None else uint32(most),
        headroom_requests=None if requests is None else uint32(requests),
        headroom_tokens=None if tokens is None else uint64(tokens),
        quota_group=key.quota_group,
        weight=key.weight,
        override=None if key.override is None else override_pb(key.override),
    )


def _gate_pb(gate: GateState) -> pb.GateStatus:
    return pb.GateStatus(
        provider=gate.provider,
        in_flight=uint32(gate.in_flight),
        limit=uint32(gate.limit),
        queued=uint32(gate.queued),
        queue=uint32(gate.queue),
    )


def _worker_pb(worker: WorkerState) -> pb.WorkerStatus:
    return pb.WorkerStatus(
        worker=uint32(worker.worker),
        pid=uint32(worker.pid),
        phase=worker.phase,
        in_flight=uint32(worker.in_flight),
        route_version=worker.route_version,
        started=timestamp_pb(worker.started_at),
    )


def _failover_pb(failover: Failover) -> pb.RecentFailover:
    """Return a call that had to go elsewhere; what it asked for is the caller's word, and bounded."""
    message = pb.RecentFailover(
        at=timestamp_pb(failover.at),
        model=text(failover.model),
        to=failover.to,
        failure_class=failover.failure_class,
    )
    setattr(message, "from", failover.from_target)  # a word of Python's own
    return message
