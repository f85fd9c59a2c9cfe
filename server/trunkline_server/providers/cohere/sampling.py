"""How the answer is drawn, and how long the model may think: the request's settings in Cohere's names and ranges."""

from __future__ import annotations

from typing import Any, Final

from trunkline_server.chat.answer import Warning_
from trunkline_server.chat.request import ReasoningEffort, Sampling
from trunkline_server.providers.cohere.words import left_out
from trunkline_server.providers.unsupported import adjusted

MAX_STOPS: Final = 5
"""The API refuses more."""

_RANGES: Final = (
    ("temperature", "temperature", 0.0, 1.0),
    ("top_p", "p", 0.01, 0.99),
    ("top_k", "k", 0, 500),
    ("frequency_penalty", "frequency_penalty", 0.0, 1.0),
    ("presence_penalty", "presence_penalty", 0.0, 1.0),
)
"""Fields of `Sampling`, their names in the body, and the least and the most that the API takes."""

BUDGETS: Final = {
    ReasoningEffort.MINIMAL: 1_024,
    ReasoningEffort.LOW: 2_048,
    ReasoningEffort.MEDIUM: 8_192,
    ReasoningEffort.HIGH: 16_384,
}
"""What an effort is in tokens: the API has no other measure. The highest effort has no bound, as the vendor advises."""

_LEFT_FOR_TEXT: Final = 1_024
"""So much of an output limit is kept from thinking: the vendor asks for a thousand tokens."""


def add_sampling(body: dict[str, Any], sampling: Sampling, warnings: list[Warning_]) -> None:
    """Write the settings into `body`; what cannot be had as asked is added to `warnings`."""
    _add_figures(body, sampling, warnings)
    if sampling.stop:
        body["stop_sequences"] = sampling.stop[:MAX_STOPS]
        if len(sampling.stop) > MAX_STOPS:
            warnings.append(left_out("sampling.stop", f"more than {MAX_STOPS} stop sequences"))
    if sampling.top_logprobs is not None:
        body["logprobs"] = True
        if sampling.top_logprobs:
            warnings.append(left_out("sampling.top_logprobs", "a wish for other tokens' log-probabilities"))
    if sampling.reasoning_effort is not None or sampling.reasoning_max_tokens is not None:
        body["thinking"] = _thinking(sampling)


def _add_figures(body: dict[str, Any], sampling: Sampling, warnings: list[Warning_]) -> None:
    for field, name, least, most in _RANGES:
        value = getattr(sampling, field)
        if value is not None:
            body[name] = fitting = min(max(value, least), most)
            if fitting != value:
                warnings.append(
                    adjusted(f"sampling.{field}", f"sent as {fitting}, the nearest that the provider takes")
                )
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if sampling.max_output_tokens is not None:
        body["max_tokens"] = sampling.max_output_tokens


def _thinking(sampling: Sampling) -> dict[str, Any]:
    """Return the setting of models that reason: on or off, and a bound in tokens where there is one."""
    if not sampling.asks_reasoning:
        return {"type": "disabled"}
    budget = sampling.reasoning_max_tokens
    if not budget and sampling.reasoning_effort is not None:
        budget = BUDGETS.get(sampling.reasoning_effort)
        limit = sampling.max_output_tokens
        if budget is not None and limit is not None:
            budget = max(1, min(budget, limit - _LEFT_FOR_TEXT))
    return {"type": "enabled"} if not budget else {"type": "enabled", "token_budget": budget}
