"""How the answer is drawn: every figure within its range."""

from __future__ import annotations

import math
from collections.abc import Sequence

from trunkline import v1 as pb
from trunkline_server.chat.request import ReasoningEffort, Sampling
from trunkline_server.rpc.violations import Violations

MAX_STOPS = 16
MAX_STOP_BYTES = 256
MAX_TOKENS = 2**31 - 1
"""No model writes as much; above it stand the casts of negative numbers."""
MAX_TOP_LOGPROBS = 20

_EFFORTS: dict[int, ReasoningEffort | None] = {
    pb.REASONING_EFFORT_UNSPECIFIED: None,
    pb.REASONING_EFFORT_NONE: ReasoningEffort.NONE,
    pb.REASONING_EFFORT_MINIMAL: ReasoningEffort.MINIMAL,
    pb.REASONING_EFFORT_LOW: ReasoningEffort.LOW,
    pb.REASONING_EFFORT_MEDIUM: ReasoningEffort.MEDIUM,
    pb.REASONING_EFFORT_HIGH: ReasoningEffort.HIGH,
    pb.REASONING_EFFORT_MAX: ReasoningEffort.MAX,
}


def decode_sampling(sampling: pb.Sampling, found: Violations) -> Sampling:
    """Return the settings; what is unset is None."""
    is_set = sampling.HasField
    effort = sampling.reasoning_effort
    if effort not in _EFFORTS:
        found.add("sampling.reasoning_effort", f"unknown value {effort}")
    return Sampling(
        temperature=_real("temperature", sampling.temperature, 0, 2, found) if is_set("temperature") else None,
        top_p=_real("top_p", sampling.top_p, 0, 1, found) if is_set("top_p") else None,
        top_k=_whole("top_k", sampling.top_k, 1, MAX_TOKENS, found) if is_set("top_k") else None,
        max_output_tokens=_whole("max_output_tokens", sampling.max_output_tokens, 1, MAX_TOKENS, found)
        if is_set("max_output_tokens")
        else None,
        stop=_stops(sampling.stop, found),
        seed=sampling.seed if is_set("seed") else None,
        frequency_penalty=_real("frequency_penalty", sampling.frequency_penalty, -2, 2, found)
        if is_set("frequency_penalty")
        else None,
        presence_penalty=_real("presence_penalty", sampling.presence_penalty, -2, 2, found)
        if is_set("presence_penalty")
        else None,
        top_logprobs=_whole("top_logprobs", sampling.top_logprobs, 0, MAX_TOP_LOGPROBS, found)
        if is_set("top_logprobs")
        else None,
        reasoning_effort=_EFFORTS.get(effort),
        reasoning_max_tokens=_whole("reasoning_max_tokens", sampling.reasoning_max_tokens, 0, MAX_TOKENS, found)
        if is_set("reasoning_max_tokens")
        else None,
    )


def _real(name: str, value: float, low: float, high: float, found: Violations) -> float:
    """Return `value`; NaN and infinities are in no range."""
    if not (math.isfinite(value) and low <= value <= high):
        found.add(f"sampling.{name}", f"must be from {low} to {high}")
    return value


def _whole(name: str, value: int, low: int, high: int, found: Violations) -> int:
    """Return `value`, which must be from `low` to `high`."""
    if not low <= value <= high:
        found.add(f"sampling.{name}", f"must be from {low} to {high}")
    return value


def _stops(stops: Sequence[str], found: Violations) -> tuple[str, ...]:
    """Return the texts that end an answer."""
    if len(stops) > MAX_STOPS:
        found.add("sampling.stop", f"must have at most {MAX_STOPS} entries")
        return ()
    for index, stop in enumerate(stops):
        if not stop or len(stop.encode()) > MAX_STOP_BYTES:
            found.add(f"sampling.stop[{index}]", f"must be 1 to {MAX_STOP_BYTES} bytes")
    return tuple(stops)
