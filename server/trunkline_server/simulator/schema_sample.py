"""A value that satisfies a JSON schema: what the simulated model answers where a schema is asked for."""

from __future__ import annotations

from typing import Any

MAX_DEPTH = 16
"""Below this depth only what a schema requires is filled in; at twice this depth, nothing (recursive schemas end)."""

_TEXTS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "PT1H",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def sample(schema: object, text: str = "sample") -> Any:
    """Return a value for `schema`, using `text` for free strings.

    Objects get all their properties, arrays one element (or `minItems`), enums their first value. Patterns and
    combinations by `not` or `if` are not solved.
    """
    return _sample(schema, schema, text, 0)


def _sample(schema: object, root: object, text: str, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > 2 * MAX_DEPTH:
        return None
    schema = _resolved(schema, root)
    if "const" in schema:
        return schema["const"]
    for choice in ("enum", "anyOf", "oneOf"):
        if isinstance(schema.get(choice), list) and schema[choice]:
            first = schema[choice][0]
            return first if choice == "enum" else _sample(first, root, text, depth + 1)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), "null")
    if kind == "object" or (kind is None and "properties" in schema):
        return _object(schema, root, text, depth)
    if kind == "array":
        return _array(schema, root, text, depth)
    return _scalar(kind, schema, text)


def _resolved(schema: dict[str, Any], root: object) -> dict[str, Any]:
    """Follow `$ref` inside the document and fold `allOf` into one schema."""
    for _ in range(MAX_DEPTH):
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#"):
            break
        target = root
        for step in filter(None, reference[1:].split("/")):
            name = step.replace("~1", "/").replace("~0", "~")
            target = target.get(name) if isinstance(target, dict) else None
        schema = target if isinstance(target, dict) else {}
    parts = schema.get("allOf")
    if not isinstance(parts, list):
        return schema
    folded = {name: value for name, value in schema.items() if name != "allOf"}
    for part in parts:
        if isinstance(part, dict):
            solved = _resolved(part, root) if part is not schema else {}
            properties = {**folded.get("properties", {}), **solved.get("properties", {})}
            folded = {**folded, **solved, **({"properties": properties} if properties else {})}
    return folded


def _object(schema: dict[str, Any], root: object, text: str, depth: int) -> dict[str, Any]:
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {}
    required = schema.get("required") or ()
    return {
        name: _sample(inner, root, text, depth + 1)
        for name, inner in properties.items()
        if depth < MAX_DEPTH or name in required
    }


def _array(schema: dict[str, Any], root: object, text: str, depth: int) -> list[Any]:
    least = schema.get("minItems")
    most = schema.get("maxItems")
    count = least if isinstance(least, int) and least > 0 else 1
    if most == 0 or (depth >= MAX_DEPTH and not least):
        return []
    return [_sample(schema.get("items"), root, text, depth + 1) for _ in range(min(count, 1000))]


def _scalar(kind: object, schema: dict[str, Any], text: str) -> Any:
    if kind in {"integer", "number"}:
        return _number(schema, whole=kind == "integer")
    if kind == "boolean":
        return True
    if kind == "string":
        return _string(schema, text)
    return None


def _number(schema: dict[str, Any], *, whole: bool) -> float:
    step = schema.get("multipleOf")
    unit = step if isinstance(step, (int, float)) and step > 0 else 1
    if isinstance(low := schema.get("minimum"), (int, float)):
        value = -(-low // unit) * unit
    elif isinstance(low := schema.get("exclusiveMinimum"), (int, float)):
        value = (low // unit + 1) * unit
    elif isinstance(high := schema.get("maximum"), (int, float)):
        value = min(unit, high // unit * unit)
    elif isinstance(high := schema.get("exclusiveMaximum"), (int, float)):
        value = min(unit, (-(-high // unit) - 1) * unit)
    else:
        value = unit
    return int(value) if whole else value


def _string(schema: dict[str, Any], text: str) -> str:
    known = _TEXTS.get(schema.get("format", ""))
    if known is not None:
        return known
    least, most = schema.get("minLength"), schema.get("maxLength")
    value = text
    if isinstance(least, int) and len(value) < least:
        value = value.ljust(min(least, 100_000), ".")
    return value[:most] if isinstance(most, int) and most >= 0 else value
