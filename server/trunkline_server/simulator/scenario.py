"""What the simulator can be told: scenarios, rules, faults.

A scenario is a YAML or JSON file, a `Scenario`, or the body of a control call. Every field is optional; the empty
scenario is a healthy provider that accepts any key and any model. Unknown fields are errors.

    seed: 7                          # of every probability and distribution
    accept_keys: [sk-a, sk-b]        # other keys get invalid_api_key (401); absent: any key
    known_models: [gpt-4o-mini]      # others get model_not_found (404); absent: any model
    prefill_models: [gpt-prefill]    # go on from an assistant's message at the end (below); absent: none does
    strict_parameters: true          # refuse unknown top-level fields as the vendor does (default); false: ignore
    capacity: {max_in_flight: 8, requests_per_minute: 600, tokens_per_minute: 90000, limiter: sliding}  # EACH key
    key_capacity: {sk-b: {requests_per_minute: 3, limiter: bucket}}      # replaces `capacity` for that key
    default: {first_byte_s: 0.2, chunk_gap_s: 0.02, chunks: 40}          # a fault; so are all values below
    keys: {sk-b: {status: 429, retry_after_s: 2}}
    models: {gpt-slow: {first_byte_s: {dist: lognormal, median_s: 0.8, sigma: 0.5}}}
    rules:                           # in order; the first that matches and fires is used
      - {key: sk-a, times: 1, fault: {status: 500}}                      # the first matching request only
      - {model: gpt-4o-mini, skip: 2, times: 3, fault: {cut_after_chunks: 5}}       # matching requests 3, 4, 5
      - {stream: true, every: 10, fault: {reset_after_chunks: 3}}        # every 10th: the 10th, 20th, …
      - {probability: 0.02, fault: {error: server_error}}

One request's behaviour is the layers `default`, `keys[key]`, `models[model]`, the first firing rule, and the request's
own `x-sim-fault` header, merged field by field, the later over the earlier. `fresh: true` in a layer drops all layers
below it. The order in a request's life: key → body parsed and checked as its vendor checks it → `first_byte_s`
→ a status or error → capacity → the answer with its breaks. Requests refused before the rules (401, 400, unknown model)
do not count in `times`, `skip` and `every`.

`x-sim-fault` is a JSON object of a fault (`{"status": 429, "retry_after_s": 1}`), or, if it does not start with a
brace, a comma-separated list: `status=429, retry_after_s=1`; a bare name is `true`; values are JSON where they parse
as JSON, text otherwise.

A fault (see `Fault` for each field):

    {status: 429, retry_after_s: 1.5}                    the vendor's usual body for that status, and a retry-after
    {error: insufficient_quota}                          a named error; `failure.COMMON_ERRORS`, and `VENDOR/errors.py`
    {status: 418, error: {message: no, type: x, code: y}}   any body of the vendor's shape
    {status: 307, headers: {location: "http://…"}, body: ""} · {status: 200, content_type: text/html, body: "<p>hi"}
    {first_byte_s: 0.3} · {chunk_gap_s: {dist: uniform, low_s: 0.01, high_s: 0.05}} · {dist: exponential, mean_s: 0.1}
    {chunks: 100, chunk_text: "tok "} · {content: "exactly this"}
    {reset_after_chunks: 0}          TCP reset before any byte; n: after n content chunks
    {cut_after_chunks: 3}            connection closed without terminal event
    {cut_after_bytes: 40}            of the body: Content-Length promised, or chunked without its terminator
    {stall_after_chunks: 2}          silent until the client goes, at most 600 s; with `stall_s` the answer goes on
    {error_after_chunks: 2, error: server_error}         error event inside the stream; 0: as its first event
    {error_after_chunks: 1, same_segment: true}          content and fault in one write (all five `…_after_chunks`)
    {malformed_after_chunks: 1}      half a JSON object as an event, then on. Unary: half an object as the body
    {no_finish_reason: true} · {no_done: true}           clean end without one or both of the terminal signs
    {empty: content} · {empty: choices}                  200 with nothing in it
    {tool_calls: 2, tool_pieces: 6}  two calls of the request's own tools, arguments in six pieces each
    {tool_calls: [{name: f, arguments: '{"half": '}]}    exactly these (a string goes out as it is, valid JSON or not)
    {reasoning: "let me think"} · {refusal: "I can't"} · {finish_reason: content_filter} · {heartbeat_s: 0.05}
    {goes_on: {repeat_bytes: 40}}    asked to go on (below), it says the last 40 bytes again before it does

`n` counts content chunks (text, reasoning, refusal and tool-argument pieces alike); the role chunk is none. With n = 0
a reset comes before any byte, the others after the response headers and before the role chunk; with `after_role` all
come after the role chunk. An n beyond the answer's length means after its last
content chunk, before the finish reason. Several may be combined (stall, then cut); at the same n the order is stall,
malformed, error, cut, reset. On a unary call, n = 0 is before any byte and n > 0 is after half of the body;
`error_after_chunks` is then a 200 whose body is the error object, as some gateways send it.

A request may hold the beginning of its own answer. One that ends with an assistant's text is answered by a model of
`prefill_models` with the rest alone; to other models it is a message like any other, and the answer is whole, as
OpenAI's models do it. One that ends with an assistant's text and a user's message (which asks, in whatever words, to go
on) is answered with the rest by a model that `goes_on`, after a repetition of at most `repeat_bytes` whole characters
(0: none). The answer is the one to the conversation before that text; if it does not begin with the text, white space
at its end apart, it is whole. Its chunks are those that are left, the first perhaps a part of one; limits and usage
count them alone, and reasoning does not come again after a prefill. The record of the request tells
`went_on_after_bytes`.

Refused connections are no fault of a request, since none arrives: `Simulator.refuse()`, or `refuse_for_s` in a control
call, closes the listening socket.

`GET /_control` answers counters and the last requests (`stats.py`), and the base URL of each protocol (`urls`).
`POST /_control` takes any of: `scenario` (replaces it), `patch` (merged into it: objects by key, null removes, lists
are replaced), `seed`, `reset: true` (counters and rule counts), `refuse_for_s`, `drop_connections: true` (resets all
others).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import yaml

from trunkline_server.simulator.delays import Delay, Seconds
from trunkline_server.simulator.dialects import ERROR_NAMES
from trunkline_server.simulator.errors import ScenarioError
from trunkline_server.simulator.failure import Wording

MAX_SCENARIO_BYTES = 4 * 1024 * 1024
"""A scenario file may be this large."""

Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
"""A number of chunks, pieces or requests."""

Positive = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
"""A limit: at least 1."""


Record = TypeVar("Record", bound=msgspec.Struct)


class ToolCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One tool call of a scripted answer."""

    name: str
    arguments: str | dict[str, Any] = "{}"
    """A string is sent as it is, also when it is no JSON."""
    id: str | None = None


class GoesOn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a model goes on from a text when a user's message asks it to."""

    repeat_bytes: Count = 0
    """At most so many bytes of the end of that text are said again first, in whole characters."""


class Fault(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, repr_omit_defaults=True
):
    """How one request is answered; a field that is None leaves it to the layer below."""

    fresh: bool | None = None
    """Forget all layers below this one."""

    # The answer.
    content: str | None = None
    """The whole text. Default: an echo of the last user message."""
    chunks: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    """Into how many pieces the text goes (with `chunk_text`: how often it is repeated). Default: one a word."""
    chunk_text: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    """Text of every chunk. One chunk is one token in the usage figures."""
    empty: Literal["content", "choices"] | None = None
    """`content`: an answer of no text; `choices`: an empty list of choices."""
    reasoning: str | None = None
    """Sent before the text as `reasoning_content`, one chunk a word."""
    refusal: str | None = None
    """Sent instead of the text, in the `refusal` field."""
    tool_calls: Count | list[ToolCall] | None = None
    """How many calls of the request's own tools, or exactly which calls."""
    tool_pieces: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None
    """Into how many chunks each call's arguments go. Default: 4."""
    tool_interleaved: bool | None = None
    """The pieces of parallel calls take turns instead of following one another."""
    goes_on: GoesOn | None = None
    """Asked by a user's message, it goes on from its text before that. Default: the message is answered like any."""
    finish_reason: str | None = None
    """Instead of the reason that the answer would have."""
    context_tokens: Positive | None = None
    """The model's window: larger prompts get 400 context_length_exceeded."""

    # Its pace.
    first_byte_s: Delay | None = None
    """Before the first byte of any answer, refusals included."""
    chunk_gap_s: Delay | None = None
    """Between two chunks of a stream."""
    heartbeat_s: Annotated[float, msgspec.Meta(ge=0.001, le=600)] | None = None
    """Streams: a comment line between two chunks, and each `heartbeat_s` of silence, stalls included."""

    # Refusals.
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] | None = None
    """HTTP status. 200 without `body` is the ordinary answer."""
    error: str | Wording | None = None
    """A name that the dialect has (brings its status), or a whole error object (status: 400 unless given)."""
    body: str | None = None
    """The whole body instead of an error object."""
    content_type: str | None = None
    """Of `body`. Default: application/json."""
    retry_after_s: Seconds | None = None
    """Sent where the vendor says it: `retry-after` (OpenAI's: `retry-after-ms` too), or in the body."""
    headers: dict[str, str] | None = None
    """More response headers, also on ordinary answers."""

    # Breaks.
    reset_after_chunks: Count | None = None
    cut_after_chunks: Count | None = None
    cut_after_bytes: Count | None = None
    stall_after_chunks: Count | None = None
    stall_s: Seconds | None = None
    """How long a stall lasts; the answer goes on afterwards. Default: until the client goes, at most 600 s."""
    error_after_chunks: Count | None = None
    malformed_after_chunks: Count | None = None
    no_finish_reason: bool | None = None
    no_done: bool | None = None
    same_segment: bool | None = None
    """The chunk before a fault, and the fault, in one write (with n ≤ 1: response headers and all before it too)."""
    after_role: bool | None = None
    """A fault at n = 0 comes after the role chunk."""
    framing: Literal["content_length", "chunked"] | None = None
    """Of unary bodies. Default: content_length."""

    def __post_init__(self) -> None:
        """Refuse names of errors that nobody knows, and headers that would break the response in two."""
        if isinstance(self.error, str) and self.error not in ERROR_NAMES:
            raise ValueError(f"unknown error {self.error!r}; known: {', '.join(sorted(ERROR_NAMES))}")
        for text in (*(self.headers or {}).items(), (self.content_type or "",)):
            if any(character in part for part in text for character in "\r\n\0"):
                raise ValueError("a header must not have a line break in it")


class Rule(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, repr_omit_defaults=True
):
    """A fault for some requests: those that match `key`, `model` and `stream`, thinned by the four counts."""

    fault: Fault
    key: str | None = None
    model: str | None = None
    stream: bool | None = None
    skip: Count = 0
    """The first n matching requests pass."""
    every: Annotated[int, msgspec.Meta(ge=1)] = 1
    """Of the rest, every n-th (the n-th, 2n-th, …)."""
    times: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """It fires at most so often."""
    probability: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    """Of those that are left, this share (seeded)."""


class Capacity(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, repr_omit_defaults=True
):
    """What one key may do; beyond it, the vendor's own 429 body and headers."""

    max_in_flight: Positive | None = None
    requests_per_minute: Positive | None = None
    tokens_per_minute: Positive | None = None
    """Prompt tokens, by estimate, and the most that may be answered."""
    limiter: Literal["sliding", "bucket"] = "sliding"
    """`sliding`: the last 60 s. `bucket`: refilled evenly, holding one second's worth (at least one request)."""


class Scenario(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, repr_omit_defaults=True
):
    """All that the simulator is told; the fields stand in this module's text."""

    seed: int = 0
    accept_keys: list[str] | None = None
    known_models: list[str] | None = None
    prefill_models: list[str] = msgspec.field(default_factory=list)
    strict_parameters: bool = True
    capacity: Capacity | None = None
    key_capacity: dict[str, Capacity] = msgspec.field(default_factory=dict)
    default: Fault = msgspec.field(default_factory=Fault)
    keys: dict[str, Fault] = msgspec.field(default_factory=dict)
    models: dict[str, Fault] = msgspec.field(default_factory=dict)
    rules: list[Rule] = msgspec.field(default_factory=list)


def parse_scenario(data: object, where: str = "scenario") -> Scenario:
    """Make a scenario of decoded YAML or JSON, or check one that was built in code.

    Raises ScenarioError, naming `where` and the field.
    """
    if isinstance(data, Scenario):
        data = msgspec.to_builtins(data)
    return _converted({} if data is None else data, Scenario, where)


def parse_fault(data: object, where: str = "fault") -> Fault:
    """Make a fault of decoded JSON, or raise ScenarioError."""
    return _converted(data, Fault, where)


def load_scenario(path: str | Path) -> Scenario:
    """Read a scenario file (YAML or JSON). Raises ScenarioError with the path and the field or line at fault."""
    file = Path(path)
    try:
        with file.open("rb") as stream:
            text = stream.read(MAX_SCENARIO_BYTES + 1)
    except OSError as failure:
        raise ScenarioError(f"{file}: {failure.strerror or failure}") from failure
    if len(text) > MAX_SCENARIO_BYTES:
        raise ScenarioError(f"{file}: larger than {MAX_SCENARIO_BYTES} bytes")
    try:
        data = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - a safe loader, in C where it was built
    except (yaml.YAMLError, UnicodeDecodeError) as failure:
        raise ScenarioError(f"{file}: not YAML: {_one_line(failure)}") from failure
    return parse_scenario(data, str(file))


def parse_fault_header(text: str) -> Fault:
    """Make a fault of the value of an `x-sim-fault` header, or raise ScenarioError."""
    text = text.strip()
    if not text.startswith("{"):
        return parse_fault(dict(map(_header_entry, filter(None, map(str.strip, text.split(","))))), "x-sim-fault")
    try:
        data = msgspec.json.decode(text)
    except msgspec.DecodeError as failure:
        raise ScenarioError(f"x-sim-fault: not JSON: {failure}") from failure
    return parse_fault(data, "x-sim-fault")


def _header_entry(entry: str) -> tuple[str, object]:
    name, equals, value = entry.partition("=")
    if not equals:
        return name.strip(), True
    try:
        return name.strip(), msgspec.json.decode(value.strip())
    except msgspec.DecodeError:
        return name.strip(), value.strip()


def _converted(data: object, record: type[Record], where: str) -> Record:
    try:
        return msgspec.convert(data, record)
    except msgspec.ValidationError as failure:
        problem, _, field = str(failure).partition(" - at `$")
        field = field.removesuffix("`").lstrip(".")
        raise ScenarioError(": ".join(filter(None, (where, field, problem)))) from failure


def _one_line(failure: Exception) -> str:
    return " ".join(str(failure).split())
