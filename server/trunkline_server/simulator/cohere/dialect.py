"""Cohere's API: its paths, its key, its headers; each path's request and answer is a job of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from trunkline_server.simulator.cohere.chat import read_chat
from trunkline_server.simulator.cohere.embed import read_embed
from trunkline_server.simulator.cohere.errors import (
    BY_STATUS,
    ERRORS,
    RequestRefusedError,
    error_answer,
    error_body,
    error_words,
)
from trunkline_server.simulator.dialect import Dialect
from trunkline_server.simulator.failure import Reply

if TYPE_CHECKING:
    from trunkline_server.simulator.capacity import Reading
    from trunkline_server.simulator.dialect import Headers, Job, Received
    from trunkline_server.simulator.failure import ErrorKind, Trouble
    from trunkline_server.simulator.scenario import Scenario

JOBS: Mapping[str, Callable[[bytes, Scenario], Job]] = {"/v2/chat": read_chat, "/v2/embed": read_embed}
"""What reads the body of a POST to each path; raises RefusedError."""

_VERSION = "/v2/"


class CohereDialect(Dialect):
    """Cohere's own API, version 2."""

    name: ClassVar[str] = "cohere"
    base_path: ClassVar[str] = ""
    errors: ClassVar[Mapping[str, ErrorKind]] = ERRORS
    by_status: ClassVar[Mapping[int, str]] = BY_STATUS

    def claims(self, request: Received) -> bool:
        """See Dialect."""
        return request.path.startswith(_VERSION)

    def key(self, request: Received) -> str:
        """See Dialect."""
        kind, _, key = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not key:
            raise RequestRefusedError(ERRORS["missing_api_key"].message, 401)
        return key

    def read(self, request: Received, scenario: Scenario) -> Job | Reply:
        """See Dialect."""
        reader = JOBS.get(request.path)
        if reader is None:
            return Reply(404, b"404 page not found", "text/plain; charset=utf-8")
        if request.method != "POST":
            return Reply(405, error_body("method not allowed"))
        return reader(request.body, scenario)

    def reply(self, trouble: Trouble) -> Reply:
        """See Dialect."""
        return error_answer(trouble, self.named(trouble))

    def error_body(self, trouble: Trouble) -> bytes:
        """See Dialect."""
        return error_body(error_words(trouble))

    def headers(self, number: int) -> Headers:
        """See Dialect."""
        return [("x-debug-trace-id", f"{number:032x}")]

    def limit_headers(self, readings: Sequence[Reading]) -> Headers:
        """See Dialect: the calls a minute of a trial key; tokens and times are told by nothing."""
        found: Headers = []
        for reading in readings:
            if reading.kind == "requests":
                found += (
                    ("x-endpoint-monthly-call-limit", "1000"),
                    ("x-trial-endpoint-call-limit", str(reading.limit)),
                    ("x-trial-endpoint-call-remaining", str(reading.remaining)),
                )
        return found

    def retry_headers(self, retry_s: float) -> Headers:
        """See Dialect: this vendor does not say when to come back."""
        del retry_s
        return []
