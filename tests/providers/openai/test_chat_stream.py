"""Streams: server-sent events in any chunking, deltas and ends out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trunkline_server.chat.answer import (
    Delta,
    Finished,
    FinishReason,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
    UsageSource,
)
from trunkline_server.chat.request import ChatRequest
from trunkline_server.providers.base import Adapter, AttemptError, StreamDecoder
from trunkline_server.providers.openai import OpenAIAdapter, OpenAIStreamDecoder
from trunkline_server.routing.failures import FailureClass

DONE = b"data: [DONE]\n\n"


def decoder() -> OpenAIStreamDecoder:
    return OpenAIAdapter().stream_decoder(ChatRequest(model="m", messages=(), request_id="r"))


def event(body: object, name: str | None = None) -> bytes:
    head = b"" if name is None else f"event: {name}\n".encode()
    return head + b"data: " + json.dumps(body).encode() + b"\n\n"


def chunk(delta: dict[str, Any] | None, finish: str | None = None, **choice: Any) -> bytes:
    return event(
        {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish, **choice}]},
    )


def calls(*pieces: dict[str, Any]) -> bytes:
    return chunk({"tool_calls": list(pieces)})


def piece(index: int | None, arguments: str | None, name: str | None = None, call_id: str | None = None) -> Any:
    made: dict[str, Any] = {"function": {}}
    if index is not None:
        made["index"] = index
    if call_id is not None:
        made["id"] = call_id
    if name is not None:
        made["function"]["name"] = name
    if arguments is not None:
        made["function"]["arguments"] = arguments
    return made


def whole(*chunks: bytes, stream: OpenAIStreamDecoder | None = None) -> tuple[list[Delta], OpenAIStreamDecoder]:
    """Decode a stream that ends in order and whole."""
    stream = stream or decoder()
    deltas = [delta for piece in chunks for delta in stream.feed(piece)]
    assert stream.close() == []
    return deltas, stream


def failure_class(*chunks: bytes) -> FailureClass:
    """Return the class of the failure that a stream ends with."""
    stream = decoder()
    with pytest.raises(AttemptError) as caught:
        whole(*chunks, stream=stream)
    assert stream.failure == caught.value.failure
    return caught.value.failure.failure_class


def test_adapter_and_decoder_fit_the_interface_of_all_protocols() -> None:
    """The type checker holds both to the protocols that the engine calls."""
    adapter: Adapter = OpenAIAdapter()
    stream: StreamDecoder = adapter.stream_decoder(ChatRequest(model="m", messages=(), request_id="r"))
    assert (stream.finished, stream.failure, stream.usage) == (None, None, None)


def test_a_stream_as_openai_sends_it() -> None:
    """Preamble, text, finish reason, usage chunk, [DONE]."""
    deltas, stream = whole(
        chunk({"role": "assistant", "content": "", "refusal": None}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({}, "stop"),
        event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}),
        DONE,
    )
    assert deltas == [TextDelta(0, "Hel"), TextDelta(0, "lo")]
    assert stream.finished == Finished(FinishReason.STOP, "stop")
    assert stream.usage == Usage(input_tokens=5, output_tokens=2, source=UsageSource.PROVIDER)


@pytest.mark.parametrize(
    "preamble",
    [
        chunk({"role": "assistant"}),
        chunk({"role": "assistant", "content": ""}),
        chunk({"role": "assistant", "content": None, "tool_calls": None}),
        chunk({"content": "", "reasoning_content": "", "reasoning": None}),
        chunk({"content": []}),
        chunk({}),
        chunk(None),
        chunk({}, ""),
        chunk({}, "null"),
        chunk({}, logprobs={"content": []}),
        event({"choices": []}),
        event({"choices": None, "prompt_filter_results": [{"prompt_index": 0}]}),
        event({"choices": [{"index": 1, "delta": {"content": "another choice"}, "finish_reason": "stop"}]}),
        event({"choices": [], "error": None}),
        event({"id": 7, "choices": []}),
        event({}),
        b": keep-alive\n\n",
        b"event: ping\n\n",
    ],
)
def test_a_preamble_yields_nothing(preamble: bytes) -> None:
    """Roles, empty texts, heartbeats and other choices are no content and no end."""
    stream = decoder()
    assert stream.feed(preamble) == []
    assert stream.finished is None
    assert stream.feed(chunk({"content": "a"}, "stop")) == [TextDelta(0, "a")]
    assert stream.finished is not None


def test_done_is_optional_and_the_rest_after_it_is_ignored() -> None:
    """The finish reason is the terminal event."""
    deltas, _ = whole(chunk({"content": "a"}, "stop"))
    assert deltas == [TextDelta(0, "a")]
    deltas, stream = whole(chunk({"content": "a"}, "stop"), DONE, chunk({"content": "b"}), b"data: {\n\n")
    assert deltas == [TextDelta(0, "a")]
    assert stream.usage is None


def test_after_the_finish_reason_only_usage_counts() -> None:
    """More content, another reason, an error or garbage cannot unmake a whole answer."""
    deltas, stream = whole(
        chunk({"content": "a"}, "stop"),
        chunk({"content": "b"}, "length"),
        event({"error": {"message": "late"}}),
        b"data: {\n\n",
        event({"choices": [], "usage": {"prompt_tokens": 1}}),
    )
    assert deltas == [TextDelta(0, "a")]
    assert stream.finished == Finished(FinishReason.STOP, "stop")
    assert stream.usage is not None
    assert stream.usage.input_tokens == 1


def test_usage_on_every_chunk_is_the_last_one() -> None:
    """A running count is replaced, not added up."""
    running = {"prompt_tokens": 5, "completion_tokens": 1}
    final = {"prompt_tokens": 5, "completion_tokens": 2}
    choice = {"index": 0, "delta": {"content": "a"}}
    _, stream = whole(
        event({"choices": [choice], "usage": running}),
        event({"choices": [{**choice, "finish_reason": "stop"}], "usage": final}),
    )
    assert stream.usage == Usage(input_tokens=5, output_tokens=2, source=UsageSource.PROVIDER)


def test_parts_are_numbered_as_they_appear() -> None:
    """One part for each kind of content, and one for each tool call."""
    deltas, _ = whole(
        chunk({"reasoning_content": "h"}),
        chunk({"reasoning": "m"}),
        chunk({"content": "a"}),
        chunk({"reasoning_content": "!", "content": "b"}),
        chunk({"refusal": "no"}),
        calls(piece(0, "{}", "f", "c1")),
        chunk({}, "tool_calls"),
    )
    assert deltas == [
        ThinkingDelta(0, "h"),
        ThinkingDelta(0, "m"),
        TextDelta(1, "a"),
        ThinkingDelta(0, "!"),
        TextDelta(1, "b"),
        RefusalDelta(2, "no"),
        ToolCallDelta(3, "c1", "f", "{}"),
        ToolCallDelta(3, done=True),
    ]


def test_content_lists_are_read_item_by_item() -> None:
    """Servers that stream reasoning inside the content are understood."""
    items = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "a"}]
    deltas, _ = whole(chunk({"content": items}), chunk({"content": [{"type": "refusal", "refusal": "no"}]}, "stop"))
    assert deltas == [ThinkingDelta(0, "hm"), TextDelta(1, "a"), RefusalDelta(2, "no")]


def test_a_refusal_alone_ends_as_a_refusal() -> None:
    """The protocol says `stop` for it; the word is kept beside ours."""
    _, stream = whole(chunk({"refusal": "no"}), chunk({}, "stop"))
    assert stream.finished == Finished(FinishReason.REFUSAL, "stop")


def test_log_probabilities_come_with_their_text() -> None:
    """A token that is half a character has bytes and no text yet."""
    deltas, _ = whole(
        chunk({"content": ""}, logprobs={"content": [{"token": "\\xc3", "logprob": -1.0, "bytes": [195]}]}),
        chunk({"content": "é"}, logprobs={"content": [{"token": "é", "logprob": -2.0, "bytes": [169]}]}),
        chunk({"refusal": "n"}, "stop", logprobs={"refusal": [{"token": "n", "logprob": -3.0}]}),
    )
    assert deltas == [
        TextDelta(0, "", (TokenLogprob("\\xc3", -1.0, b"\xc3"),)),
        TextDelta(0, "é", (TokenLogprob("é", -2.0, b"\xa9"),)),
        RefusalDelta(1, "n", (TokenLogprob("n", -3.0),)),
    ]


TOOLS: dict[str, tuple[list[bytes], list[ToolCallDelta]]] = {
    "one call in pieces": (
        [calls(piece(0, "", "f", "c1")), calls(piece(0, '{"a"')), calls(piece(0, ":1}")), chunk({}, "tool_calls")],
        [
            ToolCallDelta(0, "c1", "f", ""),
            ToolCallDelta(0, arguments_json_delta='{"a"'),
            ToolCallDelta(0, arguments_json_delta=":1}"),
            ToolCallDelta(0, done=True),
        ],
    ),
    "the next call closes the one before": (
        [calls(piece(0, "{}", "f", "c1")), calls(piece(1, "{", "g", "c2")), calls(piece(1, "}"), piece(1, "\n")),
         chunk({}, "tool_calls")],
        [
            ToolCallDelta(0, "c1", "f", "{}"),
            ToolCallDelta(0, done=True),
            ToolCallDelta(1, "c2", "g", "{"),
            ToolCallDelta(1, arguments_json_delta="}"),
            ToolCallDelta(1, arguments_json_delta="\n"),
            ToolCallDelta(1, done=True),
        ],
    ),
    "calls that were announced before their arguments": (
        [calls(piece(0, "", "f", "c1"), piece(1, "", "g", "c2")), calls(piece(0, "{}"), piece(1, "[]")),
         chunk({}, "tool_calls")],
        [
            ToolCallDelta(0, "c1", "f"),
            ToolCallDelta(1, "c2", "g"),
            ToolCallDelta(0, arguments_json_delta="{}"),
            ToolCallDelta(1, arguments_json_delta="[]"),
            ToolCallDelta(0, done=True),
            ToolCallDelta(1, done=True),
        ],
    ),
    "no index, told apart by id": (
        [calls(piece(None, "{", "f", "c1")), calls(piece(None, "}", None, "c1")), calls(piece(None, "{}", "f", "c2")),
         chunk({}, "stop")],
        [
            ToolCallDelta(0, "c1", "f", "{"),
            ToolCallDelta(0, arguments_json_delta="}"),
            ToolCallDelta(0, done=True),
            ToolCallDelta(1, "c2", "f", "{}"),
            ToolCallDelta(1, done=True),
        ],
    ),
    "neither index nor id": (
        [calls(piece(None, "{", "f")), calls(piece(None, "}")), calls(piece(None, "{}", "f")), chunk({}, "stop")],
        [
            ToolCallDelta(0, "call_chatcmpl-1_0", "f", "{"),
            ToolCallDelta(0, arguments_json_delta="}"),
            ToolCallDelta(0, done=True),
            ToolCallDelta(1, "call_chatcmpl-1_1", "f", "{}"),
            ToolCallDelta(1, done=True),
        ],
    ),
    "every call has index 0": (
        [calls(piece(0, "{}", "f", "c1")), calls(piece(0, "{}", "f", "c2")), chunk({}, "stop")],
        [
            ToolCallDelta(0, "c1", "f", "{}"),
            ToolCallDelta(0, done=True),
            ToolCallDelta(1, "c2", "f", "{}"),
            ToolCallDelta(1, done=True),
        ],
    ),
    "id and name on each piece": (
        [calls(piece(0, "{", "f", "c1")), calls(piece(0, "}", "f", "c1")), chunk({}, "tool_calls")],
        [
            ToolCallDelta(0, "c1", "f", "{"),
            ToolCallDelta(0, arguments_json_delta="}"),
            ToolCallDelta(0, done=True),
        ],
    ),
    "the name comes late": (
        [calls(piece(0, "{", None, "c1")), calls(piece(0, "}", "f")), chunk({}, "tool_calls")],
        [ToolCallDelta(0, "c1", "f", "{}"), ToolCallDelta(0, done=True)],
    ),
    "no arguments at all": (
        [calls(piece(0, "", "f", "c1")), chunk({}, "tool_calls")],
        [ToolCallDelta(0, "c1", "f"), ToolCallDelta(0, arguments_json_delta="{}", done=True)],
    ),
    "the old form": (
        [chunk({"function_call": {"name": "f", "arguments": ""}}), chunk({"function_call": {"arguments": "{}"}}),
         chunk({}, "function_call")],
        [
            ToolCallDelta(0, "call_chatcmpl-1_0", "f"),
            ToolCallDelta(0, arguments_json_delta="{}"),
            ToolCallDelta(0, done=True),
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TOOLS)
def test_tool_calls(case: str) -> None:
    """However a server cuts and numbers its calls, they come as one part each and close when they are whole."""
    chunks, golden = TOOLS[case]
    deltas, stream = whole(*chunks)
    assert deltas == golden
    assert stream.finished is not None
    assert stream.finished.reason is FinishReason.TOOL_CALLS


@pytest.mark.parametrize("arguments", ["", '{"a": 1', '{"a": tru'])
def test_a_call_that_was_cut_stays_open(arguments: str) -> None:
    """Half of an argument is never presented as complete, and no argument is made up."""
    deltas, stream = whole(calls(piece(0, arguments, "f", "c1")), chunk({}, "length"))
    assert deltas == [ToolCallDelta(0, "c1", "f", arguments)]
    assert stream.finished == Finished(FinishReason.LENGTH, "length")


def test_a_whole_call_is_done_even_if_the_answer_was_cut() -> None:
    """Its arguments parse, and the finish reason came."""
    deltas, _ = whole(calls(piece(0, "{}", "f", "c1")), chunk({}, "length"))
    assert deltas[-1] == ToolCallDelta(0, done=True)


@pytest.mark.parametrize(
    "chunks",
    [
        [calls(piece(0, "{}", "f", "c1")), calls(piece(1, "{}", "g", "c2")), calls(piece(0, "more"))],
        [calls(piece(0, "{}", None, "c1")), chunk({}, "tool_calls")],
        [calls(*(piece(n, "{}", "f") for n in range(300)))],
        [calls(piece(0, "a" * 3_000_000, "f")), *[calls(piece(0, "a" * 3_000_000))] * 2],
    ],
    ids=["goes on after it was done", "has no name", "too many", "too long"],
)
def test_tool_calls_that_make_no_sense_are_a_protocol_failure(chunks: list[bytes]) -> None:
    """A contradiction and a flood end the attempt."""
    assert failure_class(*chunks) is FailureClass.PROTOCOL


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([], FailureClass.PROTOCOL),
        ([b"<html>\n\n</html>\n\n"], FailureClass.PROTOCOL),
        ([b": only a comment\n\n"], FailureClass.PROTOCOL),
        ([chunk({"role": "assistant"}), DONE], FailureClass.PROTOCOL),
        ([DONE], FailureClass.PROTOCOL),
        ([chunk({"role": "assistant"})], FailureClass.TRUNCATED),
        ([chunk({"content": "a"})], FailureClass.TRUNCATED),
        ([chunk({"content": "a"}), DONE], FailureClass.TRUNCATED),
        ([chunk({"content": "a"}), chunk({}, "stop")[:-1]], FailureClass.TRUNCATED),
        ([chunk({"content": "a"}), b"data: {\n\n"], FailureClass.PROTOCOL),
        ([b"data: []\n\n"], FailureClass.PROTOCOL),
        ([b"data: \xff\n\n"], FailureClass.PROTOCOL),
        ([b"data: " + b"[" * 100_000 + b"\n\n"], FailureClass.PROTOCOL),
        ([chunk({"content": 7})], FailureClass.PROTOCOL),
        ([b"data: " + b"a" * 5_000_000], FailureClass.PROTOCOL),
        ([chunk({"content": "a"}, logprobs={"content": [{"token": "a", "logprob": 0, "bytes": [999]}]})],
         FailureClass.PROTOCOL),
        ([chunk({"role": "assistant"}), chunk({}, "content_filter")], FailureClass.CONTENT_FILTERED),
        ([event({"error": {"message": "The server had an error", "type": "server_error"}})], FailureClass.SERVER_ERROR),
        ([event({"error": {"message": "no", "code": "rate_limit_exceeded"}})], FailureClass.RATE_LIMITED),
        ([event({"error": {"message": "no", "code": 502}})], FailureClass.SERVER_ERROR),
        ([event({"error": {"message": "no", "code": "429"}})], FailureClass.RATE_LIMITED),
        ([event({"error": {"message": "no", "type": "overloaded_error"}})], FailureClass.OVERLOADED),
        ([event({"error": {"message": "The server is overloaded"}})], FailureClass.OVERLOADED),
        ([event({"error": {"message": "no", "type": "invalid_request_error"}})], FailureClass.CALLER_INVALID),
        ([event({"error": "no"})], FailureClass.SERVER_ERROR),
        ([event({"message": "no", "code": "insufficient_quota"}, "error")], FailureClass.KEY_EXHAUSTED),
        ([b"event: error\ndata: it broke\n\n"], FailureClass.SERVER_ERROR),
    ],
)  # fmt: skip
def test_streams_that_fail(chunks: list[bytes], expected: FailureClass) -> None:
    """Each way of not ending has its class; an error inside a 200 has that of the table."""
    assert failure_class(*chunks) is expected


def test_a_filtered_end_after_content_is_an_answer() -> None:
    """The model was stopped by the filter: the caller has what came before."""
    _, stream = whole(chunk({"content": "a"}), chunk({}, "content_filter"))
    assert stream.finished == Finished(FinishReason.CONTENT_FILTER, "content_filter")


def test_what_came_before_a_failure_in_one_chunk_is_not_lost() -> None:
    """The deltas are returned, the failure can be seen at once and is raised by the next call, every time."""
    stream = decoder()
    assert stream.feed(chunk({"content": "a"}) + event({"error": {"message": "no"}})) == [TextDelta(0, "a")]
    assert stream.failure is not None
    assert stream.failure.failure_class is FailureClass.SERVER_ERROR
    for _ in range(2):
        with pytest.raises(AttemptError):
            stream.feed(chunk({"content": "b"}))
        with pytest.raises(AttemptError):
            stream.close()


def test_garbage_after_the_end_costs_no_memory() -> None:
    """An endless event after the finish reason is not read any more."""
    stream = decoder()
    stream.feed(chunk({"content": "a"}, "stop"))
    for _ in range(8):
        assert stream.feed(b"x" * 1_000_000) == []
    assert stream.close() == []
    assert stream.finished is not None
