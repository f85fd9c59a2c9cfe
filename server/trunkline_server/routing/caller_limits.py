"""What one caller may use: calls and tokens a minute, calls in flight, and money a day.

A caller is refused where a key's call would wait, so what a pause earns is larger here than at the keys: calls that
come evenly, at the limit or above it, get the limit, and lose nothing by the time from one of them to the next.
"""

from __future__ import annotations

from dataclasses import dataclass

from trunkline_server.routing.rate import HEADROOM, MINUTE_S, Rate

REQUEST_BURST_S = 1.0
"""So many seconds' worth of calls may come at once after a pause; two calls always may."""
TOKEN_BURST_S = 6.0
"""So many seconds' worth of tokens may be used at once after a pause: a tenth of the minute."""


@dataclass(frozen=True, slots=True)
class CallerLimits:
    """The limits of a caller. None: none."""

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_in_flight: int | None = None
    budget_nanousd_per_day: int | None = None
    """From one midnight (UTC) to the next, in 1e-9 USD."""


NO_LIMITS = CallerLimits()


def request_rate(limits: CallerLimits) -> Rate | None:
    """Return the rate of a caller's calls; None: it has no limit of them."""
    per_minute = limits.requests_per_minute
    if per_minute is None:
        return None
    return Rate(per_minute, max(REQUEST_BURST_S, 2 * MINUTE_S / (HEADROOM * per_minute)))


def token_rate(limits: CallerLimits) -> Rate | None:
    """Return the rate of a caller's tokens; None: it has no limit of them."""
    return None if limits.tokens_per_minute is None else Rate(limits.tokens_per_minute, TOKEN_BURST_S)
