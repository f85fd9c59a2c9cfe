"""Streams of the Messages API: the vendor's events in, deltas and ends out."""

from __future__ import annotations

from typing import Any, Final

import pytest
from tests.providers.anthropic.messages_events import (
    LAST,
    PING,
    REQUEST,
    TEXT,
    arguments,
    begin,
    decoder,
    end,
    event,
    failure_class,
    opening,
    piece,
    stop,
    whole,
    words,
)

from trunkline_server.chat.answer import (
    Finished,
    FinishReason,
    TextDelta,
    ThinkingDelta,
    ThinkingSignatureDelta,
    ToolCallDelta,
    Usage,
    UsageSource,
)
from trunkline_server.providers.anthropic import AnthropicAdapter
from trunkline_server.providers.base import Adapter, FeaturesByModel, StreamDecoder
from trunkline_server.routing.failures import FailureClass

SOURCE: Final = "https://platform.claude.com/docs/en/build-with-claude/streaming (2026-11-23)"
"""Of the golden streams below."""


def test_adapter_and_decoder_fit_the_interface_of_all_protocols() -> None:
    """The type checker holds both to the protocols that the engine calls."""
    adapter: Adapter = AnthropicAdapter()
    stream: StreamDecoder = adapter.stream_decoder(REQUEST)
    assert (stream.finished, stream.failure, stream.usage) == (None, None, None)
    assert isinstance(adapter, FeaturesByModel)


def test_a_stream_as_the_vendor_s_manual_has_it() -> None:
    """Start, ping, text in pieces, end, usage."""
    deltas, stream = whole(
        opening(),
        begin(0, "text"),
        PING,
        words(0, "Hello"),
        words(0, "!"),
        end(0),
        stop(),
        LAST,
    )
    assert deltas == [TextDelta(0, "Hello"), TextDelta(0, "!")]
    assert stream.finished == Finished(FinishReason.STOP, "end_turn")
    assert stream.usage == Usage(input_tokens=25, output_tokens=15, source=UsageSource.PROVIDER)


def test_thinking_then_text() -> None:
    """The signature comes whole, when the block ends."""
    deltas, _ = whole(
        opening(),
        begin(0, "thinking"),
        piece(0, "thinking_delta", thinking="Let me see."),
        piece(0, "thinking_delta", thinking=" 27"),
        piece(0, "signature_delta", signature="EqQBCg"),
        piece(0, "signature_delta", signature="IYAhg="),
        end(0),
        begin(1, "text"),
        words(1, "27 * 453 = 12,231"),
        end(1),
        stop(),
        LAST,
    )
    assert deltas == [
        ThinkingDelta(0, "Let me see."),
        ThinkingDelta(0, " 27"),
        ThinkingSignatureDelta(0, "EqQBCgIYAhg="),
        TextDelta(1, "27 * 453 = 12,231"),
    ]


def test_thinking_that_is_not_shown_and_thinking_that_is_withheld() -> None:
    """Both have a seal and no words; only the second is sealed reasoning itself."""
    deltas, _ = whole(
        opening(),
        begin(0, "thinking"),
        piece(0, "signature_delta", signature="sig"),
        end(0),
        begin(1, "redacted_thinking", data="EmwKAhgBEgy3va3pzix"),
        end(1),
        TEXT.replace(b'"index": 0', b'"index": 2'),
        stop(),
        LAST,
    )
    assert deltas == [
        ThinkingSignatureDelta(0, "sig"),
        ThinkingSignatureDelta(1, "EmwKAhgBEgy3va3pzix", redacted=True),
        TextDelta(2, "a"),
    ]


def test_a_tool_call_as_the_vendor_s_manual_has_it() -> None:
    """Arguments in pieces, the first one empty; done when the block ends."""
    deltas, stream = whole(
        opening(),
        begin(0, "text"),
        words(0, "Okay"),
        end(0),
        begin(1, "tool_use", id="toolu_01T1x1fJ34qAmk2tNTrN7Up6", name="get_weather"),
        arguments(1, ""),
        arguments(1, '{"location":'),
        arguments(1, ' "San Francisco, CA"}'),
        end(1),
        stop("tool_use"),
        LAST,
    )
    assert deltas == [
        TextDelta(0, "Okay"),
        ToolCallDelta(1, "toolu_01T1x1fJ34qAmk2tNTrN7Up6", "get_weather"),
        ToolCallDelta(1, arguments_json_delta='{"location":'),
        ToolCallDelta(1, arguments_json_delta=' "San Francisco, CA"}'),
        ToolCallDelta(1, done=True),
    ]
    assert stream.finished == Finished(FinishReason.TOOL_CALLS, "tool_use")


def test_parallel_calls_that_take_turns() -> None:
    """Each piece belongs to the block of its number."""
    deltas, _ = whole(
        opening(),
        begin(0, "tool_use"),
        begin(1, "tool_use"),
        arguments(0, '{"a":'),
        arguments(1, "{}"),
        arguments(0, "1}"),
        end(1),
        end(0),
        stop("tool_use"),
        LAST,
    )
    assert deltas == [
        ToolCallDelta(0, "toolu_0", "look"),
        ToolCallDelta(1, "toolu_1", "look"),
        ToolCallDelta(0, arguments_json_delta='{"a":'),
        ToolCallDelta(1, arguments_json_delta="{}"),
        ToolCallDelta(0, arguments_json_delta="1}"),
        ToolCallDelta(1, done=True),
        ToolCallDelta(0, done=True),
    ]


@pytest.mark.parametrize(("reason", "done"), [("tool_use", True), ("end_turn", True), ("max_tokens", False)])
def test_a_call_without_arguments_is_done_if_the_answer_is_whole(reason: str, *, done: bool) -> None:
    """Cut off by a limit it may have been about to say some."""
    deltas, _ = whole(opening(), begin(0, "tool_use"), arguments(0, ""), end(0), stop(reason), LAST)
    closing = [ToolCallDelta(0, arguments_json_delta="{}", done=True)] if done else []
    assert deltas == [ToolCallDelta(0, "toolu_0", "look"), *closing]


def test_a_call_without_arguments_is_done_when_the_next_block_begins() -> None:
    """The provider went on, so nothing of it is missing."""
    stream = decoder()
    stream.feed(opening() + begin(0, "tool_use") + end(0))
    assert stream.feed(begin(1, "text")) == [ToolCallDelta(0, arguments_json_delta="{}", done=True)]


def test_arguments_that_stand_in_the_first_event_count_if_no_others_come() -> None:
    """Some servers send a call whole, some repeat an object there before its pieces."""
    stood = begin(0, "tool_use", input={"a": 1})
    deltas, _ = whole(opening(), stood, end(0), stop("tool_use"), LAST)
    assert deltas[1:] == [ToolCallDelta(0, arguments_json_delta='{"a": 1}', done=True)]
    deltas, _ = whole(opening(), stood, arguments(0, '{"a":1}'), end(0), stop("tool_use"), LAST)
    assert deltas[1:] == [ToolCallDelta(0, arguments_json_delta='{"a":1}'), ToolCallDelta(0, done=True)]


def test_half_an_argument_is_never_done() -> None:
    """A block that ends inside of JSON leaves its call open."""
    deltas, _ = whole(opening(), begin(0, "tool_use"), arguments(0, '{"half": '), end(0), stop("max_tokens"), LAST)
    assert not any(isinstance(delta, ToolCallDelta) and delta.done for delta in deltas)


def test_a_call_without_an_id_gets_one() -> None:
    """The same as in a whole answer."""
    deltas, _ = whole(opening(), begin(0, "tool_use", id=""), end(0), stop("tool_use"), LAST)
    assert deltas[0] == ToolCallDelta(0, "call_MUA1yADyHTEsnR8uuvGzszyY_0", "look")


def test_what_stands_in_the_first_event_of_a_block_counts() -> None:
    """Text and thinking may begin there."""
    deltas, _ = whole(
        opening(),
        begin(0, "thinking", thinking="hm", signature="sig"),
        end(0),
        begin(1, "text", text="a"),
        words(1, "b"),
        end(1),
        stop(),
        LAST,
    )
    assert deltas == [
        ThinkingDelta(0, "hm"),
        ThinkingSignatureDelta(0, "sig"),
        TextDelta(1, "a"),
        TextDelta(1, "b"),
    ]


SEARCH: Final = (
    begin(0, "server_tool_use", id="srvtoolu_1", name="web_search", input={}),
    arguments(0, '{"query": "x"}'),
    end(0),
    begin(1, "web_search_tool_result", tool_use_id="srvtoolu_1", content=[{"type": "web_search_result", "url": "u"}]),
    end(1),
)


@pytest.mark.parametrize(
    "unknown",
    [
        SEARCH,
        (begin(0, "brand_new", text={"of": "another shape"}), piece(0, "brand_new_delta", text=[1]), end(0)),
        (event("brand_new", delta="x", index="y"),),
        (event("brand_new", index=0, content_block=7),),
        (PING, b": comment\n\n", b"event: ping\n\n", b"data: {}\n\n"),
        (begin(0, "text"), piece(0, "citations_delta", citation={"type": "char_location"}), end(0)),
        (begin(0, "text"), piece(0, "brand_new_delta", text={"x": 1}), end(0)),
        (end(7),),
    ],
)
def test_what_nobody_knows_is_passed_over(unknown: tuple[bytes, ...]) -> None:
    """Events, blocks and pieces of any shape, as the vendor asks of its clients; parts are numbered without them."""
    stream = decoder()
    deltas = [delta for chunk in (opening(), *unknown) for delta in stream.feed(chunk)]
    assert deltas == []
    more = [delta for chunk in (begin(5, "text"), words(5, "a"), end(5), stop(), LAST) for delta in stream.feed(chunk)]
    assert [delta for delta in more if isinstance(delta, TextDelta)] == more
    assert "".join(delta.text for delta in more if isinstance(delta, TextDelta)) == "a"
    assert stream.close() == []


@pytest.mark.parametrize(
    ("reason", "details", "expected"),
    [
        ("refusal", None, FinishReason.REFUSAL),
        ("refusal", {"type": "refusal", "category": "bio", "explanation": None}, FinishReason.CONTENT_FILTER),
        ("pause_turn", None, FinishReason.OTHER),
        ("max_tokens", None, FinishReason.LENGTH),
        ("model_context_window_exceeded", None, FinishReason.CONTEXT_LIMIT),
    ],
)
def test_reasons_to_stop(reason: str, details: Any, expected: FinishReason) -> None:
    """The same as in a whole answer."""
    _, stream = whole(opening(), TEXT, stop(reason, details), LAST)
    assert stream.finished == Finished(expected, reason)


def test_a_block_before_any_content_fails() -> None:
    """A refusal without a word is a filter's."""
    assert failure_class(opening(), stop("refusal"), LAST) is FailureClass.CONTENT_FILTERED


def test_usage_adds_up_over_the_events() -> None:
    """The prompt's figures come first; later ones are of the whole answer so far and hold for what they say."""
    first = {"input_tokens": 3, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 7, "output_tokens": 1}
    stream = decoder()
    stream.feed(opening(**first))
    assert stream.usage == Usage(15, 1, 5, 7, source=UsageSource.PROVIDER)
    stream.feed(TEXT + stop(output_tokens=9, input_tokens=4, output_tokens_details={"thinking_tokens": 2}))
    assert stream.usage == Usage(16, 9, 5, 7, 2, UsageSource.PROVIDER)


@pytest.mark.parametrize("tail", [LAST, b"", LAST + b"data: {\n\n", LAST + event("error", error={"type": "api_error"})])
def test_the_reason_to_stop_is_the_end(tail: bytes) -> None:
    """What comes behind it, or does not, changes nothing."""
    deltas, stream = whole(opening(), TEXT, stop(), tail)
    assert deltas == [TextDelta(0, "a")]
    assert stream.finished is not None
    assert stream.feed(words(0, "b")) == []


def test_an_error_behind_the_reason_to_stop_is_too_late() -> None:
    """The answer is whole."""
    _, stream = whole(
        opening(), TEXT, stop(), event("error", error={"type": "api_error", "message": "x"}), b"data: {\n\n"
    )
    assert stream.failure is None


def test_a_start_that_tells_nothing_is_one_too() -> None:
    """The answer needs neither its id nor the prompt's figures."""
    deltas, stream = whole(event("message_start"), TEXT, stop(), LAST)
    assert deltas == [TextDelta(0, "a")]
    assert stream.usage == Usage(None, 15, source=UsageSource.PROVIDER)
