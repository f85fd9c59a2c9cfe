"""The routes file is read in bounds, and its stamp tells when that may be worth while."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trunkline_server.config.tree import MAX_BYTES
from trunkline_server.control.source import RoutesSource


def test_bytes_are_read_through_links(tmp_path: Path) -> None:
    """The content is that of the file behind a link, as it is now."""
    (tmp_path / "real").write_bytes(b"one")
    (tmp_path / "routes.yaml").symlink_to("real")
    source = RoutesSource(tmp_path / "routes.yaml")
    assert source.read() == b"one"
    (tmp_path / "real").write_bytes(b"two")
    assert source.read() == b"two"
    assert source.name == str(tmp_path / "routes.yaml")


def test_no_more_is_read_than_a_document_may_have(tmp_path: Path) -> None:
    """A file without end costs one byte more than the largest document, which the parser then refuses."""
    path = tmp_path / "routes.yaml"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES * 3)
    assert len(RoutesSource(path).read()) == MAX_BYTES + 1


def test_what_is_no_file_is_an_error_at_once(tmp_path: Path) -> None:
    """A missing file, a directory and a pipe are OSErrors; nothing waits for a writer."""
    with pytest.raises(FileNotFoundError):
        RoutesSource(tmp_path / "none").read()
    with pytest.raises(IsADirectoryError):
        RoutesSource(tmp_path).read()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        RoutesSource(tmp_path / "pipe").read()


def test_a_stamp_changes_with_the_file(tmp_path: Path) -> None:
    """Another file in its place has another stamp, none has an empty one."""
    path = tmp_path / "routes.yaml"
    source = RoutesSource(path)
    assert source.stamp() == ()
    path.write_bytes(b"one")
    first = source.stamp()
    assert first == source.stamp()
    (tmp_path / "next").write_bytes(b"two")
    (tmp_path / "next").rename(path)
    assert source.stamp() not in {first, ()}


def test_a_directory_that_was_replaced_is_another_one(tmp_path: Path) -> None:
    """New files leave a directory what it is; another one of the same name is told apart."""
    home = tmp_path / "home"
    home.mkdir()
    source = RoutesSource(home / "routes.yaml")
    first = source.directory_stamp()
    (home / "routes.yaml").write_bytes(b"one")
    assert source.directory_stamp() == first
    home.rename(tmp_path / "old")
    assert source.directory_stamp() == ()
    home.mkdir()
    assert source.directory_stamp() not in {first, ()}
