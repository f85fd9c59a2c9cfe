"""A request's input tokens, counted in all of its parts, and what is learned of how far off that was."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.chat.known_counts import COUNTED, ENGLISH, JSON

from trunkline_server.chat.estimate import (
    LEARNED_FROM,
    MODELS_MAX,
    RATIO_MAX,
    RATIO_MIN,
    Calibration,
    estimate_input_tokens,
)
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
    JsonObjectOutput,
    JsonSchemaOutput,
    ProviderTool,
    Sampling,
)
from trunkline_server.chat.text_tokens import text_tokens

SCHEMA = {"type": "object", "properties": {f"field_{at}": {"type": "string", "enum": ["a", "b"]} for at in range(20)}}
SHORT = ChatRequest("m", (Message(Role.USER, (TextPart("hi"),)),), "r")


def asking(*parts: Part) -> ChatRequest:
    return ChatRequest("m", (Message(Role.USER, parts),), "r")


def test_a_conversation_counts_all_its_texts() -> None:
    """Within a fifth of the counted tokens of what stands in it, templates included."""
    messages = tuple(Message(Role.USER, (TextPart(text),)) for text, _ in COUNTED.values())
    counted = sum(count for _, count in COUNTED.values())
    assert abs(estimate_input_tokens(ChatRequest("m", messages, "r")) / counted - 1) <= 0.2


@pytest.mark.parametrize(
    "part",
    [
        RefusalPart(ENGLISH),
        ThinkingPart(ENGLISH),
        ThinkingPart("", signature=ENGLISH),
        ToolCallPart("c", "look_up", ENGLISH),
        ToolResultPart("c", (TextPart(ENGLISH),)),
        ToolResultPart("c", (TextPart("x"), MediaPart("image/png", uri="https://x"))),
        MediaPart("image/png", uri="https://x"),
    ],
)
def test_every_kind_of_part_counts(part: Part) -> None:
    """What a provider reads is charged, inside the results of tools too."""
    assert estimate_input_tokens(asking(TextPart("hi"), part)) >= estimate_input_tokens(SHORT) + text_tokens(ENGLISH)


@pytest.mark.parametrize(
    "request_",
    [
        replace(SHORT, tools=(FunctionTool("f", None, SCHEMA),)),
        replace(SHORT, tools=(ProviderTool("p", SCHEMA),)),
        replace(SHORT, output=JsonSchemaOutput("answer", SCHEMA)),
    ],
)
def test_schemas_count_as_the_json_that_they_are(request_: ChatRequest) -> None:
    """Those of tools and that of the answer."""
    added = estimate_input_tokens(request_) - estimate_input_tokens(SHORT)
    assert 350 <= added <= 650


def test_descriptions_and_names_count() -> None:
    """A tool's description is read by the model, and so is who speaks."""
    described = replace(SHORT, tools=(FunctionTool("f", ENGLISH),))
    named = replace(SHORT, messages=(replace(SHORT.messages[0], name="a_long_name_of_a_user"),))
    assert estimate_input_tokens(described) >= text_tokens(ENGLISH)
    assert estimate_input_tokens(named) > estimate_input_tokens(SHORT)


def test_what_is_no_input_does_not_count() -> None:
    """The limit of the answer, a bare JSON format and labels cost nothing to read."""
    other = replace(SHORT, sampling=Sampling(max_output_tokens=9), output=JsonObjectOutput(), labels={"a": JSON})
    assert estimate_input_tokens(other) == estimate_input_tokens(SHORT)


def test_a_calibration_learns_a_models_factor() -> None:
    """Half of it after the first answer, nearly all after twenty; other models keep theirs."""
    known = Calibration()
    assert known.calibrated("a", 1000) == 1000
    known.learn("a", 1000, 1400)
    assert known.calibrated("a", 1000) == 1200
    for _ in range(20):
        known.learn("a", 500, 700)
    assert 1350 <= known.calibrated("a", 1000) <= 1400
    assert known.calibrated("b", 1000) == 1000


def test_a_calibration_follows_a_model_that_changes() -> None:
    """The latest observation never weighs less than a twentieth."""
    known = Calibration()
    for _ in range(10_000):
        known.learn("a", 100, 100)
    for _ in range(100):
        known.learn("a", 100, 200)
    assert known.ratio("a") == pytest.approx(2.0, abs=0.02)


def test_no_observation_leads_beyond_the_bounds() -> None:
    """A quarter to four times: a usage that is nonsense does no more than that."""
    known = Calibration()
    for _ in range(1000):
        known.learn("high", 100, 10**12)
        known.learn("low", 10**9, 1)
    assert known.ratio("high") == pytest.approx(RATIO_MAX)
    assert known.ratio("low") == pytest.approx(RATIO_MIN)
    assert known.calibrated("low", 3) == 1


def test_what_teaches_nothing_is_passed_over() -> None:
    """Short requests, whose count is a template's, and counts of 0."""
    known = Calibration()
    known.learn("a", LEARNED_FROM - 1, 500)
    known.learn("a", 500, 0)
    assert known.ratio("a") == 1.0


def test_a_calibration_is_bounded() -> None:
    """The model that was heard of longest ago is forgotten, and not the one that is heard of all the time."""
    known = Calibration()
    for number in range(MODELS_MAX + 500):
        known.learn(f"m{number}", 100, 200)
        known.learn("always", 100, 200)
    assert repr(known) == f"<Calibration: {MODELS_MAX} models>"
    assert known.ratio("always") > 1.9
    assert known.ratio("m0") == 1.0
    assert known.ratio(f"m{MODELS_MAX + 499}") == 1.5
