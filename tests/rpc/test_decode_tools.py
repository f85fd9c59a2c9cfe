from __future__ import annotations

import pytest

from trunkline import v1 as pb
from trunkline_server.chat.request import (
    FunctionTool,
    JsonObjectOutput,
    JsonSchemaOutput,
    ProviderTool,
    ToolChoice,
    ToolMode,
)
from trunkline_server.rpc.decode_tools import MAX_TOOLS, decode_output, decode_tool_choice, decode_tools
from trunkline_server.rpc.violations import InvalidRequestError, Violations

FUNCTION = pb.Tool(function=pb.FunctionTool(name="f"))


def refused_tools(*tools: pb.Tool) -> list[str]:
    found = Violations()
    decode_tools(tools, found)
    return paths(found)


def paths(found: Violations) -> list[str]:
    with pytest.raises(InvalidRequestError) as caught:
        found.raise_if_any()
    return [each.path for each in caught.value.violations]


def choice_of(choice: pb.ToolChoice, *tools: pb.Tool) -> ToolChoice | None:
    found = Violations()
    decoded = decode_tool_choice(choice, decode_tools(tools, found), found)
    found.raise_if_any()
    return decoded


def refused_choice(choice: pb.ToolChoice, *tools: pb.Tool) -> list[str]:
    with pytest.raises(InvalidRequestError) as caught:
        choice_of(choice, *tools)
    return [each.path for each in caught.value.violations]


def test_functions_and_provider_tools_decode() -> None:
    """Schemas are decoded once; what is empty is not there."""
    found = Violations()
    tools = decode_tools(
        [
            pb.Tool(
                function=pb.FunctionTool(
                    name="f", description="d", parameters_json_schema='{"type":"object"}', strict=False
                )
            ),
            pb.Tool(function=pb.FunctionTool(name="ns.g-1")),
            pb.Tool(provider=pb.ProviderTool(provider="anthropic", tool_json='{"type":"web_search"}')),
        ],
        found,
    )
    found.raise_if_any()
    assert tools == (
        FunctionTool("f", "d", {"type": "object"}, strict=False),
        FunctionTool("ns.g-1"),
        ProviderTool("anthropic", {"type": "web_search"}),
    )


def test_wrong_tools_are_told_with_their_paths() -> None:
    """Nothing set, names that are wrong or stand twice, JSON that is none."""
    assert refused_tools(
        pb.Tool(),
        pb.Tool(function=pb.FunctionTool(name="", parameters_json_schema="[]")),
        FUNCTION,
        FUNCTION,
        pb.Tool(provider=pb.ProviderTool(tool_json="nope")),
    ) == [
        "tools[0]",
        "tools[1].function.name",
        "tools[1].function.parameters_json_schema",
        "tools[3].function.name",
        "tools[4].provider.provider",
        "tools[4].provider.tool_json",
    ]


def test_the_number_of_tools_is_bounded() -> None:
    """Too many are refused as a whole."""
    assert refused_tools(*[FUNCTION] * (MAX_TOOLS + 1)) == ["tools"]


def test_a_choice_is_a_mode_a_function_or_nothing() -> None:
    """MODE_UNSPECIFIED and an empty message leave it to the provider, even without tools."""
    assert choice_of(pb.ToolChoice()) is None
    assert choice_of(pb.ToolChoice(mode=pb.ToolChoice.MODE_UNSPECIFIED)) is None
    assert choice_of(pb.ToolChoice(mode=pb.ToolChoice.MODE_REQUIRED), FUNCTION) == ToolChoice(ToolMode.REQUIRED)
    assert choice_of(pb.ToolChoice(function="f", parallel=False), FUNCTION) == ToolChoice(function="f", parallel=False)
    assert choice_of(pb.ToolChoice(parallel=True), FUNCTION) == ToolChoice(parallel=True)


def test_a_choice_that_cannot_be_followed_is_refused() -> None:
    """No tools to choose from, a function that is not there, a mode that nobody knows."""
    assert refused_choice(pb.ToolChoice(mode=pb.ToolChoice.MODE_AUTO)) == ["tool_choice"]
    assert refused_choice(pb.ToolChoice(function="f")) == ["tool_choice.function"]
    assert refused_choice(pb.ToolChoice(function="g"), FUNCTION) == ["tool_choice.function"]
    assert refused_choice(pb.ToolChoice(function=""), FUNCTION) == ["tool_choice.function"]
    assert refused_choice(pb.ToolChoice.FromString(b"\x08\x63"), FUNCTION) == ["tool_choice.mode"]


def test_the_form_of_an_answer_decodes() -> None:
    """A JSON object, or JSON of a schema."""
    found = Violations()
    assert decode_output(pb.OutputFormat(json_object=pb.JsonObjectFormat()), found) == JsonObjectOutput()
    form = pb.JsonSchemaFormat(name="n", schema_json='{"type":"object"}', strict=True)
    assert decode_output(pb.OutputFormat(json_schema=form), found) == JsonSchemaOutput(
        "n", {"type": "object"}, strict=True
    )
    found.raise_if_any()


def test_a_form_without_a_format_a_name_or_a_schema_is_refused() -> None:
    """Each of them with its path."""
    found = Violations()
    decode_output(pb.OutputFormat(), found)
    decode_output(pb.OutputFormat(json_schema=pb.JsonSchemaFormat()), found)
    assert paths(found) == ["output", "output.json_schema.name", "output.json_schema.schema_json"]
