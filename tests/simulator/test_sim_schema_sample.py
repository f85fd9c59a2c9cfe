"""The values that the simulated model makes up for a JSON schema."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline_server.simulator.schema_sample import sample


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string", "minLength": 8}, "sample.."),
        ({"type": "string", "maxLength": 3}, "sam"),
        ({"type": "string", "format": "date"}, "2026-01-31"),
        ({"type": ["null", "boolean"]}, True),
        ({"type": "integer", "exclusiveMinimum": 4, "multipleOf": 5}, 5),
        ({"type": "integer", "minimum": -7, "maximum": -3}, -7),
        ({"type": "integer", "maximum": -3}, -3),
        ({"type": "number", "exclusiveMaximum": 0}, -1),
        ({"type": "array", "items": {"const": 1}, "minItems": 3}, [1, 1, 1]),
        ({"anyOf": [{"enum": ["x"]}, {"type": "null"}]}, "x"),
        ({"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]}, {"a": 1, "b": 2}),
        ({}, None),
    ],
)
def test_keywords_are_honoured(schema: dict[str, Any], value: object) -> None:
    """Each supported keyword shapes the value."""
    assert sample(schema) == value


def test_recursive_schema_ends() -> None:
    """A schema that requires itself ends instead of recursing for ever."""
    tree = {"type": "object", "properties": {"child": {"$ref": "#"}}, "required": ["child"]}
    value, depth = sample(tree), 0
    while value:
        value, depth = value["child"], depth + 1
    assert depth < 100
    assert sample({"$ref": "#"}) is None
