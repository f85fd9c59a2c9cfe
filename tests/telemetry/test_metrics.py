"""The metrics: what is counted, what the status gives at a scrape, and that no caller can make labels."""

from __future__ import annotations

from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families

from trunkline_server.control.types import (
    Applied,
    CanaryState,
    GateState,
    Guard,
    KeyState,
    Origin,
    Override,
    OverrideMode,
    Rejection,
    RouteVersion,
    Status,
    TakenBack,
    TargetState,
    WorkerState,
)
from trunkline_server.engine.outcome import CallOutcome
from trunkline_server.routing.clock import ManualClock
from trunkline_server.telemetry.metrics import DIRECT, MAX_ALIASES, OTHER_ALIASES, Metrics

AT = 1_800_000_000.0
ROUTES = RouteVersion(7, "etag", "sha", AT, "alice")
HELD = Override(OverrideMode.DRAIN, AT + 60, "alice", "because")
QUIET = Status(AT, ROUTES, (), (), (), (WorkerState(0, 9, "ready", 3, 7, AT),), ())
BUSY = replace(
    QUIET,
    targets=(
        TargetState("one", "m", ("default",), "OPEN", 4, 10, 0.75, None, None, HELD),
        TargetState("one", 'made up by a caller"\n', (), "", 0, 1, None, None, None),
    ),
    keys=(KeyState("one", "a", "QUARANTINED", None, 2, None, 5, 600, "", 1.0),),
    gates=(GateState("one", 6, 200, 7, 500),),
    workers=(WorkerState(0, 9, "draining", 3, 7, AT),),
    canary=CanaryState(8, 0.25, Guard(), AT),
)


def outcome(alias: str, *, failed: bool = False) -> CallOutcome:
    return CallOutcome(
        7, alias, "a caller's words", "shop", streams=False, failed=failed, first_content_s=None, attempts=()
    )


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Return every sample by its name and its labels' values, sorted."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value for family in families for sample in family.samples
    }


def test_what_happens_to_routes_is_counted() -> None:
    """Publishes by origin, canaries, what was taken back, and what was refused with its time."""
    metrics = Metrics(lambda: QUIET)
    reload = replace(ROUTES, origin=Origin.RELOAD)
    for event in (
        Applied(AT, ROUTES),
        Applied(AT, reload),
        Applied(AT, reload, 0.1),
        Rejection(AT + 5, "file", "", ()),
        TakenBack(AT, 8, ROUTES, "guard", "too many failed"),
    ):
        metrics.take_event(event)
    told = samples(metrics)
    assert told["trunkline_routes_published_total", "START"] == 1
    assert told["trunkline_routes_published_total", "RELOAD"] == 1
    assert told["trunkline_routes_published_total", "ROLLBACK"] == 0
    assert told["trunkline_routes_canaries_total",] == 1
    assert told["trunkline_routes_taken_back_total",] == 1
    assert told["trunkline_routes_rejections_total",] == 1
    assert told["trunkline_routes_last_rejection_timestamp_seconds",] == AT + 5


def test_calls_are_counted_by_alias_and_end() -> None:
    """What was asked for and who asked stand in no label; a call that names a target itself is one of a kind."""
    metrics = Metrics(lambda: QUIET)
    for each in (outcome("default"), outcome("default"), outcome("default", failed=True), outcome("")):
        metrics.take_call(each)
    told = samples(metrics)
    assert told["trunkline_calls_total", "default", "ok"] == 2
    assert told["trunkline_calls_total", "default", "failed"] == 1
    assert told["trunkline_calls_total", DIRECT, "ok"] == 1
    assert b"caller" not in metrics.text().replace(b"their caller", b"")
    assert b"shop" not in metrics.text()


def test_aliases_are_bounded() -> None:
    """However often documents rename their aliases, the registry does not grow beyond a bound."""
    metrics = Metrics(lambda: QUIET)
    for number in range(MAX_ALIASES + 5):
        metrics.take_call(outcome(f"alias-{number}"))
    told = samples(metrics)
    assert told["trunkline_calls_total", OTHER_ALIASES, "ok"] == 5
    assert sum(name[0] == "trunkline_calls_total" for name in told) == 2 * (MAX_ALIASES + 1)


def test_a_scrape_tells_the_status() -> None:
    """Version, canary, overrides and drain, targets, keys and gates are those of the moment of the scrape."""
    told = samples(Metrics(lambda: BUSY))
    expected = {
        ("trunkline_routes_version",): 7,
        ("trunkline_routes_published_timestamp_seconds",): AT,
        ("trunkline_routes_canary_running",): 1,
        ("trunkline_routes_canary_fraction",): 0.25,
        ("trunkline_overrides_active",): 1,
        ("trunkline_draining",): 1,
        ("trunkline_calls_in_flight",): 3,
        ("trunkline_circuit_state", "one", "m", "OPEN"): 1,
        ("trunkline_target_in_flight", "one", "m"): 4,
        ("trunkline_target_attempts_last_minute", "one", "m"): 10,
        ("trunkline_target_success_ratio", "one", "m"): 0.75,
        ("trunkline_key_state", "one", "a", "QUARANTINED"): 1,
        ("trunkline_key_in_flight", "one", "a"): 2,
        ("trunkline_key_headroom_requests", "one", "a"): 5,
        ("trunkline_key_headroom_tokens", "one", "a"): 600,
        ("trunkline_gate_in_flight", "one"): 6,
        ("trunkline_gate_limit", "one"): 200,
        ("trunkline_gate_queued", "one"): 7,
    }
    assert {name: told.get((name[0], *sorted(name[1:]))) for name in expected} == expected
    assert told["process_resident_memory_bytes",] > 0


def test_a_target_that_only_callers_name_has_no_series() -> None:
    """A model that a caller made up is in no label."""
    assert b"made up" not in Metrics(lambda: BUSY).text()


def test_what_is_gone_is_told_no_more_and_scrapes_are_bounded() -> None:
    """The status is asked once a second at most, however often somebody scrapes; then what is gone is gone."""
    clock = ManualClock(5.0)
    asked: list[Status] = [BUSY]
    metrics = Metrics(lambda: asked[-1], clock=clock)
    first = metrics.text()
    assert ("trunkline_key_state", "QUARANTINED", "a", "one") in samples(metrics)
    asked.append(QUIET)
    clock.advance(0.5)
    assert metrics.text() is first
    clock.advance(0.5)
    assert ("trunkline_key_state", "QUARANTINED", "a", "one") not in samples(metrics)
    assert samples(metrics)["trunkline_draining",] == 0
