"""What the server costs, in CPU microseconds a call, beside bare grpc.aio servers measured in the same run.

    scripts/bench unary|streams|reloads|providers|routing|all [--quick] [--json FILE]

The server under measurement has one core to itself; load generator and simulator share another. All run on loopback,
all end with this program. A server's CPU time is the kernel's own account of the process over the counted calls.

(a) is a bare grpc.aio echo, (b) the cheapest bare grpc.aio server that makes the same upstream call: it decodes the
same request message, asks the same simulator, decodes the answer's JSON minimally, and answers with the same messages.
For streams (b) sends one frame a chunk, as the provider does. This server runs as in production: callers with tokens,
log level info into a file. To measure pyqwest too, install it in the environment or put it on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.benchmarks.choice import choice_figures, print_growth
from scripts.benchmarks.measure import Burst, Size, interleaved
from scripts.benchmarks.providers import measure_providers
from scripts.benchmarks.reloads import LENGTHS, measure_reloads
from scripts.benchmarks.report import as_data, environment, print_table
from scripts.benchmarks.routing import print_figures, routing_figures
from scripts.benchmarks.subjects import ECHO, TRUNKLINE, Bench, asyncio_kinds, forwards
from scripts.benchmarks.workload import CHUNK_GAP_S, CHUNKS, FAILOVER, FAST, PACED, UNARY
from scripts.demo_processes import DemoError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scripts.benchmarks.load import Generator, Load
    from scripts.benchmarks.subjects import Kind

IN_FLIGHT = 64

SIZES = {
    "unary": (Size(7, 1500, 500), Size(3, 600, 300), Size(1, 64, 64)),
    "streams": (Size(5, 128, 64), Size(3, 64, 64), Size(1, 8, 8)),
    "failover": (Size(3, 300, 50), Size(1, 100, 20), Size(1, 5, 2)),
}
"""Full, quick, smallest."""

ROUTING_CALLS = (4000, 1500, 100)


def _chosen(kinds: Sequence[Kind], only: Sequence[str]) -> list[Kind]:
    return [kind for kind in kinds if not only or kind.name in only]


async def measure_unary(bench: Bench, size: Size, in_flight: int, only: Sequence[str]) -> dict[str, Any]:
    """Measure calls with one answer."""

    async def burst(generator: Generator, calls: int) -> Load:
        return await generator.unary(UNARY, calls, in_flight)

    kinds = _chosen([TRUNKLINE, ECHO, *forwards(merged=False), *asyncio_kinds()], only)
    return {"unary": await _table(bench, kinds, burst, size, f"unary, {in_flight} in flight")}


async def measure_streams(bench: Bench, size: Size, in_flight: int, only: Sequence[str]) -> dict[str, Any]:
    """Measure streams, paced and as fast as they go."""
    kinds = _chosen([TRUNKLINE, ECHO, *forwards(merged=True), *asyncio_kinds()], only)
    found = {}
    for model, pace in ((PACED, f"{CHUNK_GAP_S * 1000:.0f} ms apart"), (FAST, "as fast as it goes")):

        async def burst(generator: Generator, calls: int, model: str = model) -> Load:
            return await generator.streams(model, calls, in_flight)

        title = f"streams of {CHUNKS} chunks, {pace}, {in_flight} in flight"
        found[f"streams {model}"] = await _table(bench, kinds, burst, size, title)
    return found


async def _table(bench: Bench, kinds: Sequence[Kind], burst: Burst, size: Size, title: str) -> list[dict[str, Any]]:
    with bench.servers(kinds) as subjects:
        try:
            rows = await interleaved(subjects, burst, size)
        finally:
            for subject in subjects:
                await subject.generator.close()
    print_table(title, rows)
    return as_data(rows)


async def measure_failover(bench: Bench, size: Size) -> dict[str, Any]:
    """Measure what a failed first target adds to the time to the first frame, one call at a time."""
    whole_ms, beyond_ms = [], []
    with bench.servers([TRUNKLINE]) as [subject]:
        generator = subject.generator
        try:
            for _ in range(size.rounds):
                own_s = statistics.median(await generator.failed_attempts_s(FAILOVER, size.warm_up))
                straight = await generator.streams(FAST, size.calls, 1)
                moved = await generator.streams(FAILOVER, size.calls, 1)
                added_s = statistics.median(moved.first_frames_s) - statistics.median(straight.first_frames_s)
                whole_ms.append(added_s * 1e3)
                beyond_ms.append((added_s - own_s) * 1e3)
        finally:
            await generator.close()
    print(
        f"\nfailover before the first token: a first target that answers 503 adds {statistics.median(whole_ms):.2f} ms "
        f"(p50), {statistics.median(beyond_ms):.2f} ms of it beyond the failed attempt's own time   bar 2"
    )
    return {"failover_added_p50_ms": whole_ms, "failover_added_beyond_attempt_p50_ms": beyond_ms}


async def run(what: str, level: int, in_flight: int, only: Sequence[str], scratch: Path) -> dict[str, Any]:
    """Run what was asked for; `level`: 0 full, 1 quick, 2 smallest."""
    found: dict[str, Any] = {"environment": environment()}
    print(", ".join(f"{name} {version}" for name, version in found["environment"].items()))
    if what in {"routing", "all"}:
        figures = routing_figures(ROUTING_CALLS[level])
        print_figures(figures)
        choices = choice_figures(ROUTING_CALLS[level])
        print_growth(choices)
        found["routing_us"] = {figure.name: figure.median_us for figure in figures + choices}
    if what in {"providers", "all"}:
        found |= await asyncio.to_thread(measure_providers, level)
    if what in {"routing", "providers"}:
        return found
    with Bench(scratch) as bench:
        cores = bench.cores
        shared = "" if cores.server != cores.rest else " (one core alone: shared, so the figures are not comparable)"
        print(f"server on core {cores.server}, load and simulator on core {cores.rest}{shared}")
        if what in {"unary", "all"}:
            found |= await measure_unary(bench, SIZES["unary"][level], in_flight, only)
        if what in {"streams", "all"}:
            found |= await measure_streams(bench, SIZES["streams"][level], in_flight, only)
            found |= await measure_failover(bench, SIZES["failover"][level])
        if what in {"reloads", "all"}:
            found |= await measure_reloads(bench, LENGTHS[level])
    return found


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=["unary", "streams", "reloads", "providers", "routing", "all"])
    parser.add_argument("--quick", action="store_true", help="fewer rounds and calls: to see a tendency")
    parser.add_argument("--smallest", action="store_true", help="a few calls: to see that it runs")
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT)
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", help="measure these rows of the tables alone")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    chosen = parser.parse_args(arguments)
    level = 2 if chosen.smallest else int(chosen.quick)
    with tempfile.TemporaryDirectory(prefix="trunkline-bench-") as scratch:
        try:
            found = asyncio.run(run(chosen.what, level, chosen.in_flight, chosen.only, Path(scratch)))
        except DemoError as error:
            print(f"scripts/bench: {error}", file=sys.stderr)
            return 1
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
