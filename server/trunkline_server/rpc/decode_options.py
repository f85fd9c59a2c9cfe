"""Provider options and labels: the two maps of a request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trunkline_server.rpc.decode_json import decode_json_object
from trunkline_server.rpc.violations import MAX_KEY_CHARS, Violations, entry_path

MAX_LABELS = 16
MAX_LABEL_KEY_BYTES = 64
MAX_LABEL_VALUE_BYTES = 256
MAX_PROVIDERS = 64
MAX_OPTIONS_BYTES = 16 * 1024
MAX_OPTIONS_DEPTH = 8


class _TwiceError(Exception):
    """A key stands twice in one JSON object."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def decode_labels(labels: Mapping[str, str], found: Violations) -> dict[str, str]:
    """Return the labels, bounded in number and size."""
    if len(labels) > MAX_LABELS:
        found.add("labels", f"must have at most {MAX_LABELS} entries")
        return {}
    for key, value in sorted(labels.items()):
        if not key or len(key.encode()) > MAX_LABEL_KEY_BYTES:
            found.add(entry_path("labels", key), f"must have a key of 1 to {MAX_LABEL_KEY_BYTES} bytes")
        if len(value.encode()) > MAX_LABEL_VALUE_BYTES:
            found.add(entry_path("labels", key), f"must be at most {MAX_LABEL_VALUE_BYTES} bytes")
    return dict(labels)


def decode_provider_options(options: Mapping[str, str], found: Violations) -> dict[str, dict[str, Any]]:
    """Return each provider's options. Which keys a caller may pass is the engine's to say."""
    if len(options) > MAX_PROVIDERS:
        found.add("provider_options_json", f"must have at most {MAX_PROVIDERS} entries")
        return {}
    decoded: dict[str, dict[str, Any]] = {}
    for provider, text in sorted(options.items()):
        path = entry_path("provider_options_json", provider)
        if not provider:
            found.add(path, "must have a provider's name as its key")
        value = decode_json_object(text, path, found, max_bytes=MAX_OPTIONS_BYTES, max_depth=MAX_OPTIONS_DEPTH)
        if value is None:
            continue
        try:
            # A key that stands twice could hide from our checks and still be read by the provider.
            json.loads(text, object_pairs_hook=_refuse_twice, parse_int=str, parse_float=str)
        except _TwiceError as error:
            found.add(path, f"must not hold the key {json.dumps(error.key[:MAX_KEY_CHARS])} twice in one object")
        decoded[provider] = value
    return decoded


def _refuse_twice(pairs: list[tuple[str, Any]]) -> None:
    """Raise if a key occurs twice; the values are of no interest."""
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise _TwiceError(key)
        seen.add(key)
