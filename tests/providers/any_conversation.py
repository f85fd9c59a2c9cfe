"""Conversations as callers have them: of several vendors' making, in any order that a request may have.

A call has its result, in the turn behind it; everything else may be anywhere.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from trunkline_server.chat.message import (
    MediaPart,
    Message,
    Part,
    RefusalPart,
    Role,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from trunkline_server.chat.request import (
    ChatRequest,
    FunctionTool,
    JsonSchemaOutput,
    ReasoningEffort,
    RoutingOptions,
    Sampling,
    ToolChoice,
    ToolMode,
)

PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\0\0\0\0:~\x9bU"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = (FunctionTool("weather", "The weather.", SCHEMA), FunctionTool("now"))

texts = st.sampled_from(["hi", "", " ", "\n", "one two ", "grün 🎉", "x" * 200])
said = st.builds(TextPart, texts)
pictures = st.just(MediaPart("image/png", data=PNG))
thoughts = st.builds(
    ThinkingPart, texts, st.sampled_from([None, "c2VhbA=="]), st.booleans(), st.sampled_from([None, "elsewhere"])
)
ids = st.sampled_from(
    ["call_1", "toolu_01ABC", "functions.weather:0", "chatcmpl-tool-" + "0" * 32, "ü", "a b", "x" * 90]
)
arguments = st.sampled_from(
    ["{}", '{"city": "Brno"}', '{"city": "東京 \\"Ω\\"", "n": 1e400}', ' { "a":[1,{"b":null}]}']
)


@st.composite
def answers(draw: st.DrawFn) -> list[Message]:
    """Draw an answer of a model, with the results of its calls behind it."""
    parts: list[Part] = draw(st.lists(st.one_of(said, thoughts, st.builds(RefusalPart, texts)), max_size=3))
    names = draw(st.lists(st.sampled_from([tool.name for tool in TOOLS]), max_size=3))
    calls = [ToolCallPart(f"{draw(ids)}{at}", name, draw(arguments)) for at, name in enumerate(names)]
    parts += calls
    if not parts:
        parts = [draw(thoughts)]
    results = [
        ToolResultPart(call.id, tuple(draw(st.lists(said, max_size=2))), draw(st.booleans()))
        for call in draw(st.permutations(calls))
    ]
    if draw(st.booleans()):
        return [Message(Role.ASSISTANT, tuple(parts)), *(Message(Role.TOOL, (result,)) for result in results)]
    return [Message(Role.ASSISTANT, tuple(parts)), *([Message(Role.TOOL, tuple(results))] if results else [])]


asked = st.builds(
    lambda parts, name, mark: [Message(Role.USER, (TextPart("well?"), *parts), name, mark)],
    st.lists(st.one_of(said, pictures), max_size=3),
    st.sampled_from([None, None, "ann"]),
    st.booleans(),
)
instructed = st.builds(
    lambda role, text: [Message(role, (text,))], st.sampled_from([Role.SYSTEM, Role.DEVELOPER]), said
)
sampling = st.builds(
    Sampling,
    temperature=st.sampled_from([None, 0.0, 0.7, 1.0, 2.0]),
    top_p=st.sampled_from([None, 0.001, 0.5, 1.0]),
    top_k=st.sampled_from([None, 1, 40]),
    max_output_tokens=st.sampled_from([None, 1, 100]),
    stop=st.sampled_from([(), ("END",), ("a", "b", "c", "d", "e"), ("\n\nEND",)]),
    seed=st.sampled_from([None, 0, 7, 2**31 - 1]),
    frequency_penalty=st.sampled_from([None, -2.0, 0.0, 2.0]),
    presence_penalty=st.sampled_from([None, 0.5]),
    top_logprobs=st.sampled_from([None, 0, 3]),
    reasoning_effort=st.sampled_from([None, *ReasoningEffort]),
    reasoning_max_tokens=st.sampled_from([None, 0, 64, 2048]),
)
choices = st.sampled_from(
    [
        None,
        ToolChoice(ToolMode.AUTO),
        ToolChoice(ToolMode.NONE),
        ToolChoice(ToolMode.REQUIRED),
        ToolChoice(function="weather"),
        ToolChoice(parallel=False),
        ToolChoice(ToolMode.REQUIRED, parallel=False),
    ]
)


def _of_turn(message: Message, number: int) -> Message:
    """Return a message with ids that no other turn has."""
    parts: list[Part] = []
    for part in message.parts:
        if isinstance(part, ToolCallPart):
            parts.append(replace(part, id=f"{part.id}{number}"))
        elif isinstance(part, ToolResultPart):
            parts.append(replace(part, tool_call_id=f"{part.tool_call_id}{number}"))
        else:
            parts.append(part)
    return replace(message, parts=tuple(parts))


@st.composite
def conversations(draw: st.DrawFn) -> ChatRequest:
    """Draw a request; whatever may be dropped of it may be dropped."""
    first = [*draw(st.lists(instructed, max_size=2)), *draw(st.lists(asked, min_size=1, max_size=1))]
    turns = draw(st.lists(st.one_of(asked, answers(), instructed), max_size=4))
    messages = [_of_turn(message, number) for number, turn in enumerate((*first, *turns)) for message in turn]
    if not messages or messages[-1].role is not Role.TOOL:
        messages += [Message(Role.USER, (TextPart("and now?"),))]
    offers_tools = draw(st.booleans())
    return ChatRequest(
        "default",
        tuple(messages),
        "r1",
        draw(sampling),
        TOOLS if offers_tools else (),
        draw(choices) if offers_tools else None,
        draw(st.sampled_from([None, JsonSchemaOutput("answer", SCHEMA)])),
        RoutingOptions(may_drop=frozenset({"*"})),
    )
