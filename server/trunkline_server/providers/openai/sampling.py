"""How the answer is to be drawn, as fields of the body: what the server's quirks say it lacks is left out and told."""

from __future__ import annotations

from typing import Any, Final

from trunkline_server.chat.answer import Warning_
from trunkline_server.chat.request import ReasoningEffort, Sampling
from trunkline_server.providers.openai.messages import unsupported
from trunkline_server.providers.quirks import Quirks

MAX_STOPS: Final = 4
"""The API refuses more, unless the server is said to take them."""

_SAME_NAMES: Final = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
"""Fields of `Sampling` that the body has under the same name."""

_PENALTIES: Final = ("frequency_penalty", "presence_penalty")


def add_sampling(body: dict[str, Any], sampling: Sampling, quirks: Quirks, warnings: list[Warning_]) -> None:
    """Write the settings that were given into `body`; what has no place there is added to `warnings`."""
    lost = _lost(sampling, quirks.lacks) if quirks.lacks else quirks.lacks
    for name in _SAME_NAMES:
        value = getattr(sampling, name)
        if value is not None and name not in lost:
            body[name] = value
    if sampling.seed is not None and "seed" not in lost:
        body[quirks.seed_field] = sampling.seed
    if sampling.max_output_tokens is not None:
        body[quirks.max_tokens_field] = sampling.max_output_tokens
    if sampling.stop and "stop" not in lost:
        _add_stops(body, sampling.stop, quirks, warnings)
    if sampling.top_logprobs is not None and "logprobs" not in lost:
        body["logprobs"] = True
        if sampling.top_logprobs and "top_logprobs" not in lost:
            body["top_logprobs"] = sampling.top_logprobs
    _add_beyond(body, sampling, quirks, warnings)
    if lost:
        fields = {"top_logprobs" if name == "logprobs" else name for name in lost}
        warnings.extend(unsupported(f"sampling.{field}") for field in sorted(fields))


def _lost(sampling: Sampling, lacks: frozenset[str]) -> frozenset[str]:
    """Return what is asked for and cannot be carried, by field; `logprobs` is the flag beside `top_logprobs`."""
    lost: set[str] = {name for name in (*_SAME_NAMES, "seed") if name in lacks and getattr(sampling, name) is not None}
    if "high_temperature" in lacks and (sampling.temperature or 0) > 1:
        lost.add("temperature")
    if "wide_penalties" in lacks:
        lost.update(name for name in _PENALTIES if not 0 <= (getattr(sampling, name) or 0) <= 1)
    if sampling.stop and "stop" in lacks:
        lost.add("stop")
    if sampling.top_logprobs is not None and "logprobs" in lacks:
        lost.add("logprobs")
    elif sampling.top_logprobs and "top_logprobs" in lacks:
        lost.add("top_logprobs")
    return frozenset(lost)


def _add_stops(body: dict[str, Any], stops: tuple[str, ...], quirks: Quirks, warnings: list[Warning_]) -> None:
    if len(stops) > MAX_STOPS and "many_stops" not in quirks.adds:
        stops = stops[:MAX_STOPS]
        warnings.append(unsupported("sampling.stop", f"more than {MAX_STOPS} stop sequences"))
    body["stop"] = stops


def _add_beyond(body: dict[str, Any], sampling: Sampling, quirks: Quirks, warnings: list[Warning_]) -> None:
    """Write what the protocol has no place for, or one that not all servers share."""
    if sampling.top_k is not None:
        if "top_k" in quirks.adds:
            body["top_k"] = sampling.top_k
        else:
            warnings.append(unsupported("sampling.top_k"))
    if sampling.reasoning_effort is not None or sampling.reasoning_max_tokens is not None:
        _add_reasoning(body, sampling, quirks, warnings)


def _add_reasoning(body: dict[str, Any], sampling: Sampling, quirks: Quirks, warnings: list[Warning_]) -> None:
    effort, max_tokens = sampling.reasoning_effort, sampling.reasoning_max_tokens
    wish: dict[str, Any] = {}
    if effort is not None:
        if "reasoning_effort" in quirks.lacks:
            warnings.append(unsupported("sampling.reasoning_effort"))
        elif effort is ReasoningEffort.NONE and quirks.no_thinking == "thinking_disabled":
            body["thinking"] = {"type": "disabled"}
        else:
            wish["effort"] = quirks.efforts.get(effort.value, effort.value)
    if max_tokens is not None:
        if "reasoning_max_tokens" in quirks.adds:
            wish["max_tokens"] = max_tokens
        else:
            warnings.append(unsupported("sampling.reasoning_max_tokens"))
    if wish and quirks.reasoning_form == "reasoning":
        body["reasoning"] = wish
    elif "effort" in wish:
        body["reasoning_effort"] = wish["effort"]
