"""Every fault of an upstream, wherever it strikes, whatever was asked for: over real connections, as the table says."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.e2e.fault_endings import ASKS, OUTPUTS, Ask, Ending, Output, Place
from tests.e2e.fault_matrix import FAULTS, Never, Row, expected
from tests.e2e.fault_seen import Seen, broken_promises, call
from tests.e2e.fault_setting import WHOLE_CALLS, Case, environment, routes, scenario

from trunkline_server.simulator.openai.errors import ERRORS
from trunkline_server.simulator.scenario import Fault
from trunkline_server.simulator.server import Simulator

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateway, Gateways

AT_ONCE = 12
"""So many calls are in flight together."""

NO_FAULTS = frozenset({"fresh", "content", "chunks", "chunk_text", "tool_calls", "tool_pieces", "tool_interleaved",
                       "reasoning", "goes_on"})  # fmt: skip
"""Fields of the simulator's faults that say what is answered, not what goes wrong."""


def cases_of(row: Row) -> list[Case]:
    """Return all combinations in which a fault can strike."""
    found: list[Case] = []
    for place in Place:
        for output in OUTPUTS[place]:
            for ask in ASKS[place]:
                if not isinstance(row.comes(place, unary=ask is Ask.UNARY), Never):
                    found.append(Case(len(found), row, place, output, ask))
    return found


def named(ending: Ending, output: Output) -> Ending:
    """Return an ending with the finish reason that the healthy answer has, where it has that."""
    healthy = "TOOL_CALLS" if output in WHOLE_CALLS else "STOP"
    return replace(ending, finish=ending.finish or healthy) if ending.outcome else ending


def unexplained(seen: Seen) -> str:
    """Return how what was seen differs from the table, and which promises it breaks; empty if none."""
    case, got = seen.case, seen.ending()
    told = [named(each, case.output) for each in expected(case.row, case.place, case.output, case.ask)]
    differs = [f"not so: {promise}" for promise in broken_promises(seen)]
    if got not in told:
        differs += [
            f"{name} is {getattr(got, name)!r}, not {getattr(told[-1], name)!r}"
            for name in Ending.__dataclass_fields__
            if getattr(got, name) != getattr(told[-1], name)
        ]
    said = f" ({seen.failure.message})" if seen.failure else ""
    return f"{case}: {'; '.join(differs)}{said}" if differs else ""


async def run(running: Gateway, cases: list[Case]) -> list[str]:
    """Make the calls of all cases, some at once, and return what the table does not explain."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(case: Case) -> Seen:
        async with free:
            return await call(running.stub, case)

    seen = await asyncio.gather(*(one(case) for case in cases))
    await running.quiet()
    return [problem for each in seen if (problem := unexplained(each))] + _miscounted(running, seen)


def _miscounted(running: Gateway, seen: list[Seen]) -> list[str]:
    """Return where the attempts that callers were told of are not those that the upstream saw.

    A connection that was used before and fails before a byte of the response is dialled once afresh, as part of the
    same attempt: whether the fault struck such a connection is a matter of chance.
    """
    got = running.simulator.stats.by_key
    told: Counter[str] = Counter()
    afresh: set[str] = set()
    for each in seen:
        if each.case.place is Place.BEFORE:
            afresh.add(each.case.key)
        for attempt in each.attempts:
            faulty = attempt.target.provider == each.case.provider
            told[each.case.key if faulty else "sk-healthy"] += not (faulty and each.case.row.refuse)
    return [
        f"{key}: {got[key]} upstream calls, {told[key]} told"
        for key in told
        if not told[key] <= got[key] <= told[key] + (key in afresh)
    ]


@pytest.mark.parametrize("name", FAULTS)
async def test_every_fault_ends_as_the_table_says(gateway: Gateways, name: str) -> None:
    """Status, frames, attempts, content and seams of every combination of a fault are those of its row."""
    cases = cases_of(FAULTS[name])
    async with Simulator() as gone:
        refusing_url = gone.base_url
        await gone.refuse()
        async with gateway(scenario(cases), routes=routes(cases, refusing_url), environ=environment(cases)) as running:
            problems = await run(running, cases)
    assert not problems, f"{len(problems)} of {len(cases)} unexplained:\n" + "\n".join(problems)


def test_every_fault_of_the_simulator_is_in_the_table() -> None:
    """Each field that makes something go wrong, and each error that has a name, stands in a row."""
    rows = FAULTS.values()
    used = {name for row in rows for place in Place for name in row.told(place)}
    assert set(Fault.__struct_fields__) - NO_FAULTS <= used
    assert {str(row.fault["error"]) for row in rows if "error" in row.fault} >= set(ERRORS)
