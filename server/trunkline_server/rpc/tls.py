"""Encryption of a port: a certificate and its key, whose files may change while the server runs.

What is shown to new connections lies in memory. The files are looked at beside the handshakes, never in one; a pair
that cannot be used changes nothing and is told. Connections that are open keep what they began with.

grpc takes TLS 1.2 and 1.3 and nothing older, and HTTP/2 alone by ALPN.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc

from trunkline_server.config.findings import why_unreadable
from trunkline_server.rpc.certificate import expires_unix_s
from trunkline_server.telemetry.logs import Log

MAX_FILE_BYTES = 1024 * 1024
"""Largest file of certificates or of a key."""
CHECK_EVERY_S = 1.0
"""How often `watch` looks at the files."""
WARN_BEFORE_S = 14 * 86_400.0
"""How long before a certificate's end `watch` begins to warn."""
WARN_EVERY_S = 86_400.0
_MISMATCHES = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"})
"""OpenSSL's words for a key that is not the certificate's."""
_READS = 3
"""How often files are read that change while they are checked."""


class TlsError(Exception):
    """The files of a port's certificate cannot be used; the message says which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where a port's certificate is. PEM files."""

    cert: Path
    """The server's certificate, and those between it and the authority's, in this order."""
    key: Path
    """The certificate's key, without a password."""
    client_ca: Path | None = None
    """The authority of the clients' certificates: every connection needs one. None: no client is asked for one."""


@dataclass(frozen=True, slots=True, repr=False)
class _Material:
    """What was in the files, checked."""

    cert: bytes
    key: bytes
    client_ca: bytes | None

    @property
    def digest(self) -> bytes:
        """Tell it from any other."""
        parts = (self.cert, self.key, self.client_ca or b"")
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()


class ServerTls:
    """A certificate for any number of ports. `reload` is for any thread; `credentials` are for one server each."""

    def __init__(self, files: TlsFiles) -> None:
        """Read and check the files. Blocking. Raises TlsError."""
        self.files = files
        self._lock = threading.Lock()
        material = _load(files)
        self._digest = material.digest
        self._expires_unix_s = expires_unix_s(material.cert)
        self._shown = _configuration(material)

    def reload(self) -> bool:
        """Read the files again and show what they hold to new connections; return whether it is something else.

        Blocking. Raises TlsError, and goes on with what it had.
        """
        with self._lock:
            material = _load(self.files)
            digest = material.digest
            if digest == self._digest:
                return False
            self._shown, self._digest = _configuration(material), digest
            self._expires_unix_s = expires_unix_s(material.cert)
            return True

    @property
    def expires_unix_s(self) -> float:
        """When the certificate that is shown ends: clients refuse it from then on."""
        return self._expires_unix_s

    def credentials(self) -> grpc.ServerCredentials:
        """Return credentials for one server, which show what the last good `reload` found."""
        told = self._shown

        def newer() -> grpc.ServerCertificateConfiguration | None:
            # Asked in each handshake, in a thread of grpc's: None keeps what grpc has built already.
            nonlocal told
            shown = self._shown
            if shown is told:
                return None
            told = shown
            return shown

        return grpc.dynamic_ssl_server_credentials(
            told,
            newer,  # type: ignore[arg-type]  # the stubs leave out that None keeps what there is
            require_client_authentication=self.files.client_ca is not None,
        )

    async def watch(self, log: Log, on_failure: Callable[[], None] = lambda: None) -> None:
        """Look at the files again and again, until cancelled.

        A new certificate is told as `tls_reloaded`. Files that cannot be used are told as `tls_rejected`, once, and
        `on_failure` is called; but only when they are still so a second later: a certificate and its key are
        seldom written at the same moment. A certificate that ends soon is warned of once a day.
        """
        wrong, told, warned_at = "", "", -math.inf
        while True:
            if time.monotonic() >= warned_at + WARN_EVERY_S and self._warn_of_end(log):
                warned_at = time.monotonic()
            await asyncio.sleep(CHECK_EVERY_S)
            changed, why_not = await asyncio.to_thread(self._try_reload)
            if changed:
                log.info("tls_reloaded", cert=str(self.files.cert))
            if why_not and why_not == wrong != told:
                log.error("tls_rejected", meaning=f"{why_not}; the certificate before goes on being shown")
                on_failure()
                told = why_not
            if not why_not:
                told = ""
            wrong = why_not

    def _warn_of_end(self, log: Log) -> bool:
        """Tell if the certificate has ended or will soon; return whether it was told."""
        left_s = self._expires_unix_s - time.time()
        if left_s > WARN_BEFORE_S:
            return False
        what = "has expired: clients refuse it" if left_s <= 0 else f"expires in {left_s / 86_400:.1f} days"
        meaning = f"the certificate {what}; put a new one and its key in the place of the files"
        log.warning("tls_certificate_ends", cert=str(self.files.cert), meaning=meaning)
        return True

    def _try_reload(self) -> tuple[bool, str]:
        """Return whether something else is shown now, and why not if the files cannot be used."""
        try:
            return self.reload(), ""
        except TlsError as error:
            return False, str(error)


def _configuration(material: _Material) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(material.key, material.cert)], material.client_ca)


def _load(files: TlsFiles) -> _Material:
    """Return what the files hold, once it is known to fit together. Raises TlsError."""
    for _ in range(_READS):
        material = _read_all(files)
        try:
            _check(files, material)
        except TlsError:
            if _read_all(files) == material:
                raise
            continue  # they are being written
        if _read_all(files) == material:
            return material
    raise TlsError(f"{files.cert} and {files.key} change all the time; write each anew and rename it to its place")


def _read_all(files: TlsFiles) -> _Material:
    return _Material(
        cert=_read(files.cert, "certificate"),
        key=_read(files.key, "key"),
        client_ca=None if files.client_ca is None else _read(files.client_ca, "clients' authority"),
    )


def _read(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise TlsError(f"cannot read the {what} {path}: {why_unreadable(error)}") from None
    if len(content) > MAX_FILE_BYTES:
        raise TlsError(f"the {what} {path} is larger than {MAX_FILE_BYTES} bytes: no PEM file of certificates is")
    return content


def _check(files: TlsFiles, material: _Material) -> None:
    """Refuse what grpc would only refuse in a handshake. Never says what is in a file. Raises TlsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    has_password = False

    def no_password() -> bytes:
        # Else whoever started the server would be asked for one at the terminal.
        nonlocal has_password
        has_password = True
        return b""

    try:
        # From the files themselves, since the library takes no bytes here; `_load` sees whether they changed meanwhile.
        context.load_cert_chain(files.cert, files.key, password=no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        if has_password:
            raise TlsError(f"the key {files.key} has a password: give one without") from None
        raise TlsError(_why_no_pair(files, error)) from None
    if material.client_ca is None:
        return
    try:
        context.load_verify_locations(cadata=material.client_ca.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise TlsError(
            f"the clients' authority {files.client_ca} holds no PEM certificates: it must have the certificate that "
            "signs those of the clients"
        ) from None


def _why_no_pair(files: TlsFiles, error: Exception) -> str:
    """Return what is wrong with a certificate and its key."""
    if getattr(error, "reason", None) in _MISMATCHES:
        return f"the key {files.key} is not that of the certificate {files.cert}: give the two that belong together"
    return (
        f"{files.cert} and {files.key} are no certificate and key in PEM form: the first must hold a "
        "`-----BEGIN CERTIFICATE-----`, the second a private key without a password"
    )
