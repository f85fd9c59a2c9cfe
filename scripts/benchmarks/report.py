"""The table of scripts/bench, and the same as JSON."""

from __future__ import annotations

import importlib.metadata
import platform
import statistics
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scripts.benchmarks.measure import Row

_PACKAGES = ("grpcio", "protobuf", "aiohttp", "httpx", "pyqwest", "msgspec", "uvloop")
_OTHER_LOOP = "+asyncio"
_BESIDE = ("merged", _OTHER_LOOP)


def fastest_forward(rows: Sequence[Row]) -> Row | None:
    """Return reference (b): the cheapest bare server that makes the same upstream call, one frame a chunk.

    Rows on asyncio's own loop have a reference of their own: a ratio compares one loop with itself.
    """
    forwards = [row for row in rows if row.name.startswith("grpc.aio+") and not row.name.endswith(_BESIDE)]
    return min(forwards, key=lambda row: row.median_us, default=None)


def reference_of(row: Row, rows: Sequence[Row]) -> Row | None:
    """Return the (b) that a row is compared with: the one on its own loop."""
    if row.name.endswith(_OTHER_LOOP):
        return next((other for other in rows if other.name == f"grpc.aio+own{_OTHER_LOOP}"), None)
    return fastest_forward(rows)


def print_table(title: str, rows: Sequence[Row]) -> None:
    """Print what was measured, one line a subject, with its ratios to (a) and (b)."""
    echo = next((row for row in rows if row.name == "echo"), None)
    best = fastest_forward(rows)
    print(f"\n{title}")
    print(f"{'':30}{'CPU µs a call':>14} {'(min-max)':>16}{'/(a)':>7}{'/(b)':>7}{'calls/s':>9}{'p50 ms':>9}"
          f"{'p99 ms':>9}{'frames':>8}")  # fmt: skip
    for row in rows:
        spread = f"({min(row.cpu_us):.0f}-{max(row.cpu_us):.0f})"
        mark = " (b)" if row is best else ""
        to_forward = _ratio(row, reference_of(row, rows))
        print(
            f"{row.name + mark:30}{row.median_us:14.0f} {spread:>16}{_ratio(row, echo)}{to_forward}"
            f"{statistics.median(row.per_second):9.0f}{statistics.median(row.p50_ms):9.1f}"
            f"{statistics.median(row.p99_ms):9.1f}{statistics.median(row.frames):8.1f}"
        )


def _ratio(row: Row, base: Row | None) -> str:
    return f"{'-':>7}" if base is None else f"{ratio(row, base):7.2f}"


def ratio(row: Row, base: Row) -> float:
    """Return how many times `base` a row costs: the median over the rounds, in each of which both were measured."""
    return statistics.median(ours / theirs for ours, theirs in zip(row.cpu_us, base.cpu_us, strict=True))


def as_data(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the rows for JSON: medians, and the CPU figure of each round."""
    best = fastest_forward(rows)
    return [
        {
            "name": row.name,
            "what": row.what,
            "is_reference_b": row is best,
            "ratio_to_b": None if (base := reference_of(row, rows)) is None else ratio(row, base),
            "cpu_us": row.median_us,
            "cpu_us_rounds": row.cpu_us,
            "calls_per_s": statistics.median(row.per_second),
            "p50_ms": statistics.median(row.p50_ms),
            "p99_ms": statistics.median(row.p99_ms),
            "frames": statistics.median(row.frames),
        }
        for row in rows
    ]


def environment() -> dict[str, str]:
    """Return what the figures depend on: versions, interpreter, processor."""
    found = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
