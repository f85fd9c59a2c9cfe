"""Rests between pieces of long work."""

from __future__ import annotations

import random
import time

from scripts.benchmarks.storm_routes import document

from trunkline_server.config.load import parse
from trunkline_server.config.pause import REST_S, WORK_S, Rests


class Watch:
    """Notes how long the work between two calls took, in CPU time of this thread."""

    def __init__(self) -> None:
        self.pieces_s: list[float] = []
        self._since_s = time.thread_time()

    def __call__(self) -> None:
        now_s = time.thread_time()
        self.pieces_s.append(now_s - self._since_s)
        self._since_s = now_s


def test_a_document_is_read_in_small_pieces() -> None:
    """Whoever reads 1,000 lines may rest all the time: nine of ten pieces take no longer than one should."""
    watch = Watch()
    assert parse(document("http://127.0.0.1:9/v1", random.Random(1)), name="x", pause=watch).document is not None
    pieces_s = sorted(watch.pieces_s)
    assert len(pieces_s) > 100
    assert pieces_s[len(pieces_s) * 9 // 10] < WORK_S


def test_work_is_followed_by_a_rest_and_idleness_by_none() -> None:
    """A call rests only if the thread has worked for long enough since the last one."""
    rests = Rests()
    began_s = time.perf_counter()
    while time.perf_counter() - began_s < WORK_S:
        pass
    rests()
    rested_s = time.perf_counter()
    assert rested_s - began_s >= WORK_S + REST_S
    before = time.process_time()
    rests()
    assert time.process_time() - before < REST_S


def test_what_is_read_with_rests_is_the_same() -> None:
    """Rests change nothing but the time."""
    text = document("http://127.0.0.1:9/v1", random.Random(2))
    assert parse(text, name="x", pause=Rests()).document == parse(text, name="x").document
