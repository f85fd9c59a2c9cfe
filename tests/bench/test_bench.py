"""scripts/bench: it runs, its figures are whole, and the routing core keeps to its budget."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = ["trunkline", "echo", "grpc.aio+own"]
ROUTING_BAR_US = 60.0
SLACK = 5
"""How much slower than the bar a busy machine may be before the test says that the core itself has become slow."""

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the bench pins processes: Linux only"),
]


def _bench(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    """Run the bench and return its figures."""
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "scripts.benchmarks", *arguments, "--smallest", "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    figures: dict[str, Any] = json.loads(file.read_text())
    return figures


def test_measures_every_row_in_one_run(tmp_path: Path) -> None:
    """Each table has the server and both references, with CPU time, throughput and latencies above zero."""
    figures = _bench(tmp_path, "all", "--in-flight", "8", "--only", *ROWS)
    for table in ("unary", "streams paced", "streams fast"):
        rows = figures[table]
        assert [row["name"] for row in rows] == ROWS
        assert [row["name"] for row in rows if row["is_reference_b"]] == ["grpc.aio+own"]
        for row in rows:
            assert min(row[figure] for figure in ("cpu_us", "calls_per_s", "p50_ms", "p99_ms")) > 0
    assert {row["name"]: row["frames"] for row in figures["streams paced"]}["echo"] == 101
    assert len(figures["failover_added_p50_ms"]) == 1


def test_routing_decisions_stay_within_five_times_their_bar(tmp_path: Path) -> None:
    """All decisions of a call, with four targets of eight keys each, take at most five times 60 microseconds."""
    figures = _bench(tmp_path, "routing")["routing_us"]
    assert figures["one call, 4 targets x 8 keys"] <= SLACK * ROUTING_BAR_US, figures
