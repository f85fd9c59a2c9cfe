"""What callers spent today, kept in the data directory: a restart must not give everybody a fresh budget."""

from __future__ import annotations

import asyncio
from typing import Final

from trunkline_server.control.store import Store, StoreError
from trunkline_server.engine.callers import CallerAccounts, SpendingFormatError
from trunkline_server.telemetry.logs import Log

BLOB: Final = "spending"
EVERY_S: Final = 5.0
"""How often it is written, if it changed: what a kill may lose of it."""


class SpendingKeeper:
    """Reads the spending once and writes it again and again. For the event loop; the disk is used off it."""

    def __init__(self, accounts: CallerAccounts, store: Store, log: Log, *, every_s: float = EVERY_S) -> None:
        self._accounts = accounts
        self._store = store
        self._log = log
        self._every_s = every_s
        self._written = accounts.export()
        self._failing = False

    async def restore(self) -> None:
        """Take over what an earlier process wrote, before the first call. What can't be read is told and lost."""
        try:
            exported = await asyncio.to_thread(self._store.read_blob, BLOB)
            if exported is not None:
                self._accounts.restore(exported)
        except (StoreError, SpendingFormatError) as error:
            self._log.error("spending_lost", error=str(error), meaning="callers' budgets of today begin anew")
        self._written = self._accounts.export()

    async def run(self) -> None:
        """Write every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            await self.write()

    async def write(self) -> None:
        """Write what was spent, if that has changed. Never raises: what fails is told once, and tried again."""
        exported = self._accounts.export()
        if exported == self._written:
            return
        try:
            await asyncio.to_thread(self._store.write_blob, BLOB, exported)
        except StoreError as error:
            if not self._failing:
                self._log.error("spending_not_kept", error=str(error), meaning="a restart would forget what was spent")
            self._failing = True
            return
        self._written, self._failing = exported, False
