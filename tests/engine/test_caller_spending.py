"""What callers spent, from one process to the next: exported, restored, and refused where it is damaged."""

from __future__ import annotations

import pytest

from trunkline_server.engine.callers import CallerAccounts, SpendingFormatError
from trunkline_server.engine.frames import CallFailedError
from trunkline_server.routing.caller_account import DAY_S
from trunkline_server.routing.caller_limits import CallerLimits
from trunkline_server.routing.types import Caller

RICH = CallerLimits(budget_nanousd_per_day=10**12, max_in_flight=100)


def spent(accounts: CallerAccounts, name: str, nanousd: int, *, ends: bool = True) -> None:
    """Let a caller spend money, or hold it."""
    admitted = accounts.admit(Caller(name, limits=RICH), 1, nanousd)
    assert admitted is not None
    if ends:
        admitted.book(1, nanousd)
        admitted.settle()


def test_spending_outlasts_a_restart_within_the_day() -> None:
    """What was exported is there again; what calls in flight held counts as spent."""
    before = CallerAccounts(wall_clock=lambda: DAY_S * 5.5)
    spent(before, "c", 70)
    spent(before, "c", 7, ends=False)
    spent(before, "d", 5)
    exported = before.export()
    assert before.export() == exported
    after = CallerAccounts(wall_clock=lambda: DAY_S * 5.9)
    after.restore(exported)
    after.retune([Caller("c", limits=CallerLimits(budget_nanousd_per_day=100))])
    with pytest.raises(CallFailedError, match="CALLER_BUDGET"):
        after.admit(Caller("c", limits=RICH), 1, 24)
    assert after.admit(Caller("c", limits=RICH), 1, 23) is not None
    tomorrow = CallerAccounts(wall_clock=lambda: DAY_S * 6.1)
    tomorrow.restore(exported)
    assert [tomorrow.account(name) and tomorrow.account(name).spent_nanousd for name in "cd"] == [0, 0]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"format":2,"spent":{}}',
        b'{"format":1}',
        b'{"format":1,"spent":{"c":[1]}}',
        b'{"format":1,"spent":{"d":[1,2],"c":[1,-2]}}',
        b'{"format":1,"spent":{"c":[1,true]}}',
        b'{"format":1,"spent":{"c":[1,1e3]}}',
        b"[" * 100_000,
    ],
    ids=lambda damaged: damaged[:40].decode(errors="replace"),
)
def test_damaged_spending_is_refused_whole(damaged: bytes) -> None:
    """What is no export of ours is told as such, and nothing of it is taken over."""
    accounts = CallerAccounts(wall_clock=lambda: DAY_S * 1.5)
    with pytest.raises(SpendingFormatError):
        accounts.restore(damaged)
    assert (accounts.account("c"), accounts.account("d")) == (None, None)
