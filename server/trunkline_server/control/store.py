"""The versions of the routes that were published, kept on disk across restarts.

Below the data directory:

- `lock`: held by the one process that uses it.
- `history`: one line that says what it is, with a hash of the rest, then all records as JSON. Replaced as a whole: its
  rename is the moment in which a version counts as published.
- `documents/SHA256`: the documents that the records name, written before the history that names them.
- `blobs/NAME`: what other parts of the server keep, see `write_blob`.
- `audit.jsonl`: see control.audit.

A process that is killed at any moment leaves the old history or the new one, and perhaps a document that nothing
names, which the next start removes. There are no secrets here: documents hold references to them.
"""

from __future__ import annotations

import hashlib
import re
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from trunkline_server.config.findings import why_unreadable
from trunkline_server.config.tree import MAX_BYTES as MAX_DOCUMENT_BYTES
from trunkline_server.control.store_disk import PART_SUFFIX, Disk
from trunkline_server.control.types import RouteVersion

MAX_VERSIONS = 100
"""How many versions are kept; the oldest go first, the running one and a canary never."""
MAX_KEPT_BYTES = 64 * 1024 * 1024
"""How large the documents of all versions may be together."""
MAX_BLOB_BYTES = 16 * 1024 * 1024

_MAX_HISTORY_BYTES = 4 * 1024 * 1024
_HEADER = re.compile(rb"trunkline-history 1 ([0-9a-f]{64})\n")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOB_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class StoreError(Exception):
    """The data directory can't be used. The text says what is wrong, where, and what to do."""


@dataclass(frozen=True, slots=True)
class History:
    """All that is known of the versions. Empty before the first is published."""

    versions: tuple[RouteVersion, ...] = ()
    """The oldest first."""
    running: int = 0
    """The version that serves all traffic, or all but the trial's share. 0: none yet."""
    trial: int = 0
    """The canary's version. 0: none runs."""
    next_version: int = 1

    def find(self, version: int) -> RouteVersion | None:
        """Return a version's record; None if it is not kept."""
        return next((record for record in self.versions if record.version == version), None)

    def with_record(self, record: RouteVersion) -> History:
        """Return the history with this record in the place of the one of its version, or as the newest."""
        others = [known for known in self.versions if known.version != record.version]
        versions = tuple(sorted((*others, record), key=lambda known: known.version))
        return replace(self, versions=versions, next_version=max(self.next_version, record.version + 1))


class Store:
    """Keeps the history and its documents. All methods block; one thread at a time does its work, the others wait.

    Use it as a context, or call `close`: it holds the directory's lock until then.
    """

    def __init__(self, directory: Path | None, disk: Disk | None = None) -> None:
        """Take the directory, and read what is there. None: keep all in memory alone. Raises StoreError."""
        self.directory = directory
        self._disk = disk if disk is not None else Disk()
        self._turn = threading.Lock()
        self._documents: dict[str, bytes] = {}
        self._sizes: dict[str, int] = {}
        self._blobs: dict[str, bytes] = {}
        self._locked: int | None = None
        self.history = History()
        """As it was committed last."""
        if directory is not None:
            self._open(directory)

    def __enter__(self) -> Self:
        """Return the store itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Give the directory free for another process. Closing twice is allowed."""
        with self._turn:
            if self._locked is not None:
                fd, self._locked = self._locked, None
                self._disk.unlock(fd)

    def commit(self, history: History, *documents: bytes) -> History:
        """Keep a history, with documents that it names and that are new; return it with the oldest versions dropped.

        Raises StoreError, with nothing changed: what was committed before still holds.
        """
        with self._turn:
            return self._commit(history, documents)

    def document(self, sha256: str) -> bytes:
        """Return a version's document. Raises StoreError if it is damaged or was taken away."""
        with self._turn:
            if self.directory is None:
                if (kept := self._documents.get(sha256)) is None:
                    raise StoreError(f"document {sha256[:12]} is not kept any more")
                return kept
            path = self.directory / "documents" / sha256
            try:
                document = self._disk.read(path, MAX_DOCUMENT_BYTES)
            except OSError as error:
                raise StoreError(f"{path}: can't be read: {why_unreadable(error)}; {_RESTORE}") from error
            if hashlib.sha256(document).hexdigest() != sha256:
                raise StoreError(f"{path}: is damaged: its bytes are not those of its hash; {_RESTORE}")
            return document

    def write_blob(self, name: str, data: bytes) -> None:
        """Keep bytes under a name, in place of what was there, whole or not at all. Raises StoreError.

        Raises ValueError for a name that is no plain word, or more than MAX_BLOB_BYTES: a fault of ours.
        """
        path = self._blob_path(name)
        if len(data) > MAX_BLOB_BYTES:
            raise ValueError(f"blob {name}: {len(data)} bytes, at most {MAX_BLOB_BYTES} are kept")
        with self._turn:
            if path is None:
                self._blobs[name] = data
                return
            try:
                self._disk.replace(path, data)
            except OSError as error:
                raise StoreError(f"{path}: can't be written: {why_unreadable(error)}") from error

    def read_blob(self, name: str) -> bytes | None:
        """Return the bytes that were kept under a name; None if there are none. Raises StoreError."""
        path = self._blob_path(name)
        with self._turn:
            if path is None:
                return self._blobs.get(name)
            try:
                return self._disk.read(path, MAX_BLOB_BYTES)
            except FileNotFoundError:
                return None
            except OSError as error:
                raise StoreError(f"{path}: can't be read: {why_unreadable(error)}") from error

    def _blob_path(self, name: str) -> Path | None:
        if _BLOB_NAME.fullmatch(name) is None:
            raise ValueError(f"{name!r} is no name of a blob: a-z, 0-9, - and _ only")
        return self.directory / "blobs" / name if self.directory is not None else None

    def _open(self, directory: Path) -> None:
        disk = self._disk
        try:
            for path in (directory, directory / "documents", directory / "blobs"):
                disk.make_directory(path)
            self._locked = disk.lock(directory / "lock")
        except BlockingIOError as error:
            raise StoreError(
                f"{directory}: another process uses this data directory; give each its own --data-dir"
            ) from error
        except OSError as error:
            raise StoreError(
                f"{directory}: can't be used as data directory: {why_unreadable(error)}; it must be a directory in "
                "which this user may write"
            ) from error
        try:
            self.history = self._read_history(directory)
            self._clean(directory)
        except BaseException:
            self.close()
            raise

    def _read_history(self, directory: Path) -> History:
        path = directory / "history"
        try:
            data = self._disk.read(path, _MAX_HISTORY_BYTES)
        except FileNotFoundError:
            return History()
        except OSError as error:
            raise StoreError(f"{path}: can't be read: {why_unreadable(error)}") from error
        return _decoded(data, path)

    def _clean(self, directory: Path) -> None:
        """Remove what a process that was killed has left behind, and learn the documents' sizes."""
        named = {record.sha256 for record in self.history.versions}
        try:
            disk = self._disk
            disk.remove(directory / f"history{PART_SUFFIX}")
            for name in disk.names(directory / "blobs"):
                if name.endswith(PART_SUFFIX):
                    disk.remove(directory / "blobs" / name)
            documents = directory / "documents"
            for name in disk.names(documents):
                if name in named:
                    self._sizes[name] = (documents / name).stat().st_size
                elif _SHA256.fullmatch(name.removesuffix(PART_SUFFIX)):
                    disk.remove(documents / name)
        except OSError as error:
            raise StoreError(f"{directory}: can't be cleaned up: {why_unreadable(error)}") from error

    def _commit(self, history: History, documents: tuple[bytes, ...]) -> History:
        new = {hashlib.sha256(document).hexdigest(): document for document in documents}
        sizes = self._sizes | {sha256: len(document) for sha256, document in new.items()}
        history = _bounded(history, sizes)
        named = {record.sha256 for record in history.versions}
        if self.directory is not None:
            self._write(self.directory, history, {sha256: new[sha256] for sha256 in new if sha256 not in self._sizes})
        else:
            self._documents |= new
        self.history = history
        unnamed = [sha256 for sha256 in sizes if sha256 not in named]
        self._sizes = {sha256: size for sha256, size in sizes.items() if sha256 in named}
        self._forget(unnamed)
        return history

    def _write(self, directory: Path, history: History, documents: dict[str, bytes]) -> None:
        path = directory / "history"
        try:
            for sha256, document in documents.items():
                path = directory / "documents" / sha256
                self._disk.replace(path, document)
            path = directory / "history"
            self._disk.replace(path, _encoded(history))
        except OSError as error:
            why = why_unreadable(error)
            self._put_back(directory)
            raise StoreError(f"{path}: can't be written: {why}; see to the disk and try again") from error

    def _put_back(self, directory: Path) -> None:
        """Make sure that a history that was refused is not found at the next start: it may have its name already."""
        path = directory / "history"
        before = _encoded(self.history)
        try:
            if self._disk.read(path, _MAX_HISTORY_BYTES) != before:
                self._disk.replace(path, before)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(
                f"{path}: can't be written, nor put back as it was: {why_unreadable(error)}; a restart may find the "
                "version that was refused"
            ) from error

    def _forget(self, documents: list[str]) -> None:
        for sha256 in documents:
            if self.directory is None:
                self._documents.pop(sha256, None)
                continue
            try:
                self._disk.remove(self.directory / "documents" / sha256)
            except OSError:
                continue  # it costs a little room until the next start removes it


_RESTORE = "restore it from a backup, or publish another version"


class _Kept(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The history as it is written."""

    versions: tuple[RouteVersion, ...]
    running: int
    trial: int
    next_version: int


def _encoded(history: History) -> bytes:
    kept = _Kept(history.versions, history.running, history.trial, history.next_version)
    body = msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n"
    return b"trunkline-history 1 " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def _decoded(data: bytes, path: Path) -> History:
    header = _HEADER.match(data)
    if header is None:
        raise StoreError(f"{path}: is no history of this program's making, or one of a later version; {_remedy(path)}")
    body = data[header.end() :]
    if hashlib.sha256(body).hexdigest().encode() != header[1]:
        raise StoreError(f"{path}: is damaged: its bytes are not those of its hash; {_remedy(path)}")
    try:
        kept = msgspec.json.decode(body, type=_Kept)
    except msgspec.DecodeError as error:
        raise StoreError(f"{path}: can't be understood: {error}; {_remedy(path)}") from error
    history = History(kept.versions, kept.running, kept.trial, kept.next_version)
    if (why := _contradiction(history)) is not None:
        raise StoreError(f"{path}: contradicts itself: {why}; {_remedy(path)}")
    return history


def _remedy(path: Path) -> str:
    return f"restore it from a backup, or move {path.parent} away to begin anew with the routes file"


def _contradiction(history: History) -> str | None:
    numbers = [record.version for record in history.versions]
    if numbers != sorted(set(numbers)):
        return "its versions do not count up"
    if numbers and history.next_version <= numbers[-1]:
        return "its next version was used already"
    if history.running not in numbers or history.trial not in (0, *numbers):
        return "it has no record of the running version or of the canary"
    if any(_SHA256.fullmatch(record.sha256) is None for record in history.versions):
        return "a document's hash is none"
    return None


def _bounded(history: History, sizes: dict[str, int]) -> History:
    """Drop the oldest versions until the rest is few and small enough."""
    versions = list(history.versions)
    needed = {history.running, history.trial}

    def too_much() -> bool:
        kept = {record.sha256 for record in versions}
        return len(versions) > MAX_VERSIONS or sum(sizes.get(sha256, 0) for sha256 in kept) > MAX_KEPT_BYTES

    while too_much():
        oldest = next((record for record in versions if record.version not in needed), None)
        if oldest is None:
            break
        versions.remove(oldest)
    return replace(history, versions=tuple(versions))
