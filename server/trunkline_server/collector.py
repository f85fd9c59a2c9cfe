"""How the garbage collector is set in a server: what it does stops everybody, so it does little, at set times."""

from __future__ import annotations

import asyncio
import gc

_THRESHOLDS = (1_000, 2, 1_000)
"""The young are looked at in small numbers and often, since a pause is as long as what is looked at; the oldest every
few hundred thousand calls, not every few thousand and at each reload as by default."""

COLLECT_EVERY_S = 15.0
"""How often everything is looked at."""


def settle() -> None:
    """Set the collector, once all is made that lives as long as the process: it need not look at that again.

    Calls leave next to nothing for it, and a look at all that lives takes 30 to 100 ms with 100 streams.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


async def collect_regularly(every_s: float = COLLECT_EVERY_S) -> None:
    """Look at everything now and then, until cancelled: circles that the libraries below make are bounded so."""
    while True:
        await asyncio.sleep(every_s)
        gc.collect()
