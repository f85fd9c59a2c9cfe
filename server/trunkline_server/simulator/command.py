"""What `trunkline upstream` runs: one simulator until a signal ends it."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import msgspec

from trunkline_server.simulator.scenario import Scenario, load_scenario
from trunkline_server.simulator.server import Simulator

if TYPE_CHECKING:
    from collections.abc import Callable

SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def run_upstream(
    host: str,
    port: int,
    scenario_path: str | None,
    *,
    seed: int | None,
    announce: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or SIGINT, then stop at once.

    `announce` gets one line, `ready upstream=http://HOST:PORT/v1`, once connections are accepted (port 0 resolved).
    `seed` overrides the scenario's. Raises SimulatorError for a scenario that cannot be used (ScenarioError) and an
    address that cannot be listened on (ListenError); the message is meant for the person at the shell.
    """
    scenario = Scenario() if scenario_path is None else await asyncio.to_thread(load_scenario, scenario_path)
    if seed is not None:
        scenario = msgspec.structs.replace(scenario, seed=seed)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in SIGNALS:
        loop.add_signal_handler(number, ended.set)
    try:
        simulator = Simulator(scenario)
        await simulator.start(host, port)
        try:
            announce(f"ready upstream={simulator.base_url}")
            await ended.wait()
        finally:
            await simulator.stop()
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
