"""What a dialect is: one vendor's HTTP API, spoken by the simulator.

All dialects share one port, one scenario and one set of books. What is the same for all of them is done once: which
fault a request gets (`rules`), what the model says (`answer`), pace and breaks (`player`), limits (`capacity`), the
order of a request's life (`exchange`). A dialect is left with its vendor's words. To add one:

1. A package `simulator/<vendor>/` with a class that inherits `Dialect`, and one line in the table of `dialects.py`.
   It imports nothing of `providers`, and `scenario` only for types (the scenario knows the dialects' errors).
2. `claims` says by path (and header, where two vendors share a path) which requests are its own; the first dialect of
   the table that claims one gets it, `openai` gets the rest.
3. `key` finds the credential wherever the vendor has it: a bearer token, `x-api-key`, `x-goog-api-key` or `?key=`,
   `api-key`, the access key id of a SigV4 header. Whether the scenario accepts it is not its concern.
4. `read` decodes the body and checks it as strictly as the vendor does, in the vendor's words, and returns a `Job`. It
   is the tests' only guard against requests that the real service would refuse: unknown fields (if the scenario's
   `strict_parameters`), roles that must alternate, calls without results, ids of the wrong form, signatures that are
   not its own, figures out of range. It raises RefusedError, or returns a `Reply` for what is no job (lists of models,
   405, 404).
5. The job holds the neutral `Ask`, and writes one `Answer`: whole (`body`), or as `Events` of a stream. Events are
   bytes, one piece or several: SSE, or binary frames. What is no content (a block's start, a signature, a block's end)
   goes in front of the content that follows it, in the same bytes, or into `ending`: so `n` content chunks are `n`
   items of `contents()`, and a break after chunk n never closes what chunk n left open.
6. `errors` names every failure that can be asked for: all of `failure.COMMON_ERRORS`, and the vendor's own beyond
   them under names of their own, which a scenario may then use; `by_status` says which of them a bare status means.
   `reply` words one, `Events.error` puts one into a stream as the vendor does.
7. `limit_headers` tells a key's limits after each answered request, `headers` what else every answer of the vendor
   has, `retry_headers` when to come back.
8. Figures are honest: usage is `answer.prompt_tokens` and `answer.completion_tokens` (one chunk one token, reasoning
   included), in the vendor's fields and in the vendor's sense of them.
9. `tests/simulator/test_sim_dialects.py` holds for every dialect of the table; tests beside it use the vendor's
   official Python package as the client.

Finish reasons are named `stop`, `length`, `tool_calls`, `content_filter` in `Answer.finish_reason`; a dialect has a
table of its vendor's words for these and sends any other name as it is, since a scenario's `finish_reason` may be
anything. None stands for an end without one (`no_finish_reason`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

import msgspec

if TYPE_CHECKING:
    from trunkline_server.simulator.answer import Answer
    from trunkline_server.simulator.ask import Ask
    from trunkline_server.simulator.capacity import Reading
    from trunkline_server.simulator.failure import ErrorKind, Reply, Trouble
    from trunkline_server.simulator.scenario import Scenario

EVENT_STREAM_TYPE = "text/event-stream; charset=utf-8"

Headers = list[tuple[str, str]]
"""Response headers, names in lower case."""


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it arrived."""

    method: str
    path: str
    """Percent-decoded, without its query."""
    raw_path: str
    """As it was sent, with its query."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in any case."""
    body: bytes


class Mark(msgspec.Struct, frozen=True):
    """What tells one answer from another."""

    number: int
    """Of the request, from 1."""
    created_unix_s: float


class Events(Protocol):
    """The events of one stream, each ready to be framed and written; empty bytes where the vendor has no such event."""

    def __len__(self) -> int:
        """Return the number of items that `contents` yields."""
        ...

    def opening(self) -> bytes:
        """Return what comes before any content: who speaks, the id."""
        ...

    def contents(self) -> Iterator[bytes]:
        """Yield the content, reasoning before text before tool calls; never empty bytes."""
        ...

    def ending(self, *, done: bool) -> bytes:
        """Return all that comes after the content: open blocks' ends, the finish reason (unless it is None), usage.

        `done`: with the stream's own terminal sign (`[DONE]`, `message_stop`), if the vendor has one beside the reason.
        """
        ...

    def heartbeat(self) -> bytes:
        """Return what the vendor sends in a silence."""
        ...

    def malformed(self) -> bytes:
        """Return an event whose JSON is cut off inside an object, in good framing."""
        ...

    def error(self, trouble: Trouble) -> bytes:
        """Return an error inside the stream."""
        ...


class Job(Protocol):
    """A request that was read and checked, and how its answer is written. One a request."""

    @property
    def ask(self) -> Ask:
        """What is asked for."""
        ...

    @property
    def stream_type(self) -> str:
        """The content type of a stream."""
        ...

    def body(self, answer: Answer, mark: Mark) -> bytes:
        """Return the body of an answer without a stream."""
        ...

    def events(self, answer: Answer, mark: Mark) -> Events:
        """Return the events of a streamed answer; only asked for if `ask.stream`."""
        ...


class Dialect(ABC):
    """One vendor's API. Stateless: one serves all requests of all simulators."""

    name: ClassVar[str]
    """As the routes file calls the protocol."""
    base_path: ClassVar[str]
    """What comes after `http://HOST:PORT` in the base URL that clients of this vendor are given; may be empty."""
    errors: ClassVar[Mapping[str, ErrorKind]]
    """Every failure that can be asked for by name."""
    by_status: ClassVar[Mapping[int, str]]
    """The name that a bare status stands for; other statuses get some body of the vendor's form."""

    @abstractmethod
    def claims(self, request: Received) -> bool:
        """Say whether a request is of this vendor's API, a wrong one included."""

    @abstractmethod
    def key(self, request: Received) -> str:
        """Return the credential of a request; without one raise RefusedError."""

    @abstractmethod
    def read(self, request: Received, scenario: Scenario) -> Job | Reply:
        """Read and check a request that has an accepted key. Raises RefusedError."""

    @abstractmethod
    def reply(self, trouble: Trouble) -> Reply:
        """Word a refusal."""

    def named(self, trouble: Trouble) -> str | None:
        """Return the name of a trouble that is not worded by the scenario; None: its status means none of `errors`."""
        if trouble.name is None and trouble.status is None:
            return "server_error"
        return trouble.name or self.by_status.get(trouble.status or 500)

    def error_body(self, trouble: Trouble) -> bytes:
        """Return the JSON of an error that comes as the body of a 200."""
        return self.reply(trouble).body

    def headers(self, number: int) -> Headers:
        """Return what every answer has, that to request `number` for one: ids, versions."""
        del number
        return []

    def limit_headers(self, readings: Sequence[Reading]) -> Headers:
        """Return the headers that tell a key's limits."""
        del readings
        return []

    def retry_headers(self, retry_s: float) -> Headers:
        """Return the headers that say when to come back."""
        return [("retry-after", str(math.ceil(retry_s)))]
