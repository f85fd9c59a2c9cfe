"""Streams of the Responses API: server-sent events in, deltas and ends out."""

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
    ThinkingSignatureDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
    UsageSource,
)
from trunkline_server.chat.request import ChatRequest
from trunkline_server.providers.base import Adapter, AttemptError, StreamDecoder
from trunkline_server.providers.openai_responses import ResponsesAdapter, ResponsesStreamDecoder
from trunkline_server.routing.failures import FailureClass

REQUEST = ChatRequest(model="m", messages=(), request_id="r")


def decoder() -> ResponsesStreamDecoder:
    return ResponsesAdapter().stream_decoder(REQUEST)


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, 'sequence_number': 1, **fields})}\n\n".encode()


def text(delta: str, index: int = 0, place: int = 0, **more: Any) -> bytes:
    where = {"item_id": "msg_1", "output_index": index, "content_index": place}
    return event("response.output_text.delta", delta=delta, logprobs=[], **where, **more)


def summary(delta: str, index: int = 0, piece: int = 0) -> bytes:
    return event("response.reasoning_summary_text.delta", delta=delta, output_index=index, summary_index=piece)


def added(item: dict[str, Any], index: int = 0) -> bytes:
    return event("response.output_item.added", item=item, output_index=index)


def item_done(item: dict[str, Any], index: int = 0) -> bytes:
    return event("response.output_item.done", item=item, output_index=index)


def call(arguments: str = "", call_id: str = "c1", name: str = "f", **more: Any) -> dict[str, Any]:
    return {"type": "function_call", "id": "fc_1", "call_id": call_id, "name": name, "arguments": arguments, **more}


def arguments(delta: str, index: int = 0) -> bytes:
    return event("response.function_call_arguments.delta", delta=delta, output_index=index, item_id="fc_1")


def arguments_done(whole: str, index: int = 0) -> bytes:
    return event("response.function_call_arguments.done", arguments=whole, output_index=index, item_id="fc_1")


def end(status: str = "completed", **response: Any) -> bytes:
    told = {"id": "resp_1", "status": status, "error": None, "output": [], **response}
    return event(f"response.{status}", response=told)


def cut(reason: str) -> bytes:
    return end("incomplete", incomplete_details={"reason": reason})


def whole(*chunks: bytes, stream: ResponsesStreamDecoder | None = None) -> tuple[list[Delta], ResponsesStreamDecoder]:
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
    adapter: Adapter = ResponsesAdapter()
    stream: StreamDecoder = adapter.stream_decoder(REQUEST)
    assert (stream.finished, stream.failure, stream.usage) == (None, None, None)


STREAM_SOURCE = "https://platform.openai.com/docs/api-reference/responses-streaming, 2026-11-23"


def test_a_stream_as_openai_sends_it() -> None:
    """Created, reasoning with its seal, a message in pieces, completed with the usage."""
    response: dict[str, Any] = {"id": "resp_1", "object": "response", "status": "in_progress", "output": []}
    thought: dict[str, Any] = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "gEARLY="}
    said = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
    message = {"id": "msg_1", "type": "message", "status": "in_progress", "role": "assistant", "content": []}
    words = {**said, "text": "Hello"}
    deltas, stream = whole(
        event("response.created", response=response),
        event("response.in_progress", response=response),
        added(thought),
        event("response.reasoning_summary_part.added", part={"type": "summary_text", "text": ""}, summary_index=0),
        summary("**Think"),
        summary("ing**"),
        event("response.reasoning_summary_text.done", text="**Thinking**", summary_index=0),
        event("response.reasoning_summary_part.done", part={"type": "summary_text", "text": "**Thinking**"}),
        summary("More", piece=1),
        item_done(
            {
                **thought,
                "encrypted_content": "gLAST=",
                "summary": [
                    {"type": "summary_text", "text": "**Thinking**"},
                    {"type": "summary_text", "text": "More"},
                ],
            }
        ),
        added(message, 1),
        event("response.content_part.added", part=said, output_index=1, content_index=0),
        text("Hel", 1, obfuscation="x8d"),
        text("lo", 1, obfuscation="9"),
        event("response.output_text.done", text="Hello", output_index=1, content_index=0, logprobs=[]),
        event("response.content_part.done", part=words, output_index=1, content_index=0),
        item_done({**message, "status": "completed", "content": [words]}, 1),
        end(
            output=[thought, {**message, "content": [words]}],
            usage={
                "input_tokens": 37,
                "input_tokens_details": {"cached_tokens": 8},
                "output_tokens": 11,
                "output_tokens_details": {"reasoning_tokens": 7},
                "total_tokens": 48,
            },
        ),
    )
    assert deltas == [
        ThinkingDelta(0, "**Think"),
        ThinkingDelta(0, "ing**"),
        ThinkingDelta(0, "\n\nMore"),
        ThinkingSignatureDelta(0, "rs_1:gLAST="),
        TextDelta(1, "Hel"),
        TextDelta(1, "lo"),
    ]
    assert stream.finished == Finished(FinishReason.STOP, "completed")
    assert stream.usage == Usage(
        input_tokens=37, output_tokens=11, cached_input_tokens=8, reasoning_tokens=7, source=UsageSource.PROVIDER
    )


@pytest.mark.parametrize(
    "ignored",
    [
        event("response.queued", response={"status": "queued"}),
        event("response.web_search_call.searching", item_id="ws_1", output_index=0),
        event("response.image_generation_call.partial_image", partial_image_b64="AAAA", delta={"x": 1}),
        event("response.mcp_list_tools.completed", item_id=7, arguments=[1], logprobs="none"),
        event("response.output_text.annotation.added", annotation={}, annotation_index=0, output_index="x"),
        event("response.brand_new", delta=[1, 2], output_index=None),
        event("keepalive"),
        added({"type": "web_search_call", "id": "ws_1", "content": 7}),
        item_done({"type": "computer_call", "arguments": [1], "summary": 3}),
        text(""),
        summary(""),
        b": ping\n\n",
        b"event: ping\n\n",
    ],
)
def test_what_is_not_read_is_ignored(ignored: bytes) -> None:
    """Types that nobody knows, whatever is in them, tools of the provider's own, heartbeats."""
    stream = decoder()
    assert stream.feed(ignored) == []
    assert stream.feed(text("a")) == [TextDelta(0, "a")]
    assert stream.feed(end()) == []
    assert stream.close() == []


def test_contents_and_messages_are_parts_of_their_own() -> None:
    """In the order in which they appear, also when they take turns."""
    deltas, _ = whole(text("a"), text("b", 0, 1), text("c"), text("d", 2), end())
    assert deltas == [TextDelta(0, "a"), TextDelta(1, "b"), TextDelta(0, "c"), TextDelta(2, "d")]


def test_a_refusal() -> None:
    """Words of refusal are a part, and nothing else makes the end a refusal."""
    said = event("response.refusal.delta", delta="I won't", output_index=0, content_index=0)
    deltas, stream = whole(said, end())
    assert deltas == [RefusalDelta(0, "I won't")]
    assert stream.finished == Finished(FinishReason.REFUSAL, "completed")


def test_words_of_reasoning() -> None:
    """Open models show their reasoning itself."""
    words = event("response.reasoning_text.delta", delta="hm", output_index=0, content_index=0)
    assert whole(words, summary("so"), text("a", 1), end())[0] == [
        ThinkingDelta(0, "hm"),
        ThinkingDelta(0, "\n\nso"),
        TextDelta(1, "a"),
    ]


def test_reasoning_that_shows_nothing_is_sealed() -> None:
    """Its part holds the seal alone, and says that the words are withheld."""
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gA="}
    deltas, _ = whole(added({**item, "encrypted_content": None}), item_done(item), text("a", 1), end())
    assert deltas == [ThinkingSignatureDelta(0, "rs_1:gA=", redacted=True), TextDelta(1, "a")]


def test_log_probabilities() -> None:
    """Tokens come with the text that they are of."""
    token = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
    where = {"output_index": 0, "content_index": 0}
    chunk = event("response.output_text.delta", delta="a", logprobs=[token], **where)
    assert whole(chunk, end())[0] == [TextDelta(0, "a", (TokenLogprob("a", -0.5, b"a"),))]
    token["bytes"] = [999]
    assert failure_class(event("response.output_text.delta", delta="a", logprobs=[token])) is FailureClass.PROTOCOL


CALLS: dict[str, tuple[list[bytes], list[Delta]]] = {
    "as OpenAI sends them": (
        [
            added(call()),
            arguments('{"a"'),
            arguments(":1}"),
            arguments_done('{"a":1}'),
            item_done(call('{"a":1}', status="completed")),
            added(call(call_id="c2", name="g"), 1),
            arguments("{}", 1),
            arguments_done("{}", 1),
            item_done(call("{}", "c2", "g", status="completed"), 1),
            end(),
        ],
        [
            ToolCallDelta(0, "c1", "f"),
            ToolCallDelta(0, arguments_json_delta='{"a"'),
            ToolCallDelta(0, arguments_json_delta=":1}"),
            ToolCallDelta(0, done=True),
            ToolCallDelta(1, "c2", "g"),
            ToolCallDelta(1, arguments_json_delta="{}"),
            ToolCallDelta(1, done=True),
        ],
    ),
    "taking turns": (
        [
            added(call()),
            added(call(call_id="c2", name="g"), 1),
            arguments("{", 0),
            arguments("[", 1),
            arguments("}", 0),
            arguments("]", 1),
            end(),
        ],
        [
            ToolCallDelta(0, "c1", "f"),
            ToolCallDelta(1, "c2", "g"),
            ToolCallDelta(0, arguments_json_delta="{"),
            ToolCallDelta(1, arguments_json_delta="["),
            ToolCallDelta(0, arguments_json_delta="}"),
            ToolCallDelta(1, arguments_json_delta="]"),
            ToolCallDelta(0, done=True),
            ToolCallDelta(1, done=True),
        ],
    ),
    "whole with its head": (
        [added(call("{}")), end()],
        [ToolCallDelta(0, "c1", "f", "{}"), ToolCallDelta(0, done=True)],
    ),
    "whole in the end only": (
        [added(call()), arguments_done('{"a":1}'), end()],
        [
            ToolCallDelta(0, "c1", "f"),
            ToolCallDelta(0, arguments_json_delta='{"a":1}'),
            ToolCallDelta(0, done=True),
        ],
    ),
    "in its last event only": (
        [item_done(call("{}", status="completed")), end()],
        [ToolCallDelta(0, "c1", "f", "{}"), ToolCallDelta(0, done=True)],
    ),
    "the name comes late": (
        [arguments("{"), arguments("}"), item_done(call("{}")), end()],
        [ToolCallDelta(0, "c1", "f", "{}"), ToolCallDelta(0, done=True)],
    ),
    "no arguments at all": (
        [added(call()), arguments_done(""), item_done(call("", status="completed")), end()],
        [ToolCallDelta(0, "c1", "f"), ToolCallDelta(0, arguments_json_delta="{}", done=True)],
    ),
    "no arguments and no last event": (
        [added(call()), end()],
        [ToolCallDelta(0, "c1", "f"), ToolCallDelta(0, arguments_json_delta="{}", done=True)],
    ),
    "no id": (
        [event("response.created", response={"id": "resp_1"}), added(call("{}", call_id="")), end()],
        [ToolCallDelta(0, "call_resp_1_0", "f", "{}"), ToolCallDelta(0, done=True)],
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_function_calls(case: str) -> None:
    """However a server cuts its calls, they come as one part each and close when they are whole."""
    chunks, golden = CALLS[case]
    deltas, stream = whole(*chunks)
    assert deltas == golden
    assert stream.finished == Finished(FinishReason.TOOL_CALLS, "completed")


@pytest.mark.parametrize("written", ["", '{"a": 1', '{"a": tru'])
def test_a_call_that_was_cut_stays_open(written: str) -> None:
    """Half of an argument is never presented as complete, and no argument is made up."""
    deltas, stream = whole(
        added(call()),
        arguments(written),
        arguments_done(written),
        item_done(call(written, status="incomplete")),
        cut("max_output_tokens"),
    )
    assert not any(delta.done for delta in deltas if isinstance(delta, ToolCallDelta))
    assert stream.finished == Finished(FinishReason.LENGTH, "max_output_tokens")


@pytest.mark.parametrize(
    "chunks",
    [
        [added(call()), arguments("{}"), arguments_done("{}"), arguments("more")],
        [added(call()), arguments('{"a":1}'), arguments_done('{"b":2}')],
        [arguments("{}"), end()],
        [added(call(call_id=f"c{n}"), n) for n in range(300)],
        [added(call()), *[arguments("a" * 3_000_000)] * 3],
        [text("a", n) for n in range(4097)],
    ],
    ids=["goes on after it was done", "others in the end", "has no name", "too many", "too long", "too many parts"],
)
def test_what_makes_no_sense_is_a_protocol_failure(chunks: list[bytes]) -> None:
    """A contradiction and a flood end the attempt."""
    assert failure_class(*chunks) is FailureClass.PROTOCOL


@pytest.mark.parametrize(
    ("native", "reason"),
    [
        ("max_output_tokens", FinishReason.LENGTH),
        ("content_filter", FinishReason.CONTENT_FILTER),
        ("brand_new", FinishReason.OTHER),
    ],
)
def test_an_incomplete_response_is_an_answer(native: str, reason: FinishReason) -> None:
    """The model was stopped: the caller has what came before."""
    _, stream = whole(text("a"), cut(native))
    assert stream.finished == Finished(reason, native)


def test_a_server_may_tell_everything_at_the_end() -> None:
    """If nothing came in pieces, the last event's items are the answer."""
    output = [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "message", "content": [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "b"}]},
        call("{}"),
    ]
    deltas, stream = whole(event("response.created", response={"id": "resp_1"}), end(output=output))
    assert deltas == [
        ThinkingDelta(0, "hm"),
        TextDelta(1, "a"),
        RefusalDelta(2, "b"),
        ToolCallDelta(3, "c1", "f", "{}"),
        ToolCallDelta(3, done=True),
    ]
    assert stream.finished is not None


def error(code: str | None, message: str = "no") -> bytes:
    return event("error", code=code, message=message, param=None)


NESTED_SOURCE = "https://github.com/zed-industries/zed/issues/57024, 2026-05-18"
NESTED = event(
    "error",
    error={"type": "insufficient_quota", "code": "insufficient_quota", "message": "You exceeded your current quota"},
)


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([], FailureClass.PROTOCOL),
        ([b"<html>\n\n</html>\n\n"], FailureClass.PROTOCOL),
        ([b": only a comment\n\n"], FailureClass.PROTOCOL),
        ([b"data: [DONE]\n\n"], FailureClass.PROTOCOL),
        ([event("response.created", response={"id": "r"}), b"data: [DONE]\n\n"], FailureClass.PROTOCOL),
        ([event("response.created", response={"id": "r"})], FailureClass.TRUNCATED),
        ([text("a")], FailureClass.TRUNCATED),
        ([text("a"), b"data: [DONE]\n\n"], FailureClass.TRUNCATED),
        ([text("a"), end()[:-1]], FailureClass.TRUNCATED),
        ([text("a"), b"data: {\n\n"], FailureClass.PROTOCOL),
        ([b"data: []\n\n"], FailureClass.PROTOCOL),
        ([b"data: \xff\n\n"], FailureClass.PROTOCOL),
        ([b"data: " + b"[" * 100_000 + b"\n\n"], FailureClass.PROTOCOL),
        ([event("response.output_text.delta", delta=7)], FailureClass.PROTOCOL),
        ([event("response.output_text.delta", delta="a", output_index="x")], FailureClass.PROTOCOL),
        ([event("response.output_item.done", item=7)], FailureClass.PROTOCOL),
        ([event("response.completed", response="x")], FailureClass.PROTOCOL),
        ([event("response.completed")], FailureClass.PROTOCOL),
        ([b"data: " + b"a" * 5_000_000], FailureClass.PROTOCOL),
        ([cut("content_filter")], FailureClass.CONTENT_FILTERED),
        ([error("rate_limit_exceeded")], FailureClass.RATE_LIMITED),
        ([error("server_error")], FailureClass.SERVER_ERROR),
        ([error(None)], FailureClass.SERVER_ERROR),
        ([error("context_length_exceeded")], FailureClass.CONTEXT_LENGTH),
        ([NESTED], FailureClass.KEY_EXHAUSTED),
        ([NESTED, end("failed", error={"code": "server_error", "message": "no"})], FailureClass.KEY_EXHAUSTED),
        ([end("failed", error=None)], FailureClass.SERVER_ERROR),
        ([end("cancelled")], FailureClass.SERVER_ERROR),
        ([b'data: {"error": {"message": "no", "code": "overloaded"}}\n\n'], FailureClass.OVERLOADED),
        ([b"event: error\ndata: it broke\n\n"], FailureClass.SERVER_ERROR),
    ],
)
def test_streams_that_fail(chunks: list[bytes], expected: FailureClass) -> None:
    """Each way of not ending has its class; an error inside a 200 has that of the table."""
    assert failure_class(*chunks) is expected


def test_a_failed_response_tells_what_it_used() -> None:
    """The usage of a failed response is known like any other's."""
    stream = decoder()
    with pytest.raises(AttemptError):
        stream.feed(end("failed", error={"code": "server_error"}, usage={"input_tokens": 3, "output_tokens": 1}))
    assert stream.usage == Usage(input_tokens=3, output_tokens=1, source=UsageSource.PROVIDER)


def test_what_came_before_a_failure_in_one_chunk_is_not_lost() -> None:
    """The deltas are returned, the failure can be seen at once and is raised by the next call, every time."""
    stream = decoder()
    assert stream.feed(text("a") + error("server_error")) == [TextDelta(0, "a")]
    assert stream.failure is not None
    assert stream.failure.failure_class is FailureClass.SERVER_ERROR
    for _ in range(2):
        with pytest.raises(AttemptError):
            stream.feed(text("b"))
        with pytest.raises(AttemptError):
            stream.close()


def test_nothing_after_the_end_is_read() -> None:
    """Errors after the end change nothing, and garbage costs no memory."""
    stream = decoder()
    stream.feed(text("a") + end() + error("server_error"))
    for _ in range(8):
        assert stream.feed(b"x" * 1_000_000) == []
    assert stream.close() == []
    assert stream.finished is not None
