"""Structured logs: one JSON object a line, on standard error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec
import structlog

from trunkline_server.telemetry.sink import LineSink
from trunkline_server.telemetry.stack import stack_of

LEVELS: Final[Mapping[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
"""The values of the `log_level` setting."""

_MAX_FOREIGN_CHARS = 300


class Log(Protocol):
    """What this program asks of a logger: an event's name and its fields."""

    def debug(self, event: str, **fields: Any) -> Any:
        """Say something that only helps to find a fault."""
        ...

    def info(self, event: str, **fields: Any) -> Any:
        """Say something that happened as it should."""
        ...

    def warning(self, event: str, **fields: Any) -> Any:
        """Say something that an operator should look at."""
        ...

    def error(self, event: str, **fields: Any) -> Any:
        """Say something that is a fault of ours."""
        ...

    def is_enabled_for(self, level: int) -> bool:
        """Tell whether lines of this level are written at all."""
        ...

    def write_line(self, line: bytes) -> None:
        """Write a line that is rendered already: a JSON object without a newline."""
        ...


class _SinkLogger:
    """The last link of structlog's chain: hands a rendered line to the sink."""

    __slots__ = ("_sink",)

    def __init__(self, sink: LineSink) -> None:
        self._sink = sink

    def msg(self, line: bytes) -> None:
        """Take a line; the names of all levels mean the same here."""
        self._sink.write(line)

    debug = info = warning = error = msg


class _JsonLog:
    """structlog's logger, and beside it the way for lines that are rendered already."""

    def __init__(self, logger: Any, sink: LineSink) -> None:
        self.debug = logger.debug
        self.info = logger.info
        self.warning = logger.warning
        self.error = logger.error
        self.is_enabled_for = logger.is_enabled_for
        self.write_line = sink.write


class _ForeignHandler(logging.Handler):
    """Takes the records of libraries that log by the standard library.

    Their messages may quote an exception's text below the first line, so only that line is kept.
    """

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Say the record as the event `library`."""
        fields: dict[str, Any] = {"logger": record.name, "said": _first_line(record)}
        if record.exc_info and record.exc_info[1] is not None:
            fields["error"] = stack_of(record.exc_info[1])
        if record.levelno >= logging.ERROR:
            self._log.error("library", **fields)
        elif record.levelno >= logging.WARNING:
            self._log.warning("library", **fields)
        else:
            self._log.debug("library", **fields)


def _first_line(record: logging.LogRecord) -> str:
    return record.getMessage().split("\n", 1)[0][:_MAX_FOREIGN_CHARS]


def make_log(sink: LineSink, log_level: str) -> Log:
    """Return a logger that writes JSON lines to `sink`. Raises ValueError for an unknown level."""
    if log_level not in LEVELS:
        raise ValueError(f"log_level must be one of {', '.join(LEVELS)}, not {log_level!r}")
    logger = structlog.wrap_logger(
        _SinkLogger(sink),
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.add_log_level,
            structlog.processors.JSONRenderer(serializer=_serialize),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[log_level]),
        context_class=dict,
        cache_logger_on_first_use=True,
    ).bind()
    return _JsonLog(logger, sink)


def _serialize(event: object, **_structlog_passes: object) -> bytes:
    return _ENCODER.encode(event)


_ENCODER = msgspec.json.Encoder(enc_hook=str)


def set_up_logs(log_level: str) -> tuple[Log, LineSink]:
    """Make the process's logger on standard error, and lead the standard library's records into it.

    The sink is the caller's to close when the process ends. Raises ValueError for an unknown level.
    """
    sink = LineSink(sys.stderr.fileno())
    log = make_log(sink, log_level)
    root = logging.getLogger()
    root.handlers[:] = [_ForeignHandler(log)]
    root.setLevel(max(LEVELS[log_level], logging.WARNING))
    return log, sink
