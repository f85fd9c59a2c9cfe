"""The steps of scripts/demo: each runs a real `trunkline` command and must show what its heading promises.

Start it through `scripts/demo`. Exit code 0: all steps showed it and everything that was started has ended. 1: the step
that did not is named.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from scripts.demo_processes import (
    TERMINATION,
    DemoError,
    Running,
    check_nothing_left,
    first_to_end,
    run_shown,
    wait_for_slow_call,
)

SCRIPTS = Path(__file__).resolve().parent
TRUNKLINE = str(SCRIPTS.parent / ".venv/bin/trunkline")
ANY_PORT = "127.0.0.1:0"
SECRETS = {
    "TRUNKLINE_SECRET_DEMO_A": "sk-team-a",
    "TRUNKLINE_SECRET_DEMO_SPARE": "sk-spare",
    "TRUNKLINE_SECRET_DEMO_BACKUP": "sk-backup",
    "TRUNKLINE_SECRET_DEMO_NARROW": "sk-narrow",
}
"""No secrets: the simulator takes any text for a key."""


@dataclass(frozen=True)
class Step:
    """One thing to be seen."""

    heading: str
    arguments: tuple[str, ...]
    """Of `trunkline`."""
    promised: tuple[str, ...]
    """Patterns that must be found in what the command prints, in this order."""
    exit_code: int = 0


STEPS = (
    Step(
        "a call by alias: the caller says `default`, the router decides who serves it",
        ("complete", "Hello, world"),
        (r"Hello, world", r"attempt 1: acme/steady key team-a FIRST: ok", r"served by acme/steady"),
    ),
    Step(
        "a stream: text as it comes, and one `end` that says how it ended",
        ("complete", "--stream", "These words come one by one, as the provider sends them."),
        (r"one by one", r"end: COMPLETE by acme/steady"),
    ),
    Step(
        "a 429 on one key: another key of the same target serves (KEY_WALK)",
        ("complete", "--model", "limited", "Who has room?"),
        (
            r"Who has room\?",
            r"attempt 1: acme/limited key team-a FIRST: RATE_LIMITED \(HTTP 429\)",
            r"attempt 2: acme/limited key spare KEY_WALK: ok",
        ),
    ),
    Step(
        "an outage: the next target serves (FAILOVER)",
        ("complete", "--model", "outage", "Is anybody there?"),
        (
            r"Is anybody there\?",
            r"attempt 1: acme/down key team-a FIRST: OVERLOADED \(HTTP 503\)",
            r"attempt 2: backup/steady key backup-key FAILOVER: ok",
        ),
    ),
    Step(
        "a stream cut in the middle: the partial-stream error frame, the end, and a status that agrees",
        ("complete", "--stream", "--model", "fragile", "Tell me something long"),
        (
            r"The answer that you are",
            r"attempt_failed: attempt 1 broke: acme/cut-off key team-a: TRUNCATED",
            r"\d+ bytes delivered; on_break FAIL; next: GIVING_UP",
            r"end: FAILED",
            r"failed: ABORTED STREAM_BROKEN",
        ),
        exit_code=1,
    ),
    Step(
        "the same stream, asked to CONTINUE: another provider goes on from where it broke, and the seam is shown",
        ("complete", "--stream", "--on-break", "continue", "--model", "fragile", "Tell me something long"),
        (
            r"The answer that you are",
            r"attempt_failed: attempt 1 broke: acme/cut-off key team-a: TRUNCATED",
            r"on_break CONTINUE; next: CONTINUING",
            r"was going to be longer than this\.",
            r"attempt 2: backup/same key backup-key CONTINUATION: ok",
            r"end: COMPLETE",
        ),
    ),
)

HOLDER = ("complete", "--model", "busy", "I hold the only slot")
TWO_MORE = Step(
    "a full queue: one call has the slot, one waits, the next is refused with the reason and how long to stay away",
    ("complete", "--model", "busy", "Me too, please"),
    (r"failed: RESOURCE_EXHAUSTED QUEUE_FULL", r"retry after: [\d.]+ s", r"grpc-retry-pushback-ms: \d+"),
    exit_code=1,
)

BY_HAND = """
── go on by hand ──
keep a server running (it brings the simulated provider along):
  .venv/bin/trunkline serve
and in another shell:
  grpcurl -plaintext -d '{"model":"default","messages":[{"role":"ROLE_USER","parts":[{"text":"hi"}]}]}' \\
    127.0.0.1:50051 trunkline.v1.CompletionService/StreamComplete"""


def head(number: int, step: Step) -> None:
    """Print what a step is about, and its command."""
    print(f"\n── {number}. {step.heading} ──\n$ trunkline {shlex.join(step.arguments)}", flush=True)


def check(number: int, step: Step, text: str, code: int) -> None:
    """Raise DemoError if what a step's command printed, or its exit code, is not what was promised."""
    rest = text
    for pattern in step.promised:
        found = re.search(pattern, rest)
        if found is None:
            raise DemoError(f"step {number} ({step.heading}): nothing that matches {pattern!r} was shown")
        rest = rest[found.end() :]
    if code != step.exit_code:
        raise DemoError(f"step {number} ({step.heading}): exit code {code}, promised was {step.exit_code}")


def show_full_queue(number: int, simulator: str, environment: dict[str, str], scratch: Path) -> None:
    """Fill the slot, then send two calls for the one place in the queue: whichever comes last is refused."""
    head(number, TWO_MORE)
    with ExitStack() as stack:

        def call(name: str, arguments: tuple[str, ...]) -> Running:
            command = [TRUNKLINE, *arguments]
            return stack.enter_context(Running(name, command, environment, scratch, stop_with=signal.SIGINT))

        call("the call that has the slot", HOLDER)
        wait_for_slow_call(simulator)
        two = [call(f"call {count} for the queue", TWO_MORE.arguments) for count in (1, 2)]
        text, code = first_to_end(two)
        print(text, end="", flush=True)
        check(number, TWO_MORE, text, code)


def demonstrate(stack: ExitStack, scratch: Path) -> None:
    """Start simulator and server, and go through all steps; `stack` ends what was started."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")},
        **SECRETS,
    }
    scenario = ("--scenario", str(SCRIPTS / "demo_scenario.yaml"))
    upstream = stack.enter_context(
        Running("simulator", [TRUNKLINE, "upstream", "--listen", ANY_PORT, *scenario], environment, scratch)
    )
    simulator = upstream.ready(r"ready upstream=http://(\S+)/v1\n")
    routes = scratch / "routes.yaml"
    routes.write_text((SCRIPTS / "demo_routes.yaml").read_text().replace("SIMULATOR", simulator))
    ports = ("--listen", ANY_PORT, "--admin-listen", ANY_PORT, "--http-listen", ANY_PORT)
    server = stack.enter_context(
        Running("server", [TRUNKLINE, "serve", "--routes", str(routes), *ports], environment, scratch)
    )
    listen = server.ready(r"ready listen=(\S+) .*\n")
    print(f"simulated provider at {simulator}, routes from scripts/demo_routes.yaml, server at {listen}")
    print(f"(for the commands below: export TRUNKLINE_SERVER={listen})")
    environment["TRUNKLINE_SERVER"] = listen
    number = 0
    for number, step in enumerate(STEPS, 1):
        head(number, step)
        text, code = run_shown([TRUNKLINE, *step.arguments], environment)
        check(number, step, text, code)
    show_full_queue(number + 1, simulator, environment, scratch)


def main() -> int:
    """Run the demo; return the exit code."""
    # Ended from outside, we still end what we started.
    TERMINATION.install()
    try:
        with tempfile.TemporaryDirectory(prefix="trunkline-demo-") as scratch, ExitStack() as stack:
            demonstrate(stack, Path(scratch))
        check_nothing_left()
    except DemoError as error:
        print(f"\nscripts/demo: FAILED: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        TERMINATION.end_all()
    print(BY_HAND)
    return 0


if __name__ == "__main__":
    sys.exit(main())
