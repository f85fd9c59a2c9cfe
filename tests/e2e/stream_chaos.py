"""The setting of the chaos of streams: upstreams that fail in every way, requests of every kind, and what is right.

What an upstream says is a function of the request, so whoever holds an answer can say whether it is that one, a
beginning of it, or something that nobody said.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.duration_pb2 import Duration
from tests.e2e.conftest import ask

from trunkline.v1 import (
    ON_BREAK_CONTINUE,
    ON_BREAK_FAIL,
    ON_BREAK_RESTART,
    ON_BREAK_UNSPECIFIED,
    Continuation,
    End,
    FunctionTool,
    JsonSchemaFormat,
    OutputFormat,
    RoutingOptions,
    Sampling,
    Tool,
    ToolChoice,
)

if TYPE_CHECKING:
    import random

    from trunkline import Answer
    from trunkline.v1 import AttemptSummary, CompleteRequest

CALLERS = 8
SLOTS = 40
"""The most that a gate is ever resized to."""
REPEATED_BYTES = 40
"""What a model that is asked to go on says again first."""
CUT_FROM_BYTES = 16
REFUSAL = "I would rather not say. "
HALF = '{"half": '
REASONING = "let me think about it "
LARGE_CHUNK = "".join(f"{number:04d} " for number in range(1600))
LARGE_TEXT = LARGE_CHUNK * 80
"""640 KB: more than waits anywhere between the upstream and a reader that pauses."""

_PROVIDER = """
    gate: {{max_in_flight: 24, queue: 24, max_wait_s: 0.5}}
    timeouts: {{connect_s: 1, first_token_s: 0.4, stall_s: 0.4}}
    circuit: {{open_s: 0.5, ramp_s: 0.6, open_max_s: 1}}
    retry_budget: {{ratio: 0.5, floor_per_s: 20}}"""

ROUTES = (
    "version: 1\nproviders:\n"
    "  one:\n    protocol: openai\n    base_url: {base}\n"
    "    keys: [{{id: a, secret: env:ONE_A_API_KEY, weight: 2}}, {{id: b, secret: env:ONE_B_API_KEY}}]"
    + _PROVIDER
    + "\n  two:\n    protocol: openai\n    base_url: {base}\n    transport: httpx\n"
    "    keys: [{{id: c, secret: env:TWO_C_API_KEY}}]" + _PROVIDER + "\nmodels:\n"
    + "".join(
        f"  {target}: {{{{capabilities: [tools, json_schema, logprobs, prefill]}}}}\n"
        for target in ("one/primary", "two/other", "one/large", "two/large")
    )
    + "  two/prompted: {{capabilities: [tools, json_schema, logprobs]}}\naliases:\n"
    + "".join(
        f"  {alias}:\n    tiers: [[{{{{target: one/primary, weight: 3}}}}, {{{{target: two/other, weight: 2}}}}],"
        " [two/prompted]]\n    allow_prompted_continuation: true\n    on_break: CONTINUE\n" + hedge
        for alias, hedge in (("plain", ""), ("hedged", "    hedge: {{enabled: true}}\n"))
    )
    + "  large: {{tiers: [[one/large, two/large]], on_break: CONTINUE}}\n"
    "callers:\n"
    + "".join(
        f"  - {{{{id: c{number}, token_sha256: {hashlib.sha256(f'token-{number}'.encode()).hexdigest()}, "
        "aliases: [plain, hedged, large]}}\n"
        for number in range(CALLERS)
    )
    + "server: {{detach_s: 0.5}}\n"
)  # fmt: skip

FAULTS: tuple[dict[str, Any], ...] = (
    {"status": 500},
    {"status": 503},
    {"status": 529},
    {"status": 429, "retry_after_s": 0.05},
    {"status": 400},
    {"status": 404},
    {"error": "gateway_timeout"},
    {"status": 307, "body": ""},
    {"status": 200, "body": "<p>hi", "content_type": "text/html"},
    {"reset_after_chunks": 0},
    {"reset_after_chunks": 3},
    {"reset_after_chunks": 5},
    {"cut_after_chunks": 0},
    {"cut_after_chunks": 0, "after_role": True},
    {"cut_after_chunks": 2},
    {"cut_after_chunks": 4},
    {"cut_after_chunks": 7},
    {"cut_after_chunks": 1, "same_segment": True},
    {"cut_after_bytes": 40},
    {"cut_after_bytes": 900},
    {"stall_after_chunks": 0},
    {"stall_after_chunks": 2},
    {"stall_after_chunks": 2, "heartbeat_s": 0.01},
    {"stall_after_chunks": 3, "stall_s": 0.1},
    {"error_after_chunks": 0, "error": "server_error"},
    {"error_after_chunks": 2, "error": "server_error"},
    {"error_after_chunks": 4, "error": "overloaded", "same_segment": True},
    {"malformed_after_chunks": 1},
    {"malformed_after_chunks": 4},
    {"no_finish_reason": True, "no_done": True},
    {"no_finish_reason": True},
    {"no_done": True},
    {"empty": "content"},
    {"empty": "choices"},
    {"first_byte_s": 0.1},
    {"chunk_gap_s": 0.01},
    {"chunk_gap_s": {"dist": "exponential", "mean_s": 0.01}, "heartbeat_s": 0.005},
    {"tool_calls": [{"name": "weather", "arguments": HALF}]},
    {"tool_calls": 2, "tool_pieces": 6, "tool_interleaved": True},
    {"tool_calls": 2, "cut_after_chunks": 2},
    {"tool_calls": 2, "cut_after_chunks": 6},
    {"reasoning": REASONING},
    {"reasoning": REASONING, "cut_after_chunks": 7},
    {"refusal": REFUSAL},
    {"refusal": REFUSAL, "cut_after_chunks": 2},
    {"finish_reason": "length"},
    {"finish_reason": "content_filter"},
)
"""All that the simulator can do to a stream, but for rejected and exhausted keys, after which there would be no more
calls. Refused and reset connections come beside them."""

FAULTY_SHARE = 0.55


def healthy() -> dict[str, Any]:
    """Return a scenario without faults: what is right is learned from it."""
    return {
        "prefill_models": ["primary", "other", "large"],
        "models": {
            "prompted": {"goes_on": {"repeat_bytes": REPEATED_BYTES}},
            "large": {"chunk_text": LARGE_CHUNK, "chunks": 80},
        },
    }


def faulty(seed: int) -> dict[str, Any]:
    """Return a scenario in which every fault is about equally likely, drawn by `seed`."""
    # Each rule sees what the ones before it left over.
    left, rules = 1.0, []
    each = FAULTY_SHARE / len(FAULTS)
    for fault in FAULTS:
        rules.append({"probability": each / left, "fault": fault})
        left -= each
    return {**healthy(), "seed": seed, "rules": rules}


@dataclass(frozen=True, slots=True)
class Job:
    """One request, and what its caller does while it comes."""

    request: CompleteRequest
    text: str
    """The whole text of the right answer."""
    caller: int
    timeout_s: float
    leaves: str
    """`never`, `for good`, or `and comes back`."""
    pauses: bool


TOOL = Tool(
    function=FunctionTool(
        name="weather",
        parameters_json_schema=json.dumps(
            {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["city", "days"],
            }
        ),
    )
)
_SCHEMA = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("city", "country", "forecast")},
    "required": ["city", "country", "forecast"],
    "additionalProperties": False,
}
JSON_OUTPUT = OutputFormat(json_schema=JsonSchemaFormat(name="weather", schema_json=json.dumps(_SCHEMA)))
_ON_BREAK = (ON_BREAK_UNSPECIFIED, ON_BREAK_FAIL, ON_BREAK_RESTART, ON_BREAK_CONTINUE, ON_BREAK_CONTINUE)


FORCED = ToolChoice(mode=ToolChoice.MODE_REQUIRED)


@dataclass(frozen=True, slots=True)
class Right:
    """What healthy upstreams say where it is not an echo; learned from them."""

    json_text: str
    arguments: str
    """Of every tool call."""


def job(rng: random.Random, number: int, right: Right) -> Job:
    """Draw a request."""
    words = " ".join(f"{number}-{place}-{rng.choice(('kůň', 'cat', '東京', 'a-longer-word'))}" for place in range(12))
    text = f"You said: {words}"
    routing = RoutingOptions(on_break=rng.choice(_ON_BREAK))
    kind = rng.choices(("text", "logprobs", "limit", "tools", "forced", "json", "large"), (50, 5, 5, 15, 5, 15, 1))[0]
    request = ask(words, model="large" if kind == "large" else rng.choice(("plain", "hedged")))
    if kind in {"tools", "forced"}:
        request.tools.append(TOOL)
    if kind == "forced":
        request.tool_choice.CopyFrom(FORCED)
        text = ""
    elif kind == "json":
        request.output.CopyFrom(JSON_OUTPUT)
        text = right.json_text
    elif kind == "large":
        text = LARGE_TEXT
    elif kind == "logprobs":
        request.sampling.CopyFrom(Sampling(top_logprobs=1))
    elif kind == "limit":
        request.sampling.CopyFrom(Sampling(max_output_tokens=10_000))
    if rng.random() < 0.1:
        routing.heartbeat.CopyFrom(Duration(nanos=50_000_000))
    if rng.random() < 0.1:
        routing.usage_every.CopyFrom(Duration(nanos=50_000_000))
    routing.announce_early = rng.random() < 0.1
    routing.detachable = rng.random() < 0.25
    leaves = rng.choices(("never", "for good", "and comes back"), (1, 1, 3) if routing.detachable else (5, 1, 0))[0]
    request.routing.CopyFrom(routing)
    timeout_s = 0.15 if rng.random() < 0.04 else 30.0
    return Job(request, text, rng.randrange(CALLERS), timeout_s, leaves, rng.random() < 0.1)


def wrong(made: Job, right: Right, answer: Answer) -> str:
    """Return what is wrong with an answer, whole or partial; empty if it is what the attempts that count said."""
    if problem := _wrong_besides(right, answer):
        return problem
    text = _with_repetition(made.text, answer)
    if not text.startswith(answer.text):
        return "text that nobody said"
    if answer.outcome != End.OUTCOME_COMPLETE or answer.text == text:
        return ""
    # The last attempt may have said that it was done without the text: with calls, with a refusal, with nothing at all.
    if answer.tool_calls or answer.open_tool_calls or answer.refusal or _finished(answer).bytes_emitted == 0:
        return ""
    return "half a text that is called complete"


def _wrong_besides(right: Right, answer: Answer) -> str:
    """Return what is wrong with all of an answer that is not text."""
    if not REFUSAL.startswith(answer.refusal) or not (REASONING * 2).startswith(answer.thinking):
        return "a refusal or a thought that nobody had"
    if any(call.arguments_json != right.arguments for call in answer.tool_calls):
        return "a tool call that nobody made"
    if not all(
        right.arguments.startswith(call.arguments_json) or HALF.startswith(call.arguments_json)
        for call in answer.open_tool_calls
    ):
        return "half a tool call that nobody began"
    return ""


def _finished(answer: Answer) -> AttemptSummary:
    """Return the attempt that came to its end."""
    return next(each for each in answer.attempts if not each.HasField("error"))


def _with_repetition(text: str, answer: Answer) -> str:
    """Return the text as it is right to show it: a repetition that is too short to be sure of stays in it."""
    for seam in answer.seams:
        if seam.continuation.method == Continuation.METHOD_PROMPTED and not seam.continuation.overlap_bytes:
            so_far = text[: seam.text_at]
            sent = so_far.rstrip()
            said_again = sent.encode()[-REPEATED_BYTES:].decode(errors="ignore")
            if len(said_again.encode()) < CUT_FROM_BYTES:
                return so_far + said_again + so_far[len(sent) :] + text[seam.text_at :]
    return text
