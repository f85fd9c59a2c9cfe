"""Secret references: which ``env:`` and ``file:`` may be read, and how.

A document that somebody sends over the wire names what this process reads, so the names are fenced in: files
below one directory, variables that are meant for secrets. Messages never repeat a reference that was refused:
it may be the secret itself, pasted in the wrong place.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from trunkline_server.config.findings import why_unreadable
from trunkline_server.config.secret import Secret

MAX_SECRET_BYTES: Final = 64 * 1024
"""Largest secret file."""

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")
# It goes into a header: printable ASCII, and no blanks at its ends, which a header would lose. But for documents:
# clouds give out their credentials as JSON of many lines, of which nothing goes into a header as it stands.
_USABLE = re.compile(r"[!-~](?:[ -~]*[!-~])?|\s*\{[ -~\t\r\n]*\}\s*", re.ASCII)


class SecretError(Exception):
    """A secret reference can't be resolved; `code` and the text say why, never the secret."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code: str = code
        """As in a finding, such as ``secret_not_found``."""
        self.message: str = message
        """As in a finding."""


@dataclass(frozen=True, slots=True)
class SecretResolver:
    """Reads secrets from files below one directory and from permitted environment variables."""

    secrets_dir: Path
    """``file:`` reads only below it; symbolic links are followed as long as they stay inside."""
    allowed_env: frozenset[str]
    """Variables that may be read whatever their name (``--secret-env``)."""
    environ: Mapping[str, str] = field(repr=False)
    """Where ``env:`` looks, usually ``os.environ``."""

    def resolve(self, reference: str) -> Secret:
        """Read the secret behind ``env:NAME`` or ``file:PATH``. Blocks for a file's read.

        Raises SecretError.
        """
        scheme, _, rest = reference.partition(":")
        if scheme == "env":
            return _checked(self._from_env(rest), "the variable")
        if scheme == "file":
            return _checked(self._from_file(rest), "the file")
        raise SecretError("literal_secret", "must be a reference, env:NAME or file:PATH")

    def _from_env(self, name: str) -> str:
        permitted = _ENV_NAME.fullmatch(name) and (
            name.startswith("TRUNKLINE_SECRET_") or "_API_KEY" in name or name in self.allowed_env
        )
        if not permitted:
            raise SecretError(
                "secret_not_allowed",
                "names an environment variable that may not be read: its name must start with"
                " TRUNKLINE_SECRET_, contain _API_KEY, or be given with --secret-env",
            )
        value = self.environ.get(name)
        if value is None:
            raise SecretError("secret_not_found", "names an environment variable that is not set")
        return value

    def _from_file(self, name: str) -> str:
        try:
            try:
                content = _read_regular_file(self._inside(name))
            except FileNotFoundError:
                # Rotated just now: the directory that a link led to was removed after the link was followed.
                content = _read_regular_file(self._inside(name))
        except OSError as error:
            raise SecretError(
                "secret_unreadable", f"names a file that can't be read: {why_unreadable(error)}"
            ) from None
        if len(content) > MAX_SECRET_BYTES:
            raise SecretError("secret_too_large", f"names a file of more than {MAX_SECRET_BYTES // 1024} KiB")
        try:
            text = content.decode("ascii")
        except UnicodeDecodeError:
            raise _unusable("the file") from None
        return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text

    def _inside(self, name: str) -> Path:
        try:
            base = self.secrets_dir.resolve(strict=True)
            path = (base / name).resolve(strict=True)
        except (OSError, RuntimeError, ValueError) as error:
            reason = why_unreadable(error) if isinstance(error, OSError) else "its path can't be followed"
            message = f"names a file below {self.secrets_dir} that can't be read: {reason}"
            raise SecretError("secret_not_found", message) from None
        if not path.is_relative_to(base):
            raise SecretError(
                "secret_not_allowed",
                f"names a file that is not below {self.secrets_dir} (see --secrets-dir)",
            )
        return path


def _read_regular_file(path: Path) -> bytes:
    # The path is resolved, so a link in its last place was put there since; a pipe would block for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("it is no regular file")
        return file.read(MAX_SECRET_BYTES + 1)


def _checked(text: str, where: str) -> Secret:
    if not text:
        raise SecretError("secret_empty", f"{where} that it names is empty")
    if _USABLE.fullmatch(text) is None:
        raise _unusable(where)
    return Secret(text)


def _unusable(where: str) -> SecretError:
    return SecretError(
        "secret_unusable",
        f"{where} that it names holds what no header can carry: a secret is one line of printable ASCII"
        " without blanks at its ends, or a JSON document in ASCII",
    )
