"""Encryption of a channel: what is trusted, and the certificate to show."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import TypeAlias

import grpc

PathText: TypeAlias = "str | os.PathLike[str]"


def credentials_of(
    tls: grpc.ChannelCredentials | bool | None,  # noqa: FBT001  what `connect` was given
    *,
    ca: PathText | None,
    cert: PathText | None,
    key: PathText | None,
    server_name: str | None,
) -> grpc.ChannelCredentials | None:
    """Return the credentials of a channel; None: it is not encrypted. The files are read and checked here.

    Takes the arguments of `trunkline.connect`. Raises ValueError for files that cannot be used, and for arguments that
    contradict each other.
    """
    given = ca is not None or cert is not None or key is not None
    if isinstance(tls, grpc.ChannelCredentials):
        if given:
            raise ValueError("tls: credentials are whole already; give `tls=True` beside `ca`, `cert` and `key`")
        return tls
    if tls is False or (tls is None and not given):
        if given or server_name is not None:
            raise ValueError("without TLS there is no use for `ca`, `cert`, `key` and `server_name`: give `tls=True`")
        return None
    if (cert is None) != (key is None):
        raise ValueError("`cert` and `key` belong together: give both or none")
    roots = None if ca is None else _authority(Path(ca))
    if cert is None or key is None:
        return grpc.ssl_channel_credentials(roots)
    chain, private_key = _pair(Path(cert), Path(key))
    return grpc.ssl_channel_credentials(roots, private_key, chain)


def _authority(ca: Path) -> bytes:
    """Return the certificates of an authority, once they are known to be some."""
    pem = _read("ca", ca)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise ValueError(f"ca: {ca}: not a file of PEM certificates") from None
    return pem


def _pair(cert: Path, key: Path) -> tuple[bytes, bytes]:
    """Return a certificate and its key, once they are known to belong together."""
    chain, private_key = _read("cert", cert), _read("key", key)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert, key, password=_no_password)
    except (ssl.SSLError, OSError):
        raise ValueError(
            f"cert: {cert} and {key} are not a PEM certificate and its own key without a password"
        ) from None
    return chain, private_key


def _no_password() -> bytes:
    """Stand in for a password, so that nobody is asked for one at the terminal."""
    return b""


def _read(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{name}: cannot read {path}: {(error.strerror or str(error)).lower()}") from None
