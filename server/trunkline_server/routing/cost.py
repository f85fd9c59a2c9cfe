"""What a request would cost at a target, by estimate: input and output tokens times the model's prices."""

from __future__ import annotations

from trunkline_server.routing.aliases import ModelFacts

_TOKENS_PRICED = 1_000_000


def cost_nanousd(facts: ModelFacts, input_tokens: int, output_tokens: int) -> int | None:
    """Return the cost in 1e-9 USD, rounded up; None if a price is not known that matters: no output needs none."""
    input_price, output_price = facts.input_nanousd_per_million, facts.output_nanousd_per_million
    if output_price is None and not output_tokens:
        output_price = 0
    if input_price is None or output_price is None:
        return None
    return -(-(input_tokens * input_price + output_tokens * output_price) // _TOKENS_PRICED)
