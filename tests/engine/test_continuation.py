"""Going on from a text that broke off: what is asked for, what may still come, and when it cannot be done."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_server.chat.answer import Usage
from trunkline_server.chat.message import Message, Role, TextPart
from trunkline_server.chat.request import ChatRequest, JsonObjectOutput, JsonSchemaOutput, Sampling
from trunkline_server.engine.continuation import cannot_continue, continued_request, left_output_tokens
from trunkline_server.engine.frames import ContinuationMethod
from trunkline_server.engine.standing import Standing

ASKED = Message(Role.USER, (TextPart("Tell me of the fox."),))
REQUEST = ChatRequest("default", (ASKED,), "r-1", Sampling(temperature=0.5, max_output_tokens=100), labels={"a": "b"})
STANDING = Standing("The fox", (), (), has_refusal=False, first_open_part=None, text_before_open="The fox")


def test_a_prefill_is_the_conversation_with_the_text_as_the_assistants_turn() -> None:
    """Nothing is put behind it, and nothing else of the request changes."""
    request = continued_request(REQUEST, "The fox", ContinuationMethod.PREFILL, 40)
    assert request.messages == (ASKED, Message(Role.ASSISTANT, (TextPart("The fox"),)))
    assert request.sampling == Sampling(temperature=0.5, max_output_tokens=40)
    assert replace(request, messages=REQUEST.messages, sampling=REQUEST.sampling) == REQUEST


def test_a_target_without_prefill_is_asked_in_words() -> None:
    """The same, and behind it a turn of the user's that asks to go on."""
    prefilled = continued_request(REQUEST, "The fox", ContinuationMethod.PREFILL, None)
    prompted = continued_request(REQUEST, "The fox", ContinuationMethod.PROMPTED, None)
    assert prompted.messages[:-1] == prefilled.messages
    assert prompted.messages[-1].role is Role.USER
    (part,) = prompted.messages[-1].parts
    assert isinstance(part, TextPart)
    assert "Go on from exactly where it ends" in part.text
    assert prompted.sampling == REQUEST.sampling


@pytest.mark.parametrize(
    ("limit", "delivered", "usage", "left"),
    [
        (None, "The fox", Usage(output_tokens=3), None),
        (100, "The fox", Usage(output_tokens=3), 97),
        (100, "The fox", Usage(output_tokens=0), 100),
        (100, "The fox", None, 98),
        (100, "The fox", Usage(input_tokens=9), 98),
        (100, "", None, 100),
        (100, "x", None, 99),
        (100, "éé", None, 99),
        (100, "ééé", None, 98),
        (2, "The fox jumps", None, 0),
        (2, "The fox", Usage(output_tokens=5), 0),
    ],
)
def test_the_output_limit_shrinks_by_what_was_delivered(
    limit: int | None, delivered: str, usage: Usage | None, left: int | None
) -> None:
    """By the provider's count, or a quarter of the bytes, rounded up; never below 0; no limit stays no limit."""
    request = replace(REQUEST, sampling=Sampling(max_output_tokens=limit))
    assert left_output_tokens(request, delivered, usage) == left


@given(st.integers(0, 50), st.text(max_size=50), st.one_of(st.none(), st.integers(0, 60)))
def test_what_is_left_is_never_negative_nor_more_than_was_asked_for(
    limit: int, delivered: str, counted: int | None
) -> None:
    """Whatever a provider says it used."""
    request = replace(REQUEST, sampling=Sampling(max_output_tokens=limit))
    left = left_output_tokens(request, delivered, Usage(output_tokens=counted))
    assert left is not None
    assert 0 <= left <= limit


def test_plain_text_can_be_continued() -> None:
    """There is no reason against it, with an open call behind it either."""
    assert cannot_continue(REQUEST, STANDING) == ""
    with_call = replace(STANDING, text="The fox and", tool_calls_open=("c1",), first_open_part=1)
    assert cannot_continue(REQUEST, with_call) == ""


@pytest.mark.parametrize(
    ("request_", "standing", "said"),
    [
        (replace(REQUEST, output=JsonObjectOutput()), STANDING, "JSON"),
        (replace(REQUEST, output=JsonSchemaOutput("s", {})), STANDING, "JSON"),
        (replace(REQUEST, sampling=Sampling(top_logprobs=0)), STANDING, "log-probabilities"),
        (REQUEST, replace(STANDING, has_refusal=True), "refus"),
        (REQUEST, replace(STANDING, text="", text_before_open=""), "no text"),
        (REQUEST, replace(STANDING, text=" \n", text_before_open=" \n"), "no text"),
        (REQUEST, replace(STANDING, tool_calls_open=("c",), first_open_part=0, text_before_open=" "), "no text"),
    ],
)
def test_what_cannot_be_continued_says_why(request_: ChatRequest, standing: Standing, said: str) -> None:
    """JSON, log-probabilities, a refusal, and an answer whose text has not begun before its open call."""
    assert said in cannot_continue(request_, standing)
