"""The figures that a Prometheus server scrapes: counters of what happened, and what the status says at that moment.

Labels come from routes documents and from our own words, never from callers. What has states (circuits, keys) has one
series of value 1, that of its present state: `trunkline_key_state{state="QUARANTINED"}` is all that an alert needs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from trunkline_server.control.types import Applied, Origin, Rejection, RoutesEvent, Status, TakenBack
from trunkline_server.engine.outcome import CallOutcome

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
MAX_ALIASES = 1_000
"""Aliases that are counted one by one: those of all documents that ran, so only a storm of renamings comes near."""
OTHER_ALIASES = "(other)"
DIRECT = "(direct)"
"""The alias label of calls that named a target themselves."""
FRESH_S = 1.0
"""A scrape within this time of another gets the same text: nobody can make us busy with it."""


class Metrics:
    """A registry of its own and everything in it. For the event loop alone."""

    def __init__(self, status: Callable[[], Status], *, clock: Callable[[], float] = time.monotonic) -> None:
        """`status` is asked at each scrape."""
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._clock = clock
        self._text = b""
        self._text_until = -FRESH_S
        registry = self._registry = CollectorRegistry(auto_describe=False)
        published = Counter(
            "trunkline_routes_published", "Versions that were published for all traffic.", ["origin"], registry=registry
        )
        self._published = {origin: published.labels(origin.value) for origin in Origin}
        self._canaries = Counter("trunkline_routes_canaries", "Canaries that were begun.", registry=registry)
        self._taken_back = Counter(
            "trunkline_routes_taken_back", "Versions that were taken back, by hand or by a guard.", registry=registry
        )
        self._rejections = Counter("trunkline_routes_rejections", "Documents that were refused.", registry=registry)
        self._rejected_at = Gauge(
            "trunkline_routes_last_rejection_timestamp_seconds",
            "When the last document was refused; 0: none was.",
            registry=registry,
        )
        self._calls = _Calls()
        registry.register(self._calls)
        registry.register(_StatusCollector(status))
        ProcessCollector(registry=registry)

    def take_event(self, event: RoutesEvent) -> None:
        """Count what happened to the routes."""
        if isinstance(event, Applied):
            (self._published[event.version.origin] if event.fraction >= 1.0 else self._canaries).inc()
        elif isinstance(event, Rejection):
            self._rejections.inc()
            self._rejected_at.set(event.at)
        elif isinstance(event, TakenBack):
            self._taken_back.inc()

    def take_call(self, outcome: CallOutcome) -> None:
        """Count a call that is over: an `OutcomeListener`."""
        self._calls.count(outcome.alias or DIRECT, failed=outcome.failed)

    def text(self) -> bytes:
        """Return everything in Prometheus's text format, `CONTENT_TYPE`, at most a second old. O(targets + keys)."""
        now = self._clock()
        if now >= self._text_until:
            self._text = generate_latest(self._registry)
            self._text_until = now + FRESH_S
        return self._text


class _Calls(Collector):
    """Counts calls by alias in plain numbers: prometheus_client's own counter takes a lock for each."""

    def __init__(self) -> None:
        self._of_alias: dict[str, list[int]] = {}
        """Those that went well, and those that failed."""

    def count(self, alias: str, *, failed: bool) -> None:
        counts = self._of_alias.get(alias)
        if counts is None:
            if len(self._of_alias) >= MAX_ALIASES:
                alias = OTHER_ALIASES
            counts = self._of_alias.setdefault(alias, [0, 0])
        counts[failed] += 1

    def collect(self) -> Iterable[Metric]:
        """Return the counters."""
        told = "Calls that are over; failed: for no fault of their caller."
        calls = CounterMetricFamily("trunkline_calls", told, labels=["alias", "outcome"])
        for alias, (well, failed) in self._of_alias.items():
            calls.add_metric([alias, "ok"], well)
            calls.add_metric([alias, "failed"], failed)
        return [calls]


class _StatusCollector(Collector):
    """Turns a status into gauges, anew at each scrape: what is gone from the routes is gone from here."""

    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status

    def collect(self) -> Iterable[Metric]:
        """Return the gauges."""
        status = self._status()
        return [*_process(status), *_targets(status), *_keys(status), *_gates(status)]


def _process(status: Status) -> Iterator[Metric]:
    held = [each.override for each in status.targets] + [each.override for each in status.keys]
    canary = status.canary
    for name, told, value in (
        ("routes_version", "The version of the routes that runs.", status.routes.version),
        ("routes_published_timestamp_seconds", "When it was published.", status.routes.published_at),
        ("routes_canary_running", "Whether a canary is on trial: 1 or 0.", int(canary is not None)),
        ("routes_canary_fraction", "The share of the calls that it gets.", 0.0 if canary is None else canary.fraction),
        ("overrides_active", "Operators' words that hold on targets and keys.", sum(each is not None for each in held)),
        ("draining", "Whether the server goes down: 1 or 0.", int(any(w.phase == "draining" for w in status.workers))),
        ("calls_in_flight", "Calls that are served.", sum(worker.in_flight for worker in status.workers)),
    ):
        yield GaugeMetricFamily(f"trunkline_{name}", told, value)


def _targets(status: Status) -> Iterator[Metric]:
    circuits = _gauge("circuit_state", "1 for the state that a target's circuit is in.", "provider", "model", "state")
    in_flight = _gauge("target_in_flight", "Calls in flight at a target.", "provider", "model")
    attempts = _gauge("target_attempts_last_minute", "Attempts in the last minute.", "provider", "model")
    ratio = _gauge("target_success_ratio", "Share of those that succeeded.", "provider", "model")
    for target in status.targets:
        if not target.aliases:
            continue  # named by callers alone, so its name may be theirs
        labels = [target.provider, target.model]
        if target.circuit:
            circuits.add_metric([*labels, target.circuit], 1)
        in_flight.add_metric(labels, target.in_flight)
        attempts.add_metric(labels, target.attempts)
        if target.success_ratio is not None:
            ratio.add_metric(labels, target.success_ratio)
    yield from (circuits, in_flight, attempts, ratio)


def _keys(status: Status) -> Iterator[Metric]:
    states = _gauge("key_state", "1 for the state that a key is in.", "provider", "key", "state")
    in_flight = _gauge("key_in_flight", "Calls in flight with a key.", "provider", "key")
    requests = _gauge("key_headroom_requests", "Requests that a key could take at once.", "provider", "key")
    tokens = _gauge("key_headroom_tokens", "Tokens that a key could take at once.", "provider", "key")
    for key in status.keys:
        labels = [key.provider, key.key_id]
        states.add_metric([*labels, key.state], 1)
        in_flight.add_metric(labels, key.in_flight)
        if key.headroom_requests is not None:
            requests.add_metric(labels, key.headroom_requests)
        if key.headroom_tokens is not None:
            tokens.add_metric(labels, key.headroom_tokens)
    yield from (states, in_flight, requests, tokens)


def _gates(status: Status) -> Iterator[Metric]:
    in_flight = _gauge("gate_in_flight", "Calls in flight at a provider.", "provider")
    limit = _gauge("gate_limit", "How many there may be at present.", "provider")
    queued = _gauge("gate_queued", "Calls that wait for a provider.", "provider")
    for gate in status.gates:
        in_flight.add_metric([gate.provider], gate.in_flight)
        limit.add_metric([gate.provider], gate.limit)
        queued.add_metric([gate.provider], gate.queued)
    yield from (in_flight, limit, queued)


def _gauge(name: str, told: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"trunkline_{name}", told, labels=labels)
