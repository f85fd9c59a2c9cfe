"""Why no key of a pool can serve a model: the refusals that its callers are told."""

from __future__ import annotations

from collections.abc import Sequence

from trunkline_server.routing.failures import FailureClass
from trunkline_server.routing.key_spec import KeyStatus
from trunkline_server.routing.key_state import KeyState
from trunkline_server.routing.types import Reason, Refusal, reason_of

PROBE_OUTCOME_S = 1.0
"""How long to stay away from a pool whose last key is just being probed: about one call."""
_TOLD = {
    FailureClass.RATE_LIMITED: "every usable key of {} for {} is cooling down",
    FailureClass.KEY_EXHAUSTED: "every key of {} for {} is out of quota or rejected",
    FailureClass.KEY_REJECTED: "every key of {} for {} was rejected by the provider",
    FailureClass.SATURATED: "every usable key of {} for {} is at its own limit",
    FailureClass.MODEL_UNAVAILABLE: "every key of {} for {} was taken out by an operator",
}
_HELD = {KeyStatus.DRAINING: "drained", KeyStatus.DISABLED: "disabled"}


def unavailable(told: str) -> Refusal:
    """Return the refusal of a model that waiting alone does not bring back."""
    return Refusal(FailureClass.MODEL_UNAVAILABLE, Reason.MODEL_UNAVAILABLE, told, never=True)


def held_by_operator(provider: str, model: str, status: KeyStatus) -> Refusal:
    """Return the refusal of a target that an operator drained or disabled: who may go elsewhere does so at once."""
    told = f"{provider}/{model} takes no new calls: {_HELD[status]} by an operator"
    return Refusal(FailureClass.SATURATED, Reason.QUEUE_FULL, told, never=True, by_operator=True)


def refused_by_keys(
    provider: str, keys: Sequence[KeyState], model: str, *, now: float, at: float | None, never: bool
) -> Refusal:
    """Return why none of `keys` can serve the model now. `at`: the clock time at which one could; None: unknown."""
    failure_class = _held_back_by(keys, model, now)
    retry_after_s = PROBE_OUTCOME_S if at is None else at - now
    told = _TOLD[failure_class].format(provider, model)
    if failure_class is FailureClass.MODEL_UNAVAILABLE:
        return unavailable(told)
    # The reason tells callers which bound it was: the keys' and not the queue's.
    ours = failure_class is FailureClass.SATURATED
    reason = Reason.RATE_LIMITED if ours else reason_of(failure_class)
    return Refusal(failure_class, reason, told, retry_after_s, never)


def _held_back_by(keys: Sequence[KeyState], model: str, now: float) -> FailureClass:
    """Return the class that tells best why none of these keys can serve."""
    found = FailureClass.MODEL_UNAVAILABLE
    for key in keys:
        if key.held is not None:
            continue
        reason = key.quarantine_reason
        if reason is None and not key.cools(model, now):
            return FailureClass.SATURATED
        if reason is None:
            found = FailureClass.RATE_LIMITED
        elif found is not FailureClass.RATE_LIMITED and found is not FailureClass.KEY_EXHAUSTED:
            found = reason
    return found
