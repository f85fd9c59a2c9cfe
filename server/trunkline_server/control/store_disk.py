"""The disk below the store: whole files or nothing. Each step is a method, so that a test can break in between."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700
PART_SUFFIX = ".part"
"""Ends the names of files that are being written; one that is left over belongs to a process that died."""


class Disk:
    """File operations that block. Every method raises OSError."""

    def make_directory(self, path: Path) -> None:
        """Make a directory for this user alone, with its parents; one that is there already is left as it is."""
        if not path.is_dir():
            path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
            self.sync_directory(path.parent)

    def lock(self, path: Path) -> int:
        """Take the exclusive lock of a file; return what `unlock` wants. Raises BlockingIOError if it is taken."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise
        return fd

    def unlock(self, fd: int) -> None:
        """Give the lock back."""
        os.close(fd)

    def names(self, path: Path) -> list[str]:
        """Return the names of what lies in a directory."""
        return sorted(os.listdir(path))  # noqa: PTH208 - names are all that is asked for

    def read(self, path: Path, max_bytes: int) -> bytes:
        """Return a file's bytes, at most one more than `max_bytes`. Raises FileNotFoundError."""
        with path.open("rb") as file:
            return file.read(max_bytes + 1)

    def replace(self, path: Path, data: bytes) -> None:
        """Put a whole file in its place: whoever reads it, at whatever moment, gets the old or the new bytes.

        When it returns, the new bytes outlast a loss of power. If it raises, either may be there.
        """
        part = path.with_name(path.name + PART_SUFFIX)
        try:
            self.write_part(part, data)
            self.rename(part, path)
        except OSError:
            self._give_room(part)
            raise
        self.sync_directory(path.parent)

    def _give_room(self, part: Path) -> None:
        """Remove what could not be finished: a full disk must not stay full for it."""
        try:
            self.remove(part)
        except OSError:
            return  # the error that led here is the one to be told; the next start removes it

    def write_part(self, path: Path, data: bytes) -> None:
        """Write and fsync a file that nobody reads yet."""
        fd = self.create(path)
        try:
            self.write(fd, data)
            self.sync(fd)
        finally:
            os.close(fd)

    def create(self, path: Path) -> int:
        """Open an empty file to write; the caller closes it."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)

    def open_to_append(self, path: Path) -> int:
        """Open a file whose writes all go to its end; the caller closes it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(path, flags, FILE_MODE)

    def write(self, fd: int, data: bytes) -> None:
        """Write all of it."""
        left = memoryview(data)
        while left:
            left = left[os.write(fd, left) :]

    def sync(self, fd: int) -> None:
        """Wait until what was written outlasts a loss of power."""
        os.fsync(fd)

    def rename(self, old: Path, new: Path) -> None:
        """Give a file its name, in place of what had it."""
        old.replace(new)

    def sync_directory(self, path: Path) -> None:
        """Wait until the names in a directory outlast a loss of power."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sync(fd)
        finally:
            os.close(fd)

    def remove(self, path: Path) -> None:
        """Remove a file; one that is not there is well removed."""
        path.unlink(missing_ok=True)
