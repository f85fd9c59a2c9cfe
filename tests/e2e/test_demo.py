from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PROMISED = (
    "1. a call by alias",
    "served by acme/steady",
    "2. a stream",
    "end: COMPLETE",
    "3. a 429 on one key",
    "KEY_WALK: ok",
    "4. an outage",
    "FAILOVER: ok",
    "5. a stream cut in the middle",
    "attempt_failed: attempt 1 broke",
    "end: FAILED",
    "failed: ABORTED STREAM_BROKEN",
    "6. the same stream, asked to CONTINUE",
    "on_break CONTINUE; next: CONTINUING",
    "CONTINUATION: ok",
    "end: COMPLETE",
    "7. a full queue",
    "failed: RESOURCE_EXHAUSTED QUEUE_FULL",
    "retry after: ",
    "grpc-retry-pushback-ms: ",
    "go on by hand",
    "grpcurl -plaintext",
)


MARKER = "DEMO_TEST_MARKER"


def of_this_demo(value: Path) -> list[str]:
    """Return the command lines of living processes that carry the marker with this value in their environment."""
    found = []
    marker = f"{MARKER}={value}"
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # it ended while we looked, or belongs to somebody else
    return found


needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")


@needs_proc
def test_the_demo_shows_what_it_promises_and_leaves_nothing(tmp_path: Path) -> None:
    """scripts/demo shows all of its steps in order within two screens, ends with 0, and no process of it is left."""
    done = subprocess.run(
        [ROOT / "scripts/demo"],
        env={**os.environ, MARKER: str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rest = done.stdout
    for line in PROMISED:
        assert line in rest, f"{line!r} was not shown, or not in its place:\n{done.stdout}"
        rest = rest.partition(line)[2]
    assert done.stdout.count("\n") <= 80
    assert of_this_demo(tmp_path) == []


@needs_proc
def test_a_demo_that_is_ended_from_outside_leaves_nothing(tmp_path: Path) -> None:
    """A SIGTERM in the middle of a step ends the demo and all that it started."""
    process = subprocess.Popen(
        [ROOT / "scripts/demo"],
        env={**os.environ, MARKER: str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "2. a stream" in line:
            break
    process.terminate()
    process.stdout.read()
    process.stdout.close()
    assert process.wait(60) == 128 + signal.SIGTERM
    assert of_this_demo(tmp_path) == []


def test_the_demo_names_the_step_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that does not show what it promises fails the demo, whatever its exit code."""
    monkeypatch.syspath_prepend(str(ROOT))
    from scripts.demo_processes import DemoError
    from scripts.demo_steps import STEPS, check

    step = STEPS[2]
    shown = "Who has room?\nattempt 1: acme/limited key team-a FIRST: RATE_LIMITED (HTTP 429) after 0.1 s\n"
    with pytest.raises(DemoError, match=r"step 3 .*KEY_WALK"):
        check(3, step, shown, 0)
    walked = shown + "attempt 2: acme/limited key spare KEY_WALK: ok after 0.1 s\n"
    with pytest.raises(DemoError, match="exit code 1, promised was 0"):
        check(3, step, walked, 1)
    check(3, step, walked, 0)
