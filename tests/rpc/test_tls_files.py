from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from tests.rpc.certificates import Authority
from tests.rpc.conftest import MemoryLog

from trunkline_server.rpc import tls as tls_module
from trunkline_server.rpc.tls import MAX_FILE_BYTES, ServerTls, TlsError, TlsFiles

Spoil = Callable[[Path, Path], None]


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    """Return a good certificate with its key and an authority of clients."""
    authority = Authority()
    cert, key = authority.server().write(tmp_path, "server")
    return TlsFiles(cert, key, authority.write(tmp_path))


def _missing(cert: Path, _key: Path) -> None:
    cert.unlink()


def _folder(_cert: Path, key: Path) -> None:
    key.unlink()
    key.mkdir()


def _junk(cert: Path, _key: Path) -> None:
    cert.write_bytes(b"\x00planted junk")


def _swapped(cert: Path, key: Path) -> None:
    cert_pem, key_pem = cert.read_bytes(), key.read_bytes()
    cert.write_bytes(key_pem)
    key.write_bytes(cert_pem)


def _empty(_cert: Path, key: Path) -> None:
    key.write_bytes(b"")


def _of_another(_cert: Path, key: Path) -> None:
    key.write_bytes(Authority().server().key_pem)


def _locked(cert: Path, key: Path) -> None:
    pair = Authority().server()
    cert.write_bytes(pair.cert_pem)
    key.write_bytes(pair.private(serialization.BestAvailableEncryption(b"planted")))


def _huge(cert: Path, _key: Path) -> None:
    cert.write_bytes(cert.read_bytes() + b"\n" * MAX_FILE_BYTES)


SPOILT: list[tuple[Spoil, str]] = [
    (_missing, "cannot read the certificate .*server.pem: there is no such file"),
    (_folder, "cannot read the key .*server.key: it is a directory"),
    (_junk, "no certificate and key in PEM form"),
    (_swapped, "no certificate and key in PEM form"),
    (_empty, "no certificate and key in PEM form"),
    (_of_another, "is not that of the certificate .*give the two that belong together"),
    (_locked, "has a password: give one without"),
    (_huge, "is larger than"),
]


@pytest.mark.parametrize(("spoil", "told"), SPOILT)
def test_files_that_cannot_be_used_are_refused_with_a_remedy(files: TlsFiles, spoil: Spoil, told: str) -> None:
    """Each way in which a certificate and its key can be wrong is told by file and reason, never by content."""
    spoil(files.cert, files.key)
    with pytest.raises(TlsError, match=told) as caught:
        ServerTls(files)
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"junk", b"\xff", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_an_authority_without_certificates_is_refused(files: TlsFiles, content: bytes) -> None:
    """A file of the clients' authority must hold certificates: with an empty one nobody could call."""
    assert files.client_ca is not None
    files.client_ca.write_bytes(content)
    with pytest.raises(TlsError, match=r"clients' authority .* holds no PEM certificates"):
        ServerTls(files)


@pytest.mark.parametrize(("spoil", "told"), SPOILT)
def test_a_broken_new_pair_changes_nothing(files: TlsFiles, spoil: Spoil, told: str) -> None:
    """A reload that finds files that cannot be used says so, and finds a good pair again afterwards."""
    tls = ServerTls(files)
    spoil(files.cert, files.key)
    with pytest.raises(TlsError, match=told):
        tls.reload()
    if files.key.is_dir():
        files.key.rmdir()
    Authority().server().write(files.cert.parent, "server")
    assert tls.reload()
    assert not tls.reload()


def test_files_that_are_what_they_were_change_nothing(files: TlsFiles) -> None:
    """A reload of the same contents, written anew, is told from one of others."""
    tls = ServerTls(files)
    files.cert.write_bytes(files.cert.read_bytes())
    assert not tls.reload()
    assert files.client_ca is not None
    files.client_ca.write_bytes(Authority().pair.cert_pem)
    assert tls.reload()


def test_a_certificate_without_a_clients_authority_is_enough(files: TlsFiles) -> None:
    """Without a clients' authority no client is asked for a certificate."""
    assert ServerTls(TlsFiles(files.cert, files.key)).credentials() is not None


async def test_a_watch_tells_of_new_and_of_broken_files(files: TlsFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch shows a new pair, tells a broken one once however long it stays, and the next good one again."""
    monkeypatch.setattr(tls_module, "CHECK_EVERY_S", 0.01)
    tls, log, failures = ServerTls(files), MemoryLog(), list[str]()
    watching = asyncio.create_task(tls.watch(log, lambda: failures.append("failed")))
    try:
        Authority().server().write(files.cert.parent, "server")
        await log.next_of("tls_reloaded", 1)
        _of_another(files.cert, files.key)
        (rejected,) = await log.next_of("tls_rejected")
        Authority().server().write(files.cert.parent, "server")
        await log.next_of("tls_reloaded", 2)
    finally:
        watching.cancel()
    assert "belong together" in rejected["meaning"]
    assert failures == ["failed"]
    assert len(log.of("tls_rejected")) == 1
    with pytest.raises(asyncio.CancelledError):
        await watching


@pytest.mark.parametrize(
    ("lasts", "told"),
    [(timedelta(days=13), "expires in 13.0 days"), (timedelta(days=-2), "has expired"), (timedelta(days=15), "")],
)
async def test_a_watch_warns_of_a_certificate_that_ends_soon(
    files: TlsFiles, monkeypatch: pytest.MonkeyPatch, lasts: timedelta, told: str
) -> None:
    """Two weeks before its end, and afterwards, it is told, once a day however often the watch looks."""
    monkeypatch.setattr(tls_module, "CHECK_EVERY_S", 0.01)
    Authority().server(lasts).write(files.cert.parent, "server")
    tls, log = ServerTls(files), MemoryLog()
    watching = asyncio.create_task(tls.watch(log))
    try:
        for number in range(1, 3):  # each shows that the watch has looked meanwhile
            Authority().server(lasts).write(files.cert.parent, "server")
            await log.next_of("tls_reloaded", number)
    finally:
        watching.cancel()
    warnings = [each["meaning"] for each in log.of("tls_certificate_ends")]
    assert len(warnings) == bool(told)
    assert told in "".join(warnings)


async def test_a_pair_that_is_half_written_is_not_told(files: TlsFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate whose key comes a moment later is no fault, and nothing is told of it."""
    looks = 0
    fresh = Authority().server()
    tls, log = ServerTls(files), MemoryLog()
    reload = tls.reload

    def looked() -> bool:
        nonlocal looks
        looks += 1
        if looks == 1:
            files.cert.write_bytes(fresh.cert_pem)
        if looks == 2:
            files.key.write_bytes(fresh.key_pem)
        return reload()

    monkeypatch.setattr(tls_module, "CHECK_EVERY_S", 0.01)
    monkeypatch.setattr(tls, "reload", looked)
    watching = asyncio.create_task(tls.watch(log))
    await log.next_of("tls_reloaded")
    watching.cancel()
    assert log.of("tls_rejected") == []
