"""How long the simulated provider takes: fixed times and seeded distributions, always in seconds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import msgspec

if TYPE_CHECKING:
    from random import Random

MAX_DELAY_S = 600.0
"""No single wait is longer than this, whatever a distribution draws."""

Seconds = Annotated[float, msgspec.Meta(ge=0, le=MAX_DELAY_S)]
"""A bounded time in seconds."""


class Uniform(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="uniform", tag_field="dist"):
    """Evenly between `low_s` and `high_s` (either order)."""

    low_s: Seconds
    high_s: Seconds

    def draw(self, random: Random) -> float:
        """Return one delay in seconds."""
        return random.uniform(self.low_s, self.high_s)


class Exponential(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="exponential", tag_field="dist"):
    """Exponentially distributed around `mean_s`, never above `max_s`."""

    mean_s: Seconds
    max_s: Seconds = MAX_DELAY_S

    def draw(self, random: Random) -> float:
        """Return one delay in seconds."""
        return min(self.max_s, -self.mean_s * math.log(1.0 - random.random()))


class LogNormal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="lognormal", tag_field="dist"):
    """Log-normally distributed around the median `median_s` with shape `sigma`, never above `max_s`."""

    median_s: Seconds
    sigma: Annotated[float, msgspec.Meta(ge=0, le=10)]
    max_s: Seconds = MAX_DELAY_S

    def draw(self, random: Random) -> float:
        """Return one delay in seconds."""
        return min(self.max_s, self.median_s * math.exp(random.gauss(0.0, self.sigma)))


Delay = Seconds | Uniform | Exponential | LogNormal
"""A number of seconds, or a distribution to draw one from."""


def draw_delay_s(delay: Delay | None, random: Random) -> float:
    """Return the seconds to wait for `delay`; none is no wait. Only distributions use up randomness."""
    if delay is None:
        return 0.0
    if isinstance(delay, (int, float)):
        return delay
    return delay.draw(random)
