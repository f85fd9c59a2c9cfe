"""Ctrl-C at any moment of a call."""

from __future__ import annotations

import os
import random
import signal
import threading
import time

import pytest
from tests.cli.conftest import Run
from tests.cli.fake_admin import FakeAdmin

from trunkline import v1 as pb
from trunkline_server.cli.interrupts import cancelled_by_ctrl_c


def test_ctrl_c_at_any_moment_of_a_watch_ends_it(fake: FakeAdmin, run: Run) -> None:
    """Whenever the signal comes, the exit code is 130 and nothing is swallowed."""
    fake.hold.clear()
    fake.answers["WatchRoutes"] = [pb.WatchRoutesResponse() for _ in range(5)]
    drawn = random.Random(5)
    for _ in range(100):
        fake.said_all.clear()
        delay_s = drawn.random() * 0.002

        def shoot(delay_s: float = delay_s) -> None:
            assert fake.said_all.wait(10)
            time.sleep(delay_s)  # the random moment
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=shoot)
        thread.start()
        ended = run("routes", "watch", "--json")
        thread.join(10)
        assert ended.code == 130
        assert "ignored" not in ended.err


def test_a_block_that_goes_on_is_interrupted_nevertheless() -> None:
    """What hangs elsewhere than in a call is interrupted the ordinary way."""
    cancelled, went_on = threading.Event(), threading.Event()

    def block() -> None:
        with cancelled_by_ctrl_c(cancelled.set):
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(20)
            went_on.set()

    with pytest.raises(KeyboardInterrupt):
        block()
    assert not went_on.is_set()
    assert cancelled.is_set()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
