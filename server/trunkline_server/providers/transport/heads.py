"""The heads of requests and responses: checked on the way out, folded on the way in."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from trunkline_server.providers.transport.base import TransportError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trunkline_server.providers.transport.base import UpstreamRequest

KEEP_ALIVE_S: Final = 50.0
"""How long an idle connection is kept, in seconds: less than the minute after which load balancers drop one."""

_FRAMING: Final = frozenset({"connection", "content-length", "expect", "host", "te", "transfer-encoding", "upgrade"})
_HEADER_LINES: Final = re.compile(r"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+: [\t\x20-\x7e\x80-\xff]*\r\n)*")
_METHOD: Final = re.compile(r"[A-Z]+")
_URL: Final = re.compile(r"https?://[^\s/?#@\x00-\x1f\x7f-\U0010ffff]+(?:[/?][!\x24-\x7e\x22]*)?")


@functools.lru_cache(maxsize=1024)
def check_target(method: str, url: str) -> None:
    """Raise TransportError unless `method` and `url` can stand in a request line.

    A URL is absolute, http or https, without credentials and fragment, in ASCII and percent-encoded.
    """
    if not _METHOD.fullmatch(method):
        raise TransportError("the method of an upstream request is no upper-case word")
    if not _URL.fullmatch(url):
        raise TransportError("the URL of an upstream request is not a plain, encoded http or https URL")
    try:
        _ = urlsplit(url).port
    except ValueError:
        raise TransportError("the URL of an upstream request has no valid host and port") from None


def header_lines(request: UpstreamRequest) -> str:
    """Return the header fields of `request` as lines that end in CR LF, `accept-encoding` always among them.

    Raise TransportError for a field that would break the head open, and for the fields that frame a message:
    those are the transport's own. Neither message holds a value.
    """
    lines = "".join([f"{name}: {value}\r\n" for name, value in request.headers.items()])
    if not _HEADER_LINES.fullmatch(lines) or lines.count("\n") != len(request.headers):
        raise TransportError("a header of an upstream request has a name or a value that HTTP does not allow")
    names = {name.lower() for name in request.headers}
    if not _FRAMING.isdisjoint(names):
        raise TransportError(f"the transport itself sets these headers: {', '.join(sorted(_FRAMING & names))}")
    return lines if "accept-encoding" in names else lines + "accept-encoding: identity\r\n"


def fold_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return received header fields by lower-case name, repeated ones joined by `", "`."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name = _lower_name(raw_name)
        value = raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


@functools.lru_cache(maxsize=1024)
def _lower_name(raw_name: bytes) -> str:
    return raw_name.decode("latin-1").lower()


def headers_size(raw: Iterable[tuple[bytes, bytes]]) -> int:
    """Return the bytes of all names and values."""
    return sum(len(name) + len(value) for name, value in raw)
