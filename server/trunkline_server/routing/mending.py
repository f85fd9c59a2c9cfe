"""What is done about one break, step by step, until one of the steps leads somewhere; told once, when that is known."""

from __future__ import annotations

from trunkline_server.routing.breaks import Shown, barred, steps
from trunkline_server.routing.events import Backoff, Broken, Dispatch, Fail, Finish, Queue
from trunkline_server.routing.failures import Failure
from trunkline_server.routing.types import OnBreak


class Mending:
    """One break of an attempt that had content shown. `asked`: what its request asks for."""

    __slots__ = ("_asked", "_because", "_left", "_step", "failure", "shown")

    def __init__(self, asked: OnBreak, failure: Failure, shown: Shown) -> None:
        self.failure = failure
        self.shown = shown
        self._asked = asked
        self._left = steps(asked)
        self._step = OnBreak.FAIL
        self._because: list[str] = []

    def next_step(self) -> OnBreak | None:
        """Return the next step that what was shown does not bar; None if there is none left."""
        for step in self._left:
            because = barred(step, self.shown)
            if not because:
                self._step = step
                return step
            self.note(because)
        return None

    def note(self, because: str) -> None:
        """Note why a step is not taken."""
        if because not in self._because:
            self._because.append(because)

    def told(self, then: Dispatch | Queue | Backoff | Finish | Fail) -> Broken:
        """Return what is to be told, now that it is known what follows."""
        applied = OnBreak.FAIL if isinstance(then, Fail) else self._step
        return Broken(self.failure, self._asked, applied, "; ".join(self._because), then)
