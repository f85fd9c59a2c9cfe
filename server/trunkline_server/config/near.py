"""Near names: what somebody who misspelt a name probably meant."""

from __future__ import annotations

import difflib
from itertools import islice
from typing import TYPE_CHECKING

from trunkline_server.config.findings import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

_MAX_SUGGESTIONS = 100
_MAX_COMPARED = 200


class NearNames:
    """Suggests names for one document; stops after 100, since comparing is slow and nobody reads the next."""

    def __init__(self) -> None:
        self._left = _MAX_SUGGESTIONS

    def hint(self, name: str, known: Iterable[str]) -> str:
        """Return ``: did you mean x?`` for the known name nearest to `name`; empty if none is near."""
        if self._left == 0:
            return ""
        self._left -= 1
        near = difflib.get_close_matches(name[:64], list(islice(known, _MAX_COMPARED)), n=1, cutoff=0.7)
        return f": did you mean {near[0]}?" if near and shown(near[0]) == near[0] else ""
