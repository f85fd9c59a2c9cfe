"""One conversation that has everything: what its caller asks in each of three turns, and what a provider has to hear.

A system message, pictures, two rounds of parallel tool calls, thinking, a tool that failed, a JSON schema, sampling.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence
from typing import Any, Final

from tests.e2e.heard import Called, Heard, Picture, Result, Said, Text, Thought

from trunkline.v1 import (
    REASONING_EFFORT_MEDIUM,
    ROLE_SYSTEM,
    ROLE_TOOL,
    ROLE_USER,
    CompleteRequest,
    FunctionTool,
    JsonSchemaFormat,
    MediaPart,
    Message,
    OutputFormat,
    Part,
    RoutingOptions,
    Sampling,
    Tool,
    ToolResultPart,
)

SYSTEM: Final = "You are brief; «exact» figures only."
QUESTION: Final = "Which of these two towns is warmer?"


def _png(shade: int) -> bytes:
    """Return a picture of one grey pixel."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes([0, shade]))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


PICTURES: Final = (_png(17), _png(230))

_CITY: Final = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
TOOLS: Final = {"weather": _CITY, "population": _CITY}
SCHEMA: Final = {
    "type": "object",
    "properties": {"warmer": {"type": "string", "enum": ["Brno", "Zürich"]}, "by": {"type": "integer"}},
    "required": ["warmer", "by"],
    "additionalProperties": False,
}
ANSWER: Final = {"warmer": "Brno", "by": 1}
"""What the simulator makes up for the schema."""

ROUNDS: Final = (
    [("weather", {"city": "Brno", "days": 1}), ("weather", {"city": "Zürich", "days": 2})],
    [("population", {"city": "Brno", "days": 3}), ("weather", {"city": '東京 "Ω"', "days": 4})],
)
"""The calls of both rounds."""
RESULTS: Final = (
    [("12 °C, windig", False), ("11 °C", False)],
    [("402 739", False), ("no such station", True)],
)
"""What the tools answer to them, and whether they failed."""
THOUGHTS: Final = ("Let me see the weather. ", "And how many people? ", "Now I know. ")

TEMPERATURE: Final = 0.25
TOP_P: Final = 0.875
MOST: Final = 4096
STOP: Final = ["\n\nEND"]
SAMPLING: Final = Sampling(temperature=TEMPERATURE, top_p=TOP_P, max_output_tokens=MOST, stop=STOP)
THINKING: Final = Sampling(max_output_tokens=MOST, reasoning_effort=REASONING_EFFORT_MEDIUM)
"""In place of those, since models that are asked to think take few others."""


def scenario(*, think: bool) -> dict[str, Any]:
    """Return what the simulator says: two rounds of calls, then the answer."""

    def thinking(turn: int) -> dict[str, Any]:
        return {"reasoning": THOUGHTS[turn]} if think else {}

    rules = [
        {
            "times": 1,
            "fault": {"tool_calls": [{"name": name, "arguments": given} for name, given in calls], **thinking(turn)},
        }
        for turn, calls in enumerate(ROUNDS)
    ]
    return {"rules": rules, "default": thinking(2)}


def request(
    model: str, answers: Sequence[Message], *, output_with_tools: bool = True, reasoning: bool = False, **routing: Any
) -> CompleteRequest:
    """Return the request of the turn that follows these answers; the third asks for the schema.

    `output_with_tools`: the third offers the tools too; without, none, since the protocol cannot have both.
    `reasoning`: the model is asked to think.
    """
    last = len(answers) == len(ROUNDS)
    asked = CompleteRequest(
        model=model,
        messages=[
            Message(role=ROLE_SYSTEM, parts=[Part(text=SYSTEM)]),
            Message(
                role=ROLE_USER,
                parts=[
                    Part(text=QUESTION),
                    *(Part(media=MediaPart(mime_type="image/png", data=data)) for data in PICTURES),
                ],
            ),
        ],
        sampling=THINKING if reasoning else SAMPLING,
        routing=RoutingOptions(**routing),
    )
    for answer, results in zip(answers, RESULTS, strict=False):
        asked.messages.append(answer)
        calls = [part.tool_call for part in answer.parts if part.HasField("tool_call")]
        for call, (text, failed) in zip(calls, results, strict=True):
            result = ToolResultPart(tool_call_id=call.id, parts=[Part(text=text)], is_error=failed)
            asked.messages.append(Message(role=ROLE_TOOL, parts=[Part(tool_result=result)]))
    if output_with_tools or not last:
        asked.tools.extend(
            Tool(
                function=FunctionTool(name=name, description=f"The {name}.", parameters_json_schema=json.dumps(schema))
            )
            for name, schema in TOOLS.items()
        )
    if last:
        asked.output.CopyFrom(
            OutputFormat(json_schema=JsonSchemaFormat(name="verdict", schema_json=json.dumps(SCHEMA), strict=True))
        )
    return asked


def turns(rounds: int) -> list[tuple[str, list[Said]]]:
    """Return what has to be heard of the conversation after so many rounds, thinking apart."""
    heard: list[tuple[str, list[Said]]] = [
        ("user", [Text(QUESTION), *(Picture("image/png", data) for data in PICTURES)])
    ]
    number = 0
    for calls, results in list(zip(ROUNDS, RESULTS, strict=True))[:rounds]:
        heard.append(("assistant", [Called(number + at, name, given) for at, (name, given) in enumerate(calls, 1)]))
        heard.append(("tool", [Result(number + at, text, failed) for at, (text, failed) in enumerate(results, 1)]))
        number += len(calls)
    return heard


def without_thoughts(heard: Heard) -> list[tuple[str, list[Said]]]:
    """Return the turns, thinking apart."""
    kept: list[tuple[str, list[Said]]] = [
        (role, [said for said in parts if not isinstance(said, Thought)]) for role, parts in heard.turns
    ]
    return [(role, parts) for role, parts in kept if parts]


def thoughts(heard: Heard) -> list[Thought]:
    """Return the thinking that goes back."""
    return [said for _, parts in heard.turns for said in parts if isinstance(said, Thought)]
