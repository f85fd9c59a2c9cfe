"""The words of the control room: versions, findings, changes, events, orders and states. Times in Unix seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from trunkline_server.config.findings import Finding


class Role(Enum):
    """What an admin may do; the value is its word in the routes file."""

    VIEWER = "viewer"
    """Look."""
    OPERATOR = "operator"
    """Everything."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who gives an order."""

    id: str
    """The admin's id; `anonymous` where no admins are configured; `file`, `signal` or `guard`: the process itself."""
    peer: str = ""
    """Address of the other end of the connection; empty: no RPC."""


class Origin(Enum):
    """Where a published document came from."""

    START = "START"
    FILE = "FILE"
    RELOAD = "RELOAD"
    ROLLBACK = "ROLLBACK"


class VersionState(Enum):
    """What became of a version."""

    RUNNING = "RUNNING"
    CANARY = "CANARY"
    SUPERSEDED = "SUPERSEDED"
    ROLLED_BACK = "ROLLED_BACK"


@dataclass(frozen=True, slots=True)
class RouteVersion:
    """One version of the routes that was published."""

    version: int
    """Counts up from 1; never used again."""
    etag: str
    sha256: str
    """Of the document's bytes, in hex."""
    published_at: float
    published_by: str
    peer: str = ""
    reason: str = ""
    origin: Origin = Origin.START
    state: VersionState = VersionState.RUNNING
    rolled_back_to: int = 0
    """The version whose document it is, for Origin.ROLLBACK."""
    file_sha256: str = ""
    """Of the routes file that was on disk when it was published: what decides at a start which of the two wins."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A document that was refused."""

    at: float
    by: str
    sha256: str
    """Empty: it could not be read."""
    findings: tuple[Finding, ...]
    omitted: int = 0
    """How many more errors there were."""


@dataclass(frozen=True, slots=True)
class Guard:
    """When a canary is taken back."""

    window_s: float = 60.0
    error_ratio: float = 0.05
    """The largest share of its calls that may fail for no fault of their caller."""
    first_token_ratio: float = 2.0
    """How many times the running version's median time to the first token its own may be."""


@dataclass(frozen=True, slots=True)
class CanaryState:
    """A canary that runs."""

    version: int
    fraction: float
    guard: Guard
    ends_at: float
    calls: int = 0
    failed: int = 0
    base_calls: int = 0
    base_failed: int = 0


class ChangeOp(Enum):
    """What happens to a value of a document."""

    ADD = "ADD"
    REMOVE = "REMOVE"
    REPLACE = "REPLACE"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two documents. `before` and `after` are JSON; empty: no value, or it is sensitive."""

    op: ChangeOp
    path: str
    before: str
    after: str
    sensitive: bool = False


@dataclass(frozen=True, slots=True)
class TrafficShift:
    """How much of an alias's traffic goes elsewhere."""

    alias: str
    share: float
    """Of its first choices, 0 to 1."""
    recent_calls: int
    share_of_all: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What a document would do."""

    valid: bool
    no_op: bool
    findings: tuple[Finding, ...]
    changes: tuple[Change, ...]
    traffic: tuple[TrafficShift, ...]
    base: RouteVersion


@dataclass(frozen=True, slots=True)
class ReloadOrder:
    """What an operator asks of a reload. `source` None: read the routes file again."""

    source: bytes | None = field(default=None, repr=False)
    if_match_etag: str = ""
    dry_run: bool = False
    reason: str = ""
    request_id: str = ""
    canary_fraction: float = 0.0
    """0: all at once."""
    guard: Guard = Guard()


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What became of a reload."""

    version: RouteVersion
    no_op: bool = False
    dry_run: bool = False
    findings: tuple[Finding, ...] = ()
    canary: CanaryState | None = None


@dataclass(frozen=True, slots=True)
class RollbackOrder:
    """What an operator asks of a rollback. `to_version` 0: end the canary, or else the version before."""

    to_version: int = 0
    if_match_etag: str = ""
    reason: str = ""
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What became of a rollback."""

    version: RouteVersion
    ended_canary: int = 0
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class RoutesView:
    """A version with its document as it may be shown."""

    version: RouteVersion
    document: str
    last_rejected: Rejection | None = None
    canary: CanaryState | None = None


@dataclass(frozen=True, slots=True)
class VersionPage:
    """Versions, the newest first."""

    versions: tuple[RouteVersion, ...]
    next_page_token: str = ""


@dataclass(frozen=True, slots=True)
class Applied:
    """A version runs for all traffic, or as a canary for `fraction` of it."""

    at: float
    version: RouteVersion
    fraction: float = 1.0


@dataclass(frozen=True, slots=True)
class TakenBack:
    """A version was taken back by somebody, or by its guard."""

    at: float
    version: int
    to: RouteVersion
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Nothing happened up to here. `missed`: something before it was left out."""

    at: float
    version: int
    etag: str
    missed: bool = False


RoutesEvent = Applied | Rejection | TakenBack | Bookmark
"""What a watch of the routes yields."""


class OverrideMode(Enum):
    """What an operator says of a target or a key."""

    DRAIN = "DRAIN"
    DISABLE = "DISABLE"
    FORCE_OPEN = "FORCE_OPEN"
    """Targets only, likewise the next."""
    FORCE_CLOSED = "FORCE_CLOSED"
    CLEAR = "CLEAR"


@dataclass(frozen=True, slots=True)
class Override:
    """An operator's word that holds until `until`."""

    mode: OverrideMode
    until: float
    by: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class OverrideOrder:
    """What an operator asks: `name` is the model's upstream name, or the key's id."""

    provider: str
    name: str
    mode: OverrideMode
    ttl_s: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TargetState:
    """How a target is. None: not known, or none."""

    provider: str
    model: str
    aliases: tuple[str, ...]
    circuit: str
    in_flight: int
    attempts: int
    success_ratio: float | None
    first_token_p50_s: float | None
    first_token_p95_s: float | None
    override: Override | None = None


@dataclass(frozen=True, slots=True)
class KeyState:
    """How a key is."""

    provider: str
    key_id: str
    state: str
    until: float | None
    in_flight: int
    max_in_flight: int | None
    headroom_requests: int | None
    headroom_tokens: int | None
    quota_group: str
    weight: float
    override: Override | None = None


@dataclass(frozen=True, slots=True)
class GateState:
    """How a provider's gate is."""

    provider: str
    in_flight: int
    limit: int
    queued: int
    queue: int


@dataclass(frozen=True, slots=True)
class WorkerState:
    """How a process is."""

    worker: int
    pid: int
    phase: str
    in_flight: int
    route_version: int
    started_at: float


@dataclass(frozen=True, slots=True)
class Failover:
    """A call that had to go elsewhere; `to` empty: nobody took over."""

    at: float
    model: str
    from_target: str
    to: str
    failure_class: str


@dataclass(frozen=True, slots=True)
class Status:
    """How everything is."""

    at: float
    routes: RouteVersion
    targets: tuple[TargetState, ...]
    keys: tuple[KeyState, ...]
    gates: tuple[GateState, ...]
    workers: tuple[WorkerState, ...]
    failovers: tuple[Failover, ...]
    canary: CanaryState | None = None
    last_rejected: Rejection | None = None
