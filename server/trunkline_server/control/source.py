"""The routes file as bytes, and a cheap way to see that it may have changed."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TypeAlias

from trunkline_server.config.tree import MAX_BYTES

Stamp: TypeAlias = tuple[int, ...]
"""What the file system says of a file: where it stands, its size and its times. Empty: there is none."""


class RoutesSource:
    """Reads the routes file. All methods block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        """Links in it are followed at every read."""

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.path)

    def read(self) -> bytes:
        """Return its bytes; one more than a document may have if there are more. Raises OSError."""
        # A pipe in its place would block for ever; likewise whoever opens it, so that it is asked after opening.
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISDIR(mode):
                raise IsADirectoryError
            if not stat.S_ISREG(mode):
                raise OSError(0, "it is no regular file")
            return file.read(MAX_BYTES + 1)

    def stamp(self) -> Stamp:
        """Return what tells without reading whether the file may have changed. Never raises."""
        return _stamp(self.path)

    def directory_stamp(self) -> Stamp:
        """Return what tells whether the directory is still the same one; empty: there is none. Never raises."""
        # Its device and number only: its times change with every file in it.
        return _stamp(self.path.parent)[:2]


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
