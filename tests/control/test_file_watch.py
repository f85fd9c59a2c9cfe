"""A change of the routes file is heard of once, however it is made, and only if its content is another."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from trunkline_server.control.file_watch import Events, FileWatch, directory_events
from trunkline_server.control.source import RoutesSource, Stamp

WAIT_S = 15.0


class Said:
    """A log that keeps its warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, event: str, **_fields: Any) -> None:
        self.warnings.append(event)

    debug = info = error = warning

    def is_enabled_for(self, level: int) -> bool:
        return bool(level)

    def write_line(self, line: bytes) -> None:
        raise AssertionError(line)


class CountingSource(RoutesSource):
    """Counts how often the file is read."""

    reads = 0

    def read(self) -> bytes:
        self.reads += 1
        return super().read()


class House:
    """A watched file and what was told of it."""

    def __init__(self, path: Path, log: Said) -> None:
        self.path = path
        self.log = log
        self.source = CountingSource(path)
        self.told: list[bytes] = []
        self.refuses = 0
        """How often it still says that it could not deal with the file."""
        self._news = asyncio.Event()

    async def changed(self) -> bool:
        self.told.append(await asyncio.to_thread(self.path.read_bytes))
        self._news.set()
        self.refuses -= 1
        return self.refuses < 0

    async def until(self, *told: bytes) -> None:
        """Wait until exactly these contents were told, in this order."""
        async with asyncio.timeout(WAIT_S):
            while self.told != list(told):
                assert len(self.told) <= len(told), self.told
                self._news.clear()
                await self._news.wait()


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not holds():  # noqa: ASYNC110 - files and counters set no events
            await asyncio.sleep(0.01)


@asynccontextmanager
async def watched(
    path: Path, known: bytes, *, events: Events | None = None, look_s: float = 60.0, poll_s: float = 0.05
) -> AsyncIterator[House]:
    """Watch a file whose content is known. Its stamp is as good as never looked at: what is heard came as an event."""
    log = Said()
    house = House(path, log)
    watch = FileWatch(house.source, house.changed, log, events=events or directory_events, look_s=look_s, poll_s=poll_s)
    task = asyncio.create_task(watch.run(hashlib.sha256(known).hexdigest()))
    try:
        await until(lambda: house.source.reads or not path.exists())
        yield house
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def put(path: Path, content: bytes) -> None:
    """Replace a file as editors do."""
    part = path.with_suffix(".part")
    part.write_bytes(content)
    part.rename(path)


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def remove(path: Path) -> None:
    path.unlink()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "conf" / "routes.yaml"
    file.parent.mkdir()
    file.write_bytes(b"one")
    return file


async def test_a_file_written_in_place_is_heard_of(path: Path) -> None:
    """A write into the same file is told, once."""
    async with watched(path, b"one") as house:
        write(path, b"two")
        await house.until(b"two")


async def test_a_file_that_is_replaced_is_heard_of(path: Path) -> None:
    """A new file under the old name is told, and so is the next one."""
    async with watched(path, b"one") as house:
        put(path, b"two")
        await house.until(b"two")
        put(path, b"three")
        await house.until(b"two", b"three")


async def test_the_swap_of_a_config_map_is_heard_of(tmp_path: Path) -> None:
    """Kubernetes changes a link beside the file's own link, and removes the old directory."""
    (tmp_path / "..v1").mkdir()
    (tmp_path / "..v1" / "routes.yaml").write_bytes(b"one")
    (tmp_path / "..data").symlink_to("..v1")
    path = tmp_path / "routes.yaml"
    path.symlink_to("..data/routes.yaml")
    async with watched(path, b"one") as house:
        for version, content in ((2, b"two"), (3, b"three")):
            new = tmp_path / f"..v{version}"
            new.mkdir()
            (new / "routes.yaml").write_bytes(content)
            (tmp_path / "..data_tmp").symlink_to(new.name)
            (tmp_path / "..data_tmp").rename(tmp_path / "..data")
            old = tmp_path / f"..v{version - 1}"
            (old / "routes.yaml").unlink()
            old.rmdir()
            await house.until(*[b"two", b"three"][: version - 1])


async def test_a_burst_of_writes_is_read_a_few_times(path: Path) -> None:
    """Many writes close together lead to few reads, and the last content is told last."""
    async with watched(path, b"one") as house:
        before = house.source.reads
        for number in range(200):
            put(path, b"%d" % number)
            await asyncio.sleep(0.005)
        await until(lambda: house.told and house.told[-1] == b"199")
        assert house.source.reads - before <= 20


async def test_the_same_content_again_is_not_told(path: Path) -> None:
    """Writing what the file has already is no change."""
    async with watched(path, b"one") as house:
        before = house.source.reads
        put(path, b"one")
        await until(lambda: house.source.reads > before)
        put(path, b"two")
        await house.until(b"two")


async def test_a_bad_file_and_then_a_good_one_are_both_told(path: Path) -> None:
    """Whether a content is any good is for others to say."""
    async with watched(path, b"one") as house:
        put(path, b"{")
        await house.until(b"{")
        put(path, b"one")
        await house.until(b"{", b"one")


async def test_a_file_that_is_deleted_and_comes_back_is_heard_of(path: Path) -> None:
    """While it is away that is said once; back with another content it is told."""
    async with watched(path, b"one") as house:
        remove(path)
        await until(lambda: house.log.warnings)
        put(path, b"two")
        await house.until(b"two")
        assert house.log.warnings == ["routes_file_unreadable"]


async def test_a_directory_that_is_replaced_is_watched_anew(path: Path) -> None:
    """A new directory under the old name is noticed, and its events are heard from then on."""
    began = 0

    def counted(directory: Path, look_s: float) -> AsyncGenerator[object, None]:
        nonlocal began
        began += 1
        return directory_events(directory, look_s)

    async with watched(path, b"one", events=counted, look_s=0.2) as house:
        path.parent.rename(path.parent.with_name("old"))
        path.parent.mkdir()
        write(path, b"two")
        await house.until(b"two")
        await until(lambda: began == 2)
        put(path, b"three")
        await house.until(b"two", b"three")


async def test_a_directory_that_comes_later_is_watched(tmp_path: Path) -> None:
    """A watch begins although there is nothing yet."""
    path = tmp_path / "later" / "routes.yaml"
    async with watched(path, b"") as house:
        path.parent.mkdir()
        put(path, b"one")
        await house.until(b"one")


async def test_a_change_that_makes_no_event_is_seen_by_its_stamp(tmp_path: Path, path: Path) -> None:
    """A file behind a link to another directory is looked at every few seconds."""
    link = tmp_path / "link" / "routes.yaml"
    link.parent.mkdir()
    link.symlink_to(path)
    async with watched(link, b"one", look_s=0.2) as house:
        put(path, b"two")
        await house.until(b"two")


class StuckSource(RoutesSource):
    """A file system whose times are too coarse to tell two writes apart."""

    def stamp(self) -> Stamp:
        return (1, 2, 3)


async def test_an_event_is_followed_up_though_the_stamp_is_the_same(path: Path) -> None:
    """Of two writes within one tick of the file system's clock the second is not lost."""
    told = asyncio.Event()

    async def changed() -> bool:
        told.set()
        return True

    async def once(_directory: Path, _look_s: float) -> AsyncGenerator[object, None]:
        yield None
        write(path, b"two")
        yield {"written"}
        await asyncio.Event().wait()

    task = asyncio.create_task(
        FileWatch(StuckSource(path), changed, Said(), events=once).run(hashlib.sha256(b"one").hexdigest())
    )
    await asyncio.wait_for(told.wait(), WAIT_S)
    task.cancel()
    await asyncio.wait([task])


async def test_an_idle_watch_does_not_read(path: Path) -> None:
    """Looking at a file that stays the same reads nothing."""
    looks = 0

    async def idle(_directory: Path, _look_s: float) -> AsyncGenerator[object, None]:
        nonlocal looks
        while True:
            await asyncio.sleep(0.01)
            looks += 1
            yield None

    async with watched(path, b"one", events=idle) as house:
        await until(lambda: looks > 10)
        assert house.source.reads == 1


@pytest.mark.parametrize("error", [OSError(24, "too many open files"), OSError(28, "no space left on device")])
async def test_without_events_the_file_is_polled(path: Path, error: OSError) -> None:
    """Where the system has no watches left that is said once, and changes are still told."""

    def none_left(_directory: Path, _look_s: float) -> AsyncGenerator[object, None]:
        raise error

    async with watched(path, b"one", events=none_left) as house:
        put(path, b"two")
        await house.until(b"two")
        put(path, b"three")
        await house.until(b"two", b"three")
        assert house.log.warnings == ["routes_file_polled"]


async def test_a_watch_that_breaks_becomes_polling(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the watching library is no end of the watch."""

    async def broken(*directories: Path, **_settings: Any) -> AsyncGenerator[object, None]:
        if directories:
            raise ExceptionGroup("in its thread", [RuntimeError("error in underlying watcher")])
        yield None

    monkeypatch.setattr("trunkline_server.control.file_watch.awatch", broken)
    async with watched(path, b"one") as house:
        put(path, b"two")
        await house.until(b"two")
        assert house.log.warnings == ["routes_file_polled"]


async def test_a_change_before_the_watch_began_is_told(path: Path) -> None:
    """What happened between the first reading of the file and the watch is not lost."""
    async with watched(path, b"zero") as house:
        await house.until(b"one")


def watches() -> int:
    """How many inotify instances this process holds."""
    found = 0
    for link in list(Path("/proc/self/fd").iterdir()):
        # The descriptor that lists the directory is gone when it is asked about.
        with suppress(FileNotFoundError):
            found += "inotify" in str(link.readlink())
    return found


def workers() -> set[threading.Thread]:
    """The threads that are not idle, of those in which events are waited for."""
    frames = sys._current_frames()
    return {
        thread
        for thread in threading.enumerate()
        if type(thread).__name__ == "WorkerThread" and frames[thread.ident or 0].f_code.co_name != "wait"
    }


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="looks at the descriptors of a Linux process")
async def test_a_cancelled_watch_leaves_no_thread_and_no_descriptor(path: Path) -> None:
    """What waits for events in a thread ends with the watch, and so does what the system kept for it."""
    before = watches()
    async with watched(path, b"one") as house:
        write(path, b"two")
        await house.until(b"two")
        await until(workers)
        assert watches() == before + 1
    await until(lambda: watches() == before)
    await until(lambda: not workers())


async def test_a_file_that_could_not_be_dealt_with_is_told_again(path: Path) -> None:
    """What failed for a reason that may pass is not waited for to change once more: the next look tells it again."""
    async with watched(path, b"one", look_s=0.05) as house:
        house.refuses = 2
        write(path, b"two")
        await house.until(b"two", b"two", b"two")


async def test_an_exception_of_whoever_is_told_ends_the_watch(path: Path) -> None:
    """It is not swallowed: the watch ends, and its owner hears why."""

    async def fails() -> bool:
        raise ValueError("a fault of ours")

    changed: Callable[[], Awaitable[bool]] = fails
    watch = FileWatch(RoutesSource(path), changed, Said(), look_s=60.0)
    with pytest.raises(ValueError, match="a fault of ours"):
        await asyncio.wait_for(watch.run(""), WAIT_S)
