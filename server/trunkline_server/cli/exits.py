"""How commands end: their exit codes, and the two ways to end early with a message instead of a traceback."""

from __future__ import annotations

from typing import Final

OK: Final = 0
FAILED: Final = 1
"""The command was understood and could not be done: the call failed, the file is wrong, the port is taken."""
USAGE: Final = 2
"""The command line itself is wrong."""
INTERRUPTED: Final = 130
"""Ctrl-C, as shells count it: 128 + SIGINT."""


class CommandError(Exception):
    """The command cannot be done; the message says what and why, for the person at the shell. Exit code 1."""


class UsageError(Exception):
    """What was typed cannot be meant; the message says which word and what would do. Exit code 2."""
