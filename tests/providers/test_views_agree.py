"""One answer, whole and as a stream, in every wire: the same parts, end, figures and warnings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.providers.any_conversation import SCHEMA

from trunkline_server.chat.answer import (
    Answer,
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
)
from trunkline_server.chat.message import (
    Message,
    Part,
    RefusalPart,
    Role,
    TextPart,
    ThinkingPart,
    ToolCallPart,
)
from trunkline_server.chat.request import ChatRequest, FunctionTool, Sampling
from trunkline_server.compile import ADAPTERS, WIRES
from trunkline_server.providers.base import Adapter, AdapterTerms, AttemptError, ModelTerms
from trunkline_server.routing.failures import FailureClass
from trunkline_server.simulator.answer import make_answer
from trunkline_server.simulator.dialect import Job, Mark, Received
from trunkline_server.simulator.dialects import DIALECTS, dialect_of
from trunkline_server.simulator.failure import Reply
from trunkline_server.simulator.scenario import Fault, Scenario, ToolCall

MODELS = {
    "openai": "gpt-4o",
    "azure_openai": "gpt-4o",
    "anthropic": "claude-3-7-sonnet-20250219",
    "bedrock": "us.anthropic.claude-3-7-sonnet-20250219-v1:0",
    "gemini": "gemini-3-pro",
    "cohere": "command-a-03-2025",
}
TOOLS = (FunctionTool("weather", "The weather.", SCHEMA), FunctionTool("now"))
MARK = Mark(1, 1_700_000_000.0)

Told = TypeVar("Told")
Seen = tuple[tuple[Part, ...], Finished, Usage | None, tuple[TokenLogprob, ...]]


SPOKEN = [*((protocol, "") for protocol in ADAPTERS), *WIRES]
EVERY = pytest.mark.parametrize(("protocol", "wire"), SPOKEN, ids=[" ".join(each).strip() for each in SPOKEN])


def adapter_of(protocol: str, wire: str) -> Adapter:
    """Return the adapter of the vendor's own service."""
    version = "2025-04-01-preview" if protocol == "azure_openai" else None
    models = {MODELS[protocol]: ModelTerms(max_output_tokens=8192)}
    base_url = f"https://api.example{DIALECTS[protocol].base_path}"
    terms = AdapterTerms(protocol, base_url, models, region="eu-west-1", api_version=version, wire=wire)
    return WIRES.get((protocol, wire), ADAPTERS[protocol])(terms)


def job_of(adapter: Adapter, protocol: str, request: ChatRequest, *, stream: bool) -> Job:
    """Return what the vendor's dialect makes of a request."""
    call = adapter.encode(request, protocol, MODELS[protocol], stream=stream)
    parts = urlsplit(DIALECTS[protocol].base_path + call.path)
    query = dict(parse_qsl(parts.query))
    received = Received(
        method="POST",
        path=unquote(parts.path),
        raw_path=f"{parts.path}?{parts.query}",
        query=query,
        headers=call.headers,
        body=call.body,
    )
    job = dialect_of(received).read(received, Scenario())
    assert not isinstance(job, Reply)
    return job


class Pieces:
    """The parts of a streamed answer, put together as a caller would."""

    def __init__(self) -> None:
        self.parts: dict[int, Part] = {}
        self.done: set[int] = set()
        self.logprobs: list[TokenLogprob] = []

    def take(self, delta: Delta) -> None:
        """Add one delta; AssertionError for one that does not fit what came before."""
        before = self.parts.get(delta.part)
        assert before is not None or delta.part == len(self.parts), "a part's number was left out"
        assert delta.part not in self.done, "a call went on after it was done"
        if isinstance(delta, TextDelta | RefusalDelta):
            kind = TextPart if isinstance(delta, TextDelta) else RefusalPart
            assert before is None or type(before) is kind
            self.parts[delta.part] = kind((before.text if isinstance(before, kind) else "") + delta.text)
            self.logprobs += delta.logprobs
        elif isinstance(delta, ToolCallDelta):
            if before is None:
                assert delta.id
                assert delta.name
                before = ToolCallPart(delta.id, delta.name, "")
            assert isinstance(before, ToolCallPart)
            self.parts[delta.part] = replace(before, arguments_json=before.arguments_json + delta.arguments_json_delta)
            if delta.done:
                self.done.add(delta.part)
        else:
            before = before or ThinkingPart("")
            assert isinstance(before, ThinkingPart)
            self.parts[delta.part] = _thought(before, delta)

    def whole(self) -> tuple[Part, ...]:
        """Return all parts, in their order."""
        return tuple(part for _, part in sorted(self.parts.items()))


def _thought(before: ThinkingPart, delta: ThinkingDelta | ThinkingSignatureDelta) -> ThinkingPart:
    assert before.signature is None, "it is signed already"
    if isinstance(delta, ThinkingDelta):
        return replace(before, text=before.text + delta.text)
    return replace(before, signature=delta.signature, redacted=delta.redacted)


def streamed(adapter: Adapter, request: ChatRequest, chunks: Iterable[bytes]) -> tuple[Seen, set[int]]:
    """Return what a stream of these bytes tells, and which parts are done; raise AttemptError if it is not whole."""
    decoder = adapter.stream_decoder(request)
    pieces = Pieces()
    for chunk in chunks:
        for delta in decoder.feed(chunk):
            pieces.take(delta)
    for delta in decoder.close():
        pieces.take(delta)
    assert decoder.finished is not None
    return (pieces.whole(), decoder.finished, decoder.usage, tuple(pieces.logprobs)), pieces.done


def without_loose_seals(seen: Seen) -> Seen:
    """Return it without reasoning that is a seal alone: Gemini seals a whole answer's text, and a stream's end."""
    parts = tuple(part for part in seen[0] if not isinstance(part, ThinkingPart) or part.text)
    return parts, *seen[1:]


def seen_of(answer: Answer) -> Seen:
    """Return what a whole answer tells; the engine marks all reasoning with its provider, so that is left out."""
    parts = tuple(
        replace(part, provider=None) if isinstance(part, ThinkingPart) else part for part in answer.message.parts
    )
    return parts, answer.finished, answer.usage, answer.logprobs


def outcome(read: Callable[[], Told]) -> Told | FailureClass:
    """Return what `read` returns, or the class of the failure that it raises."""
    try:
        return read()
    except AttemptError as error:
        return error.failure.failure_class


def cut(data: bytes, sizes: list[int]) -> Iterable[bytes]:
    """Yield `data` in pieces of these sizes, the last of which holds for the rest."""
    at = number = 0
    while at < len(data):
        size = sizes[min(number, len(sizes) - 1)]
        yield data[at : at + size]
        at, number = at + size, number + 1


words = st.sampled_from(["one two three", "grün 🎉 Ω", " leading", "x", "a\n\nb", '"quoted" \\ and {', "tail "])
calls = st.lists(
    st.builds(
        ToolCall,
        name=st.sampled_from(["weather", "now"]),
        arguments=st.sampled_from(["{}", '{"city": "Brno"}', '{"city": "東京 \\"Ω\\"", "n": [1, {"b": null}]}']),
    ),
    max_size=3,
)
REASONS = {
    "openai": ("stop", "length", "content_filter"),
    "azure_openai": ("stop", "length", "content_filter"),
    "anthropic": ("stop", "length", "content_filter", "refusal", "pause_turn", "model_context_window_exceeded"),
    "bedrock": ("stop", "length", "content_filter", "guardrail_intervened", "malformed_tool_use"),
    "gemini": ("stop", "length", "content_filter", "RECITATION", "OTHER", "MALFORMED_FUNCTION_CALL"),
    "cohere": ("stop", "length", "content_filter", "ERROR_LIMIT", "STOP_SEQUENCE"),
}


@st.composite
def faults(draw: st.DrawFn, protocol: str) -> Fault:
    """Draw what a model says: text, reasoning, calls or a refusal, ended by any reason."""
    said: dict[str, Any] = {"finish_reason": draw(st.sampled_from([None, None, None, *REASONS[protocol]]))}
    kind = draw(st.sampled_from(["text", "text", "calls", "both", "refusal", "empty"]))
    if kind in {"text", "both"}:
        said["content"] = draw(words)
    if kind in {"calls", "both"}:
        said["tool_calls"] = draw(calls)
        said["tool_pieces"] = draw(st.integers(1, 9))
    if kind == "refusal":
        said["refusal"] = draw(words)
    if kind == "empty":
        said["empty"] = draw(st.sampled_from(["content", "choices"]))
    if draw(st.booleans()):
        said["reasoning"] = draw(words)
    return Fault(**said)


@EVERY
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_stream_tells_what_the_whole_answer_tells(protocol: str, wire: str, data: st.DataObject) -> None:
    """Parts with their order, ids and seals, the end, the usage and the failures are the same in both views."""
    adapter = adapter_of(protocol, wire)
    fault = data.draw(faults(protocol))
    # Where a call is cut short, vendors without strings for arguments have no whole answer to tell it with.
    most = None if fault.tool_calls else data.draw(st.sampled_from([None, None, 1, 3]))
    request = ChatRequest(
        "m", (Message(Role.USER, (TextPart("hi"),)),), "r", Sampling(max_output_tokens=most), tools=TOOLS
    )
    unary, stream = (job_of(adapter, protocol, request, stream=streams) for streams in (False, True))
    answer = make_answer(unary.ask, fault, 1)
    events = stream.events(make_answer(stream.ask, fault, 1), MARK)
    body = b"".join([events.opening(), *events.contents(), events.ending(done=True)])
    chunks = cut(body, data.draw(st.lists(st.integers(1, 400), min_size=1, max_size=5)))
    whole = outcome(lambda: seen_of(adapter.decode_answer(200, {}, unary.body(answer, MARK))))
    found = outcome(lambda: streamed(adapter, request, chunks))
    if isinstance(whole, FailureClass) or isinstance(found, FailureClass):
        assert found is whole
        return
    seen, done = found
    if protocol == "gemini":
        assert without_loose_seals(seen) == without_loose_seals(whole)
    else:
        assert seen == whole
    if seen[1].reason is FinishReason.TOOL_CALLS:
        assert done == {number for number, part in enumerate(seen[0]) if isinstance(part, ToolCallPart)}
