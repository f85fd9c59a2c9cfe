"""Golden pairs: settings, tools, the answer's form and options, and the JSON that Converse gets for them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.providers.bedrock.sending import LOOK, LOOK_SPEC, NOVA, SHORTEST, encoded, warned

from trunkline_server.chat.request import FunctionTool, JsonSchemaOutput, ProviderTool, Sampling, ToolChoice, ToolMode
from trunkline_server.providers.bedrock import BedrockAdapter


def test_sampling() -> None:
    """The four common settings have fields of the API."""
    sampling = Sampling(temperature=0.0, top_p=0.5, max_output_tokens=7, stop=("END", "\n"))
    assert encoded(replace(SHORTEST, sampling=sampling), NOVA)["inferenceConfig"] == {
        "maxTokens": 7,
        "temperature": 0.0,
        "topP": 0.5,
        "stopSequences": ["END", "\n"],
    }


def test_tools_and_their_choice() -> None:
    """Functions are written field by field, with a schema if they have none, a tool of this provider as its JSON."""
    tools = (LOOK, FunctionTool("wait", "", strict=True), ProviderTool("bedrock", {"systemTool": {"name": "search"}}))
    body = encoded(replace(SHORTEST, tools=tools, tool_choice=ToolChoice(function="look", parallel=True)))
    empty = {"type": "object", "properties": {}}
    assert body["toolConfig"] == {
        "tools": [
            LOOK_SPEC,
            {"toolSpec": {"name": "wait", "inputSchema": {"json": empty}, "strict": True}},
            {"systemTool": {"name": "search"}},
        ],
        "toolChoice": {"tool": {"name": "look"}},
    }


@pytest.mark.parametrize(
    ("mode", "choice"),
    [(ToolMode.AUTO, {"auto": {}}), (ToolMode.REQUIRED, {"any": {}})],
)
def test_tool_modes(mode: ToolMode, choice: Any) -> None:
    """A mode has its word."""
    body = encoded(replace(SHORTEST, tools=(LOOK,), tool_choice=ToolChoice(mode)))
    assert body["toolConfig"] == {"tools": [LOOK_SPEC], "toolChoice": choice}


def test_a_model_that_must_call_nothing_gets_no_tools() -> None:
    """The service has no word for it; without tools nothing can be called."""
    request = replace(SHORTEST, tools=(LOOK,), tool_choice=ToolChoice(ToolMode.NONE))
    assert "toolConfig" not in encoded(request)
    assert warned(request) == []


def test_a_schema_is_sent_as_a_text() -> None:
    """The form of the answer is a field of the API; the schema in it is a string."""
    schema = {"type": "object", "properties": {"größe": {"type": "integer", "minimum": 3}}}
    request = replace(SHORTEST, output=JsonSchemaOutput("point", schema, strict=True))
    body = encoded(request, NOVA)
    text_format = body["outputConfig"]["textFormat"]
    assert text_format["type"] == "json_schema"
    assert text_format["structure"]["jsonSchema"]["name"] == "point"
    assert json.loads(text_format["structure"]["jsonSchema"]["schema"]) == schema
    assert warned(request, NOVA) == []


def test_claude_keeps_to_a_part_of_schemas() -> None:
    """Its schemas are made as its maker takes them, and what cannot be kept to is told."""
    schema = {"type": "object", "properties": {"size": {"type": "integer", "minimum": 3}}}
    request = replace(SHORTEST, output=JsonSchemaOutput("point", schema))
    sent = json.loads(encoded(request)["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"])
    assert sent["additionalProperties"] is False
    assert "minimum" not in sent["properties"]["size"]
    assert warned(request) == [("ADJUSTED_FIELD", "output.json_schema.schema_json")]


def test_options_go_where_they_belong() -> None:
    """The API's fields into the body, the model's into its own, and only those of the serving provider."""
    request = replace(
        SHORTEST,
        sampling=Sampling(temperature=1.0, max_output_tokens=5, top_k=3),
        provider_options={
            "bedrock": {
                "requestMetadata": {"team": "a"},
                "inferenceConfig": {"temperature": 0.5},
                "top_k": 7,
                "anthropic_beta": ["x"],
            },
            "gemini": {"x": 1},
        },
    )
    body = encoded(request)
    assert body["requestMetadata"] == {"team": "a"}
    assert body["inferenceConfig"] == {"temperature": 0.5, "maxTokens": 5}
    assert body["additionalModelRequestFields"] == {"top_k": 7, "anthropic_beta": ["x"]}


@pytest.mark.parametrize(
    ("model", "path"),
    [
        (
            "arn:aws:bedrock:us-east-1:1:inference-profile/us.amazon.nova-lite-v1:0",
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.amazon.nova-lite-v1%3A0/converse",
        ),
        ("a b/../c?d#e%2F", "/model/a%20b%2F..%2Fc%3Fd%23e%252F/converse"),
    ],
)
def test_model_ids_are_encoded(model: str, path: str) -> None:
    """No id can leave its place in the path."""
    assert BedrockAdapter().encode(SHORTEST, "bedrock", model, stream=False).path == path
