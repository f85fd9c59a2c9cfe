"""What all tests share: their size, their seed, and the programs of others that some of them need."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable

import pytest

Sized = Callable[..., int]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--full` (every "must hold" at its stated size), `--llamacpp` and `--seed`."""
    parser.addoption("--full", action="store_true", help="run every sized test at its stated size")
    parser.addoption("--llamacpp", action="store_true", help="run against llama.cpp's own server (scripts/llamacpp)")
    parser.addoption("--seed", type=int, default=None, help="seed of all random test input (printed at the start)")


def pytest_configure(config: pytest.Config) -> None:
    """Draw the seed of this run, and make Ctrl-C mean something."""
    # A shell starts what it puts into the background with SIGINT ignored, and so are all processes below it then.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("--seed") is None:
        config.option.seed = random.SystemRandom().randrange(2**32)


def pytest_report_header(config: pytest.Config) -> str:
    """Print what a run needs to be repeated."""
    size = "full" if config.getoption("--full") else "gate"
    llamacpp = "yes" if config.getoption("--llamacpp") else "left out (--llamacpp)"
    return f"size: {size}, seed: {config.getoption('--seed')} (repeat with --seed), llama.cpp: {llamacpp}"


@pytest.fixture
def sized(request: pytest.FixtureRequest) -> Sized:
    """Return the size of a test: `sized(full=10_000, gate=400)`; a gate's size is at least 1/50 of the full one."""

    def size(*, full: int, gate: int) -> int:
        assert gate * 50 >= full, "the gate's size is below 1/50 of the stated one"
        return full if request.config.getoption("--full") else gate

    return size


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Return a random source made of the run's seed and the test's name, so that tests do not depend on order."""
    return random.Random(f"{request.config.getoption('--seed')}:{request.node.nodeid}")


@pytest.fixture
def program() -> Callable[[str], str]:
    """Return the path of a program of others; without it the test is skipped, and fails in CI."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            message = f"{name} is not installed"
            if os.environ.get("CI"):
                pytest.fail(f"{message}; CI installs it, see .ci/run")
            pytest.skip(message)
        return path

    return find
