"""Upstream words made fit for people: secrets and account names out, length bounded."""

from __future__ import annotations

import re
from typing import Final

MAX_TEXT_BYTES: Final = 500
"""The longest upstream text that is kept, in bytes of UTF-8."""

_READ_CHARS: Final = 8192
_HIDDEN: Final = "***"
_SECRETS: Final = re.compile(
    r"(?i:\bbearer\s+\S+|\bbasic\s+[A-Za-z0-9+/=]{16,})"  # credentials of an authorization header
    r"|(?i:\b(?:api[-_ ]?key|secret|token|password|authorization)\s*[=:]\s*[\"']?[^\s\"',;]+)"
    r"|\b(?:sk|pk|rk|gsk|xai|ghp|gho|github_pat)[-_][A-Za-z0-9_*.\-]{3,}"
    r"|\b(?:AIza|AKIA|ASIA|eyJ)[A-Za-z0-9_*.\-]{8,}"
    r"|\b(?:key|org|proj|user|acct|sess)[-_](?=[A-Za-z]*[0-9*])[A-Za-z0-9_*\-]{6,}"  # accounts; no word has a digit
    r"|\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"
    r"|(?<![A-Za-z0-9])(?=[A-Za-z]*[0-9])[A-Za-z0-9]{20,}"
    r"|(?<![A-Za-z0-9_\-*])(?=[A-Za-z_\-*]*[0-9])[A-Za-z0-9_\-*]{40,}"  # shorter ones with hyphens are model names
)


def redact(text: str) -> str:
    """Return `text` with everything that looks like a key, a token or an account replaced by `***`."""
    return _SECRETS.sub(_HIDDEN, text)


def shown_text(text: str, max_bytes: int = MAX_TEXT_BYTES) -> str | None:
    """Return `text` on one line, redacted and cut at a character to `max_bytes`; None if nothing is left."""
    if len(text) > _READ_CHARS:
        # The last word may be half a secret, which no pattern knows any more.
        text = text[:_READ_CHARS].rpartition(" ")[0]
    return cut(redact(" ".join(text.split())), max_bytes) or None


def cut(text: str, max_bytes: int) -> str:
    """Return as much of `text` as fits `max_bytes` of UTF-8, cut at a character."""
    encoded = text.encode("utf-8", "replace")
    return encoded[:max_bytes].decode("utf-8", "ignore")
