"""A JSON schema as the vendor takes it for answers: closed objects, and no bounds on values.

Answers are kept to the schema while they are written, which the vendor does for a part of JSON Schema only and refuses
the rest. What it cannot keep to is said to the model in the description instead, as the vendor's own libraries do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from trunkline_server.providers.json_wire import encode_json

_KEPT: Final = frozenset(
    {"$ref", "type", "enum", "const", "description", "title", "required", "additionalProperties", "default"},
)
_SCHEMAS: Final = frozenset({"properties", "$defs", "definitions"})
"""Keywords whose value has schemas by name."""
_CHOICES: Final = {"anyOf": "anyOf", "oneOf": "anyOf", "allOf": "allOf"}
"""Keywords whose value is a list of schemas, and what the vendor has for them."""
_FORMATS: Final = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"},
)
_COUNTS: Final = (0, 1)
"""What `minItems` may be."""


def answer_schema(schema: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return `schema` as the vendor takes it, and whether a part of it is only said to the model.

    The schema is at most as deep as requests may be; a part that is no schema at all is left for the vendor to refuse.
    """
    told: list[str] = []
    return _schema(schema, told), bool(told)


def _schema(schema: Mapping[str, Any], told: list[str]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    unkept: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _CHOICES and isinstance(value, list):
            made[_CHOICES[key]] = [_inner(inner, told) for inner in value]
        elif key in _SCHEMAS and isinstance(value, Mapping):
            made[key] = {name: _inner(inner, told) for name, inner in value.items()}
        elif key == "items":
            made[key] = _inner(value, told)
        elif key in _KEPT or _is_kept_bound(key, value):
            made[key] = value
        elif not key.startswith("$"):
            unkept[key] = value
    _close(made, unkept)
    if unkept:
        told.extend(unkept)
        _describe(made, unkept)
    return made


def _inner(value: object, told: list[str]) -> object:
    return _schema(value, told) if isinstance(value, Mapping) else value


def _is_kept_bound(key: str, value: object) -> bool:
    """Return whether the vendor keeps answers to this bound."""
    if key == "minItems":
        return value in _COUNTS
    return key == "format" and isinstance(value, str) and value in _FORMATS


def _close(made: dict[str, Any], unkept: dict[str, Any]) -> None:
    """Let an object have no properties but those that the schema names: the vendor takes no other ones."""
    if made.get("type") != "object" and "properties" not in made:
        return
    others = made.get("additionalProperties")
    if others is not None and others is not False:
        unkept["additionalProperties"] = others
    made["additionalProperties"] = False


def _describe(made: dict[str, Any], unkept: Mapping[str, Any]) -> None:
    """Say to the model what it must keep to by itself."""
    before = made.get("description")
    words = msgspec.json.format(encode_json(unkept), indent=0).decode()
    made["description"] = f"{before}\n\n{words}" if isinstance(before, str) and before else words
