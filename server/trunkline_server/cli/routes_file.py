"""The routes file as commands take it: its path, where its secrets may come from, and what is wrong with it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trunkline_server.config.secrets import SecretResolver


def resolver_for(routes: Path, secrets_dir: Path | None, secret_env: Iterable[str]) -> SecretResolver:
    """Return what reads the secrets of a routes file: by default `file:` below the file's own directory.

    `secret_env`: names of variables, each word one or several with commas between them.
    """
    from trunkline_server.config.secrets import SecretResolver

    names = (name.strip() for word in secret_env for name in word.split(","))
    return SecretResolver(secrets_dir or routes.parent, frozenset(filter(None, names)), os.environ)


def say_findings(text: str) -> None:
    """Print findings for people on standard error; nothing if there are none."""
    if text:
        print(text, file=sys.stderr)


def counted(number: int, noun: str) -> str:
    """Return `1 error`, `2 errors`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
