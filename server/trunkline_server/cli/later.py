"""What the documentation names and this version does not have: refused by name, never taken for a misspelling.

To build one, take its line out here.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from trunkline_server.cli.exits import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COMMANDS: Final = frozenset({"rehearse"})

FLAGS: Final[Mapping[str, frozenset[str]]] = {
    "serve": frozenset({"--workers", "--state"}),
}
"""By command. Each is also a variable: `--workers` is TRUNKLINE_WORKERS."""


def refuse(tokens: Sequence[str], environ: Mapping[str, str] | None = None) -> None:
    """Raise UsageError with every name among the words, or in the environment, that is not built yet."""
    if not tokens:
        return
    command, words = tokens[0], tokens[1:]
    if command in COMMANDS:
        raise UsageError(f"not built yet: trunkline {command}")
    flags = FLAGS.get(command, frozenset())
    given = os.environ if environ is None else environ
    found = [word.partition("=")[0] for word in words if word.partition("=")[0] in flags]
    if not {"--help", "-h"} & set(words):
        found += [variable for flag in sorted(flags) if given.get(variable := variable_of(flag))]
    if found:
        raise UsageError(f"not built yet: {', '.join(dict.fromkeys(found))}")


def variable_of(flag: str) -> str:
    """Return the environment variable of a flag of `serve`: `--workers` → `TRUNKLINE_WORKERS`."""
    return "TRUNKLINE_" + flag.removeprefix("--").replace("-", "_").upper()
