"""The callers' accounts as they live: found by id, kept over reloads, and what was spent today kept over restarts.

Only callers with limits have an account. Its limits are those that were published last, whatever routes a call runs on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import Final

from trunkline_server.engine.frames import CallFailedError, CallFailure
from trunkline_server.routing.aliases import Alias
from trunkline_server.routing.caller_account import CallerAccount, CallerRefusal, Pass
from trunkline_server.routing.caller_limits import NO_LIMITS, CallerLimits
from trunkline_server.routing.cost import cost_nanousd
from trunkline_server.routing.types import Caller

_FORMAT: Final = 1
MAX_EXPORT_BYTES: Final = 16 * 1024 * 1024
"""More than this is no export of ours."""


class SpendingFormatError(ValueError):
    """What is to be restored is no export of ours. The message says what is wrong with it."""


class CallerAccounts:
    """Every account of this process. It belongs to one event loop."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._accounts: dict[str, CallerAccount] = {}
        self._known: frozenset[str] | None = None

    def retune(self, callers: Iterable[Caller] | None) -> None:
        """Take over the callers of routes that are published; None: none are configured, and everybody may call.

        Accounts of those who stay go on under their new limits. Those of others are kept until they hold nothing that
        counts, so that nobody who comes back has a fresh day.
        """
        limits = {} if callers is None else {caller.id: caller.limits for caller in callers}
        self._known = None if callers is None else frozenset(limits)
        for caller_id, account in list(self._accounts.items()):
            account.retune(limits.get(caller_id) or NO_LIMITS)
            if limits.get(caller_id) is None and account.idle:
                del self._accounts[caller_id]
        for caller_id, given in limits.items():
            if given is not None:
                self._account(caller_id, given)

    def takes(self, caller_id: str) -> bool:
        """Return whether a call of this caller may still be sent upstream: False once the caller was removed."""
        return self._known is None or caller_id in self._known

    def admit(
        self, caller: Caller, tokens: int, cost: int, *, guessed_tokens: int = 0, guessed_nanousd: int = 0
    ) -> Pass | None:
        """Let a call in that is reckoned to use so many tokens and to cost so much, in 1e-9 USD; see `CallerAccount`.

        None: the caller has no limits. Raises CallFailedError, and changes nothing: CALLER_QUOTA, CALLER_BUDGET.
        """
        if caller.limits is None:
            return None
        admitted = self._account(caller.id, caller.limits).admit(
            tokens, cost, guessed_tokens=guessed_tokens, guessed_nanousd=guessed_nanousd
        )
        if isinstance(admitted, CallerRefusal):
            raise CallFailedError(_told(caller.id, admitted))
        return admitted

    def account(self, caller_id: str) -> CallerAccount | None:
        """Return a caller's account; None if it has none."""
        return self._accounts.get(caller_id)

    def export(self) -> bytes:
        """Return what was spent, for `restore` in a process to come; the same bytes as long as nothing changed.

        What calls in flight hold counts as spent: if the process is killed, their cost is never learnt.
        """
        spent = {
            caller_id: [account.day, nanousd]
            for caller_id, account in sorted(self._accounts.items())
            if (nanousd := account.spent_nanousd + account.held_nanousd)
        }
        return json.dumps({"format": _FORMAT, "spent": spent}, separators=(",", ":")).encode()

    def restore(self, exported: bytes) -> None:
        """Add what an earlier process has exported, once, before the first call; what is of another day is let be.

        Raises SpendingFormatError, and changes nothing, for anything else.
        """
        for caller_id, (day, nanousd) in _spending(exported).items():
            self._account(caller_id, NO_LIMITS).spent_before(day, nanousd)

    def _account(self, caller_id: str, limits: CallerLimits) -> CallerAccount:
        """Return a caller's account, as it is; opened with these limits if there is none."""
        account = self._accounts.get(caller_id)
        if account is None:
            account = CallerAccount(caller_id, limits, clock=self._clock, wall_clock=self._wall_clock)
            self._accounts[caller_id] = account
        return account


def expected_cost_nanousd(alias: Alias, input_tokens: int, output_tokens: int) -> int:
    """Return what a call costs at the dearest target of the first tier, in 1e-9 USD; no known price costs nothing."""
    costs = (cost_nanousd(member.facts, input_tokens, output_tokens) for member in alias.tiers[0].members)
    return max((cost for cost in costs if cost is not None), default=0)


def _told(caller_id: str, refusal: CallerRefusal) -> CallFailure:
    metadata = {"caller": caller_id, "limit": refusal.limit, "allowed": refusal.allowed}
    if refusal.never:
        metadata["never"] = "true"
    return CallFailure(refusal.reason, refusal.message, retry_after_s=refusal.retry_after_s, metadata=metadata)


def _spending(exported: bytes) -> dict[str, tuple[int, int]]:
    """Return day and 1e-9 USD by caller id. Raises SpendingFormatError."""
    if len(exported) > MAX_EXPORT_BYTES:
        raise SpendingFormatError(f"it is larger than {MAX_EXPORT_BYTES} bytes")
    try:
        document = json.loads(exported)
    except (ValueError, RecursionError) as error:
        raise SpendingFormatError("it is no JSON") from error
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise SpendingFormatError(f"it is not of format {_FORMAT}")
    spent = document.get("spent")
    if not isinstance(spent, dict):
        raise SpendingFormatError("`spent` is no mapping")
    found: dict[str, tuple[int, int]] = {}
    for caller_id, entry in spent.items():
        if not isinstance(entry, list) or [type(value) for value in entry] != [int, int] or min(entry) < 0:
            raise SpendingFormatError("an entry is no day with an amount")
        found[caller_id] = (entry[0], entry[1])
    return found
