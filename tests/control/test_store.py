"""The store of versions: what outlasts a restart, a kill and a broken disk."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline_server.control import store as store_module
from trunkline_server.control.store import MAX_VERSIONS, History, Store, StoreError
from trunkline_server.control.store_disk import Disk
from trunkline_server.control.types import Origin, RouteVersion, VersionState


def record(version: int, document: bytes) -> RouteVersion:
    sha256 = hashlib.sha256(document).hexdigest()
    return RouteVersion(
        version, f"{version}-{sha256[:12]}", sha256, 1.5, "alice", "1.2.3.4:5", "why €", Origin.RELOAD, file_sha256="f"
    )


def text(version: int) -> bytes:
    return f"version {version}".encode() * 50


def publish(store: Store, document: bytes | None = None) -> History:
    """Commit the next version, as a publisher does."""
    history, version = store.history, store.history.next_version
    document = text(version) if document is None else document
    if (old := history.find(history.running)) is not None:
        history = history.with_record(replace(old, state=VersionState.SUPERSEDED))
    return store.commit(replace(history.with_record(record(version, document)), running=version), document)


@pytest.mark.parametrize("on_disk", [True, False])
def test_what_was_committed_is_there(tmp_path: Path, on_disk: bool) -> None:  # noqa: FBT001
    """Every version has its record and its document, on disk or in memory."""
    with Store(tmp_path if on_disk else None) as store:
        publish(store)
        history = publish(store)
        assert [(one.version, one.state) for one in history.versions] == [
            (1, VersionState.SUPERSEDED),
            (2, VersionState.RUNNING),
        ]
        assert (history.running, history.next_version) == (2, 3)
        assert [store.document(one.sha256) for one in history.versions] == [text(1), text(2)]


def test_a_restart_finds_it_again(tmp_path: Path) -> None:
    """The next process has the same history and the same documents."""
    with Store(tmp_path) as store:
        publish(store)
        before = publish(store)
    with Store(tmp_path) as store:
        assert store.history == before
        assert store.document(before.versions[0].sha256) == text(1)


def test_only_this_user_may_read_it(tmp_path: Path) -> None:
    """Directories are 0700 and files 0600, whatever the umask lets through."""
    with Store(tmp_path / "a" / "data") as store:
        publish(store)
        store.write_blob("spending", b"x")
        found = [store.directory, *sorted((tmp_path / "a" / "data").rglob("*"))]
        modes = {(path.is_dir(), path.stat().st_mode & 0o777) for path in found if path is not None}
    assert modes == {(True, 0o700), (False, 0o600)}


def test_a_directory_belongs_to_one_process(tmp_path: Path) -> None:
    """A second process is refused as long as the first one has it."""
    first = Store(tmp_path)
    with pytest.raises(StoreError, match="another process uses this data directory; give each its own --data-dir"):
        Store(tmp_path)
    first.close()
    first.close()
    Store(tmp_path).close()


def test_a_place_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    """A file, or a directory that may not be written, is told with what is needed."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="it must be a directory in which this user may write"):
        Store(tmp_path / "file")


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    match how:
        case "cut":
            path.write_bytes(data[: len(data) // 2])
        case "empty":
            path.write_bytes(b"")
        case "flipped":
            path.write_bytes(data[:-10] + bytes([data[-10] ^ 1]) + data[-9:])
        case "foreign":
            path.write_bytes(b"\x7fELF" + bytes(100))
        case "later":
            path.write_bytes(data.replace(b"trunkline-history 1", b"trunkline-history 2"))
        case "other":
            body = b'{"versions": [], "running": 4, "trial": 0, "next_version": 5}'
            path.write_bytes(b"trunkline-history 1 %s\n%s" % (hashlib.sha256(body).hexdigest().encode(), body))
        case "shape":
            body = b'{"versions": 7}'
            path.write_bytes(b"trunkline-history 1 %s\n%s" % (hashlib.sha256(body).hexdigest().encode(), body))


@pytest.mark.parametrize("how", ["cut", "empty", "flipped", "foreign", "later", "other", "shape"])
def test_a_damaged_history_is_refused_with_a_remedy(tmp_path: Path, how: str) -> None:
    """Nothing is guessed from a damaged file: it is named, with what to do, and left as it is."""
    with Store(tmp_path) as store:
        publish(store)
    damage(tmp_path / "history", how)
    damaged = (tmp_path / "history").read_bytes()
    for _ in range(2):  # the refusal gives the lock back
        with pytest.raises(StoreError, match=r"history: .*restore it from a backup, or move .* away to begin anew"):
            Store(tmp_path)
    assert (tmp_path / "history").read_bytes() == damaged


@given(st.binary(max_size=300))
@settings(max_examples=50)
def test_no_bytes_are_taken_for_a_history(data: bytes) -> None:
    """Whatever lies there instead is refused as what it is, never by another error."""
    with pytest.raises(StoreError):
        store_module._decoded(data, Path("history"))


def test_a_damaged_document_is_an_error_of_its_version(tmp_path: Path) -> None:
    """The others can still be read, and the store can be used."""
    with Store(tmp_path) as store:
        first, second = (publish(store) for _ in range(2))
        path = tmp_path / "documents" / second.versions[1].sha256
        damage(path, "flipped")
        with pytest.raises(StoreError, match="is damaged"):
            store.document(path.name)
        path.unlink()
        with pytest.raises(StoreError, match="there is no such file"):
            store.document(path.name)
        assert store.document(first.versions[0].sha256) == text(1)
        publish(store)


def test_the_oldest_versions_are_dropped_and_numbers_go_on(tmp_path: Path) -> None:
    """At most 100 versions are kept with their documents; a number is never used again."""
    with Store(tmp_path) as store:
        store.commit(replace(publish(store), trial=1))
        for _ in range(MAX_VERSIONS + 5):
            history = publish(store)
        numbers = [one.version for one in history.versions]
        assert numbers == [1, *range(8, 107)]  # the trial is kept in any case
        assert len(list((tmp_path / "documents").iterdir())) == MAX_VERSIONS
    with Store(tmp_path) as store:
        assert publish(store).running == 107


def test_large_documents_push_out_older_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """All documents together stay within their bound; versions of one document count once."""
    monkeypatch.setattr(store_module, "MAX_KEPT_BYTES", 10_000)
    store = Store(None)
    for _ in range(20):
        history = publish(store, b"x" * 6_000)
    assert len(history.versions) == 20
    history = publish(store, b"y" * 6_000)
    assert [one.version for one in history.versions] == [21]
    with pytest.raises(StoreError, match="not kept any more"):
        store.document(hashlib.sha256(b"x" * 6_000).hexdigest())


@pytest.mark.parametrize("on_disk", [True, False])
def test_blobs_are_kept_by_name(tmp_path: Path, on_disk: bool) -> None:  # noqa: FBT001
    """The last bytes that were written under a name are read again; unknown names have none."""
    with Store(tmp_path if on_disk else None) as store:
        assert store.read_blob("spending") is None
        store.write_blob("spending", b"one")
        store.write_blob("spending", b"two")
        assert store.read_blob("spending") == b"two"
        for name in ("../history", "", "A", "a/b", "a.part"):
            with pytest.raises(ValueError, match="is no name of a blob"):
                store.write_blob(name, b"")


class Killed(BaseException):
    """The process ends here; nothing of it runs after this."""


class Dying(Disk):
    """A disk whose process dies at its n-th step, or whose steps fail from there on."""

    def __init__(self, steps: int, error: BaseException, *, torn: bool = False) -> None:
        self.left = steps
        self._error = error
        self._torn = torn

    def _step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise self._error

    def create(self, path: Path) -> int:
        self._step()
        return super().create(path)

    def write(self, fd: int, data: bytes) -> None:
        if self._torn and self.left == 0:
            super().write(fd, data[: len(data) // 2])
        self._step()
        super().write(fd, data)

    def sync(self, fd: int) -> None:
        self._step()
        super().sync(fd)

    def rename(self, old: Path, new: Path) -> None:
        self._step()
        super().rename(old, new)

    def remove(self, path: Path) -> None:
        self._step()
        super().remove(path)


COMMIT_STEPS = 10
"""Two files of create, write, fsync, rename and fsync of the directory."""


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("steps", range(COMMIT_STEPS + 1))
def test_a_kill_at_any_step_leaves_the_old_version_or_the_new(tmp_path: Path, steps: int, torn: bool) -> None:  # noqa: FBT001
    """Whichever call is the last: the next start has a whole history, with all its documents and nothing else."""
    with Store(tmp_path) as store:
        before = publish(store)
    disk = Dying(10**6, Killed(), torn=torn)
    store = Store(tmp_path, disk)
    disk.left = steps
    if steps < COMMIT_STEPS:
        with pytest.raises(Killed):
            publish(store)
    else:
        publish(store)
    assert store._locked is not None
    Disk().unlock(store._locked)  # as the system does for a process that died
    with Store(tmp_path) as again:
        # The rename of the history, the ninth step, is the moment.
        assert again.history.running == (2 if steps >= 9 else 1)
        assert again.history.versions[0].sha256 == before.versions[0].sha256
        assert {again.document(one.sha256) for one in again.history.versions} == {
            text(one.version) for one in again.history.versions
        }
        named = {one.sha256 for one in again.history.versions}
        assert {path.name for path in (tmp_path / "documents").iterdir()} == named
        assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("steps", range(COMMIT_STEPS))
def test_a_disk_that_fails_changes_nothing(tmp_path: Path, steps: int) -> None:
    """A step that fails is told; the version that ran is the one of the next start, and the next commit succeeds."""

    class FailsOnce(Dying):
        def _step(self) -> None:
            self.left -= 1
            if self.left == -1:
                raise self._error

    disk = FailsOnce(10**6, OSError(28, "No space left on device"))
    store = Store(tmp_path, disk)
    before = publish(store)
    disk.left = steps
    with pytest.raises(StoreError, match="no space left on device"):
        publish(store)
    assert store.history == before
    assert not list(tmp_path.rglob("*.part"))
    store.close()
    with Store(tmp_path) as again:
        assert again.history == before
        assert publish(again).running == 2


def test_a_disk_that_fails_for_good_says_what_a_restart_may_find(tmp_path: Path) -> None:
    """If the refused history has its name already and the old one can't be put back, that is told."""
    disk = Dying(10**6, OSError(5, "Input/output error"))
    with Store(tmp_path, disk) as store:
        publish(store)
        disk.left = 9
        with pytest.raises(StoreError, match="a restart may find the version that was refused"):
            publish(store)
        assert store.history.running == 1


_PUBLISHES_FOR_EVER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.control.test_store import publish
from trunkline_server.control.store import Store

store = Store(Path(sys.argv[1]))
while True:
    print(publish(store).running, flush=True)
"""


async def test_a_process_that_is_killed_leaves_whole_versions(tmp_path: Path) -> None:
    """SIGKILL in the middle of commits, again and again: the last version that was told, or the next, is there."""
    told = 0
    for published in (1, 2, 5, 9, 14):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _PUBLISHES_FOR_EVER,
            str(tmp_path),
            str(Path(__file__).parents[2]),
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        async with asyncio.timeout(60):
            for _ in range(published):
                told = int(await process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            rest = (await process.stdout.read()).split()
            await process.wait()
        told = int(rest[-1]) if rest else told
        with Store(tmp_path) as store:
            assert store.history.running in {told, told + 1}
            assert all(store.document(one.sha256) == text(one.version) for one in store.history.versions)
