from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from trunkline_server.telemetry.canonical import RpcRecord, emit
from trunkline_server.telemetry.logs import Log, _ForeignHandler, make_log
from trunkline_server.telemetry.sink import LineSink
from trunkline_server.telemetry.stack import stack_of

WORDS = "the prompt that nobody may see"


class Captured:
    """What was logged, once `lines` closed the sink."""

    def __init__(self, read_fd: int, sink: LineSink) -> None:
        self._read_fd = read_fd
        self.sink = sink

    def lines(self) -> list[dict[str, object]]:
        self.sink.close()
        return [json.loads(line) for line in os.read(self._read_fd, 1 << 20).splitlines()]


@contextmanager
def logged(level: str = "info", max_waiting: int = 100) -> Iterator[tuple[Log, Captured]]:
    read_fd, write_fd = os.pipe()
    sink = LineSink(write_fd, max_waiting=max_waiting)
    try:
        yield make_log(sink, level), Captured(read_fd, sink)
    finally:
        sink.close()
        os.close(read_fd)
        os.close(write_fd)


def record() -> RpcRecord:
    return RpcRecord("/trunkline.v1.CompletionService/Complete", caller="checkout", code="OK", attempts=1)


def test_a_call_is_one_line_of_json() -> None:
    """The line has the event, a level, a time, and the record's fields; what does not apply is left out."""
    with logged() as (log, captured):
        emit(log, record(), 0.5)
        (line,) = captured.lines()
    assert line.pop("timestamp")
    assert line == {
        "event": "rpc",
        "level": "info",
        "method": "/trunkline.v1.CompletionService/Complete",
        "caller": "checkout",
        "code": "OK",
        "attempts": 1,
        "duration_s": 0.5,
    }


def test_a_long_name_is_cut() -> None:
    """What a caller may make as long as it likes does not make a line as long as that."""
    long = record()
    long.model = "m" * 10_000
    with logged() as (log, captured):
        emit(log, long, 1.0)
        (line,) = captured.lines()
    assert len(str(line["model"])) == 200


def test_lines_below_the_level_are_not_written() -> None:
    """With log_level warning calls leave no lines, warnings and errors do."""
    with logged("warning") as (log, captured):
        emit(log, record(), 1.0)
        log.info("started")
        log.warning("open_to_everybody")
        log.error("exception")
        lines = captured.lines()
    assert [line["event"] for line in lines] == ["open_to_everybody", "exception"]


def test_an_unknown_level_is_refused() -> None:
    """The message names the levels that there are."""
    with logged() as (_, captured), pytest.raises(ValueError, match="debug, info, warning, error"):
        make_log(captured.sink, "loud")


def test_a_reader_that_stalls_costs_lines_and_says_how_many() -> None:
    """Lines beyond what may wait are dropped without blocking, and counted in a line of their own."""
    read_fd, write_fd = os.pipe()
    sink = LineSink(write_fd, max_waiting=10)
    filler = b"x" * 65_536
    sink.write(filler + filler)  # more than a pipe holds: the thread is stuck in this write
    while sink._lines:
        os.read(read_fd, 1)
    for _ in range(25):
        sink.write(b"{}")
    got = b""
    while b"log_lines_dropped" not in got:
        got += os.read(read_fd, 1 << 16)
    sink.close()
    os.close(read_fd)
    os.close(write_fd)
    assert json.loads(got.splitlines()[-1])["count"] == 15


def test_writing_to_a_closed_reader_harms_nobody() -> None:
    """When nobody can read any more the sink ends, and writing to it goes on without effect."""
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    sink = LineSink(write_fd, max_waiting=3)
    for _ in range(10):
        sink.write(b"{}")
    sink.close()
    os.close(write_fd)


def test_an_exception_is_told_by_type_and_place_only() -> None:
    """The chain of causes is shown with places in the code, and not a word of the messages."""

    def inner() -> None:
        raise KeyError(WORDS)

    def outer() -> None:
        prompt = WORDS
        try:
            inner()
        except KeyError as error:
            raise ValueError(prompt) from error

    with pytest.raises(ValueError, match=WORDS) as caught:
        outer()
    told = stack_of(caught.value)
    assert [each["type"] for each in told] == ["ValueError", "KeyError"]
    assert "outer" in str(told[0]["frames"])
    assert "inner" in str(told[1]["frames"])
    assert WORDS not in json.dumps(told)


def test_a_libraries_record_keeps_its_first_line_and_no_exception_text() -> None:
    """Records of the standard library's logging become the event `library`, their tracebacks places only."""
    with logged() as (log, captured):
        handler = _ForeignHandler(log)
        error = ValueError(WORDS)
        info = (type(error), error, error.__traceback__)
        made = logging.LogRecord("asyncio", logging.ERROR, __file__, 1, "never retrieved\n%s", (WORDS,), info)
        handler.handle(made)
        (line,) = captured.lines()
    assert (line["event"], line["logger"], line["said"]) == ("library", "asyncio", "never retrieved")
    assert WORDS not in json.dumps(line)
    assert "ValueError" in json.dumps(line)
