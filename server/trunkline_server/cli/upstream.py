"""`trunkline upstream`: the provider simulator on a port."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from trunkline_server.cli import exits
from trunkline_server.cli.address import split_address, validate_listen


def upstream(
    *,
    listen: Annotated[str, Parameter(help="HOST:PORT; port 0 picks a free one.", validator=validate_listen)],
    scenario: Annotated[
        Path | None,
        Parameter(help="YAML or JSON file of faults, delays and limits. Default: a healthy provider."),
    ] = None,
    seed: Annotated[
        int | None, Parameter(help="Of every probability and distribution. Default: the scenario's.")
    ] = None,
) -> int:
    """Run the provider simulator, with faults on demand.

    It speaks the protocols of all providers on one port, told apart by
    their paths. Prints `ready upstream=http://HOST:PORT/v1`, OpenAI's
    `base_url` for a routes file; those of the others are told by the control
    call. Ends on SIGTERM and Ctrl-C.

    Faults come from the scenario, from `x-sim-fault` headers, or from
    control calls: `curl -d '{"patch": {"default": {"status": 500}}}'
    http://HOST:PORT/_control`. The same address tells by GET what was
    counted.
    """
    import asyncio

    from trunkline_server.simulator.command import run_upstream
    from trunkline_server.simulator.errors import SimulatorError

    host, port = split_address(listen)
    path = None if scenario is None else str(scenario)
    try:
        asyncio.run(run_upstream(host, port, path, seed=seed, announce=announce))
    except SimulatorError as error:
        raise exits.CommandError(str(error)) from None
    return exits.OK


def announce(line: str) -> None:
    """Print a `ready` line at once: whoever started the process waits for it."""
    print(line, flush=True)
