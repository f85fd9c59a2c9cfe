"""Schemas of answers as the vendor takes them.

What it keeps to, as of 2026-11-23: https://platform.claude.com/docs/en/build-with-claude/structured-outputs, and what
its Python library 2.12.0 makes of a schema.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from anthropic import transform_schema
from tests.providers.anthropic.messages_requests import SHORTEST, body_of, warned

from trunkline_server.chat.request import JsonSchemaOutput
from trunkline_server.providers.anthropic.schema import answer_schema

KEPT: dict[str, dict[str, Any]] = {
    "closed object": {
        "type": "object",
        "properties": {"a": {"type": "string", "description": "d"}, "b": {"type": ["integer", "null"]}},
        "required": ["a"],
        "additionalProperties": False,
    },
    "choices": {"anyOf": [{"type": "string", "enum": ["x", "y"]}, {"const": 3}, {"type": "null"}]},
    "lists": {"type": "array", "items": {"type": "string", "format": "date-time"}, "minItems": 1},
    "references": {
        "$defs": {"n": {"type": "object", "properties": {}, "additionalProperties": False}},
        "$ref": "#/$defs/n",
    },
}


@pytest.mark.parametrize("case", KEPT)
def test_what_the_vendor_keeps_to_is_sent_as_it_is(case: str) -> None:
    """Nothing is added and nothing told."""
    assert answer_schema(KEPT[case]) == (KEPT[case], False)


def test_objects_are_closed_wherever_they_stand() -> None:
    """The vendor refuses one that is open, and one that does not say it."""
    inner = {"type": "object", "properties": {"x": {"type": "integer"}}}
    closed = {**inner, "additionalProperties": False}
    schema = {"type": "array", "items": {"anyOf": [inner, {"type": "object", "properties": {"y": inner}}]}}
    assert answer_schema(schema) == (
        {
            "type": "array",
            "items": {
                "anyOf": [closed, {"type": "object", "properties": {"y": closed}, "additionalProperties": False}]
            },
        },
        False,
    )


@pytest.mark.parametrize(
    ("schema", "made"),
    [
        ({"type": "integer", "minimum": 1}, {"type": "integer", "description": '{"minimum": 1}'}),
        (
            {"type": "string", "pattern": "^a", "description": "A word."},
            {"type": "string", "description": 'A word.\n\n{"pattern": "^a"}'},
        ),
        ({"type": "array", "minItems": 2}, {"type": "array", "description": '{"minItems": 2}'}),
        ({"type": "string", "format": {}}, {"type": "string", "description": '{"format": {}}'}),
        ({"type": "string", "format": "color"}, {"type": "string", "description": '{"format": "color"}'}),
        (
            {"type": "object", "additionalProperties": {"type": "string"}},
            {
                "type": "object",
                "additionalProperties": False,
                "description": '{"additionalProperties": {"type": "string"}}',
            },
        ),
        ({"oneOf": [{"type": "string"}]}, {"anyOf": [{"type": "string"}]}),
        ({"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "null"}, {"type": "null"}),
    ],
)
def test_bounds_are_said_to_the_model(schema: dict[str, Any], made: dict[str, Any]) -> None:
    """What the vendor does not keep to stands in the description; a name of the dialect says nothing."""
    assert answer_schema(schema)[0] == made


def test_bounds_that_are_only_said_are_told() -> None:
    """The caller hears that they are not kept to."""
    bounded = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 9}}}
    request = replace(SHORTEST, output=JsonSchemaOutput("n", bounded))
    assert warned(request) == [("ADJUSTED_FIELD", "output.json_schema.schema_json")]
    assert "maximum" not in body_of(request)["output_config"]["format"]["schema"]["properties"]["n"]


@pytest.mark.parametrize("odd", [{}, {"properties": 7}, {"anyOf": 3}, {"items": True}, {"type": "object", "$defs": []}])
def test_a_schema_of_an_odd_shape_is_the_vendor_s_to_refuse(odd: dict[str, Any]) -> None:
    """It is written without an error of ours."""
    assert isinstance(answer_schema(odd)[0], dict)


def test_the_vendor_s_own_library_makes_the_same_of_it() -> None:
    """Closed objects, kept and unkept bounds and references come out as the official package has them."""
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "Who."},
            "born": {"type": "string", "format": "date"},
            "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1},
            "kin": {"$ref": "#/$defs/kin"},
        },
        "required": ["name"],
        "$defs": {"kin": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": []}},
    }
    assert answer_schema(schema)[0] == transform_schema(json.loads(json.dumps(schema)))
