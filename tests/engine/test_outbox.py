"""Frames on their way to a reader: merged while they wait, never held back, bounded."""

from __future__ import annotations

import asyncio
import random

import google_crc32c
from hypothesis import given
from hypothesis import strategies as st

from trunkline_server.chat.answer import (
    Delta,
    FinishReason,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
    ThinkingSignatureDelta,
    TokenAlternative,
    TokenLogprob,
    ToolCallDelta,
)
from trunkline_server.engine.frames import (
    ContentFrame,
    DeltaKind,
    EndFrame,
    Frame,
    HeartbeatFrame,
    RouteInfo,
    StreamOutcome,
)
from trunkline_server.engine.outbox import Outbox

ROUTE = RouteInfo("default", "default", 1, "", None, ())


def end() -> EndFrame:
    return EndFrame(StreamOutcome.COMPLETE, FinishReason.STOP, "stop", None, None, (), ROUTE, 0, 0)


async def take_all(outbox: Outbox) -> list[Frame]:
    outbox.close()
    frames = []
    while (frame := await outbox.take()) is not None:
        frames.append(frame)
    return frames


def contents(frames: list[Frame]) -> list[ContentFrame]:
    return [frame for frame in frames if isinstance(frame, ContentFrame)]


async def test_what_waits_is_joined() -> None:
    """Adjacent pieces of one part become one item when the reader is behind."""
    outbox = Outbox()
    for word in ("one ", "two ", "three"):
        outbox.put(1, TextDelta(0, word))
    assert [(frame.text, frame.offset) for frame in contents(await take_all(outbox))] == [("one two three", 0)]


async def test_nothing_is_held_back_from_a_reader_that_waits() -> None:
    """Each piece is a frame of its own for a reader that is as fast as the upstream."""
    outbox = Outbox()
    texts = []
    for word in ("a", "b", "c"):
        taking = asyncio.ensure_future(outbox.take())
        await asyncio.sleep(0)
        outbox.put(1, TextDelta(0, word))
        frame = await taking
        assert isinstance(frame, ContentFrame)
        texts.append((frame.text, frame.offset))
    assert texts == [("a", 0), ("b", 1), ("c", 2)]


async def test_kinds_parts_and_calls_are_never_mixed() -> None:
    """A frame holds one kind, one part and one tool call; a signature stands alone."""
    outbox = Outbox()
    deltas: list[Delta] = [
        ThinkingDelta(0, "hm"),
        ThinkingSignatureDelta(0, "sig"),
        TextDelta(1, "a"),
        TextDelta(2, "b"),
        RefusalDelta(2, "no"),
        ToolCallDelta(3, "c1", "f", '{"x":'),
        ToolCallDelta(3, arguments_json_delta="1}", done=True),
        ToolCallDelta(4, "c2", "g", "{}", done=True),
    ]
    for delta in deltas:
        outbox.put(1, delta)
    frames = contents(await take_all(outbox))
    assert [(frame.kind, frame.part, frame.text) for frame in frames] == [
        (DeltaKind.THINKING, 0, "hm"),
        (DeltaKind.THINKING_SIGNATURE, 0, "sig"),
        (DeltaKind.TEXT, 1, "a"),
        (DeltaKind.TEXT, 2, "b"),
        (DeltaKind.REFUSAL, 2, "no"),
        (DeltaKind.TOOL_CALL, 3, '{"x":1}'),
        (DeltaKind.TOOL_CALL, 4, "{}"),
    ]
    assert [(frame.tool_id, frame.tool_name, frame.tool_done) for frame in frames[-2:]] == [
        ("c1", "f", True),
        ("c2", "g", True),
    ]


async def test_a_sealed_form_of_reasoning_is_told_from_a_signature() -> None:
    """Each goes out as its provider gave it, one frame each."""
    outbox = Outbox()
    outbox.put(1, ThinkingSignatureDelta(0, "sealed", redacted=True))
    outbox.put(1, ThinkingSignatureDelta(1, "signed"))
    assert [(frame.text, frame.redacted) for frame in contents(await take_all(outbox))] == [
        ("sealed", True),
        ("signed", False),
    ]


async def test_open_and_done_tool_calls_are_told_apart() -> None:
    """A call counts as done only once its done piece came, also when two of them come interleaved."""
    outbox = Outbox()
    outbox.put(1, ToolCallDelta(0, "c1", "f", "{"))
    outbox.put(1, ToolCallDelta(1, "c2", "f", "{"))
    outbox.put(1, ToolCallDelta(0, arguments_json_delta="}", done=True))
    assert outbox.tool_calls(done=True) == ("c1",)
    assert outbox.tool_calls(done=False) == ("c2",)
    outbox.reset(None)
    outbox.begin_attempt(2)
    assert outbox.tool_calls(done=False) == ()


async def test_frames_are_numbered_as_they_are_taken() -> None:
    """Frames of all kinds count from 1 without a gap; what was merged counts once."""
    outbox = Outbox()
    outbox.put_frame(HeartbeatFrame(None, 1.0))
    for word in ("a", "b"):
        outbox.put(1, TextDelta(0, word))
    outbox.put(1, ThinkingDelta(1, "hm"))
    outbox.reset(None)
    outbox.put_frame(end())
    assert [frame.seq for frame in await take_all(outbox)] == [1, 2, 3, 4, 5]


async def test_whoever_asks_hears_of_what_is_put() -> None:
    """Content and frames that stand for themselves are told apart; a reset is one of the latter."""
    outbox, heard = Outbox(), list[str]()
    outbox.on_content = lambda: heard.append("content")
    outbox.on_frame = lambda: heard.append("frame")
    assert not outbox.behind
    outbox.put_frame(HeartbeatFrame(None, 1.0))
    outbox.put(1, TextDelta(0, ""))
    outbox.reset(None)
    assert heard == ["frame", "content", "frame"]
    assert outbox.behind


async def test_log_probabilities_stay_with_their_text() -> None:
    """Joined pieces carry the log-probabilities of all of them, in order."""
    outbox = Outbox()
    for token in ("a", "b"):
        outbox.put(1, TextDelta(0, token, (TokenLogprob(token, -0.5),)))
    (frame,) = contents(await take_all(outbox))
    assert [entry.token for entry in frame.logprobs] == ["a", "b"]


async def test_a_producer_that_is_too_far_ahead_waits_for_its_reader() -> None:
    """Once more waits than there is room for, room() returns only after the reader took it."""
    outbox = Outbox(room_bytes=1000)
    outbox.put(1, TextDelta(0, "x" * 2000))
    assert outbox.full
    waiting = asyncio.ensure_future(outbox.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    await outbox.take()
    await waiting
    assert not outbox.full


async def test_empty_pieces_are_bounded_too() -> None:
    """Pieces without text but with log-probabilities count against the room."""
    outbox = Outbox(room_bytes=10_000)
    entry = (TokenLogprob("", -1.0),)
    for _ in range(500):
        outbox.put(1, TextDelta(0, "", entry))
    assert outbox.full


async def test_many_small_pieces_are_bounded_by_what_they_really_take() -> None:
    """A piece costs more memory than its letters: tokens of two letters fill the room long before their text does."""
    outbox = Outbox(room_bytes=64 * 1024)
    put = 0
    while not outbox.full:
        outbox.put(1, TextDelta(0, "ab"))
        put += 1
    assert put <= 1024
    assert len(contents(await take_all(outbox))) == 1


async def test_alternatives_count_with_their_token() -> None:
    """Twenty alternatives a token take twenty times the room, and a merged frame stays small enough for any reader."""
    outbox = Outbox()
    entry = TokenLogprob("ab", -1.0, b"ab", tuple(TokenAlternative("xy", -2.0, b"xy") for _ in range(20)))
    put = 0
    while not outbox.full:
        outbox.put(1, TextDelta(0, "ab", (entry,)))
        put += 1
    assert put <= 200


PIECES = st.lists(
    st.tuples(st.sampled_from([TextDelta, ThinkingDelta, RefusalDelta]), st.integers(0, 2), st.text(max_size=8)),
    max_size=40,
)


@given(PIECES, st.integers(0, 2**16))
def test_any_pace_of_the_reader_gives_the_same_content(
    pieces: list[tuple[type[TextDelta | ThinkingDelta | RefusalDelta], int, str]], seed: int
) -> None:
    """However pieces were joined: same text per part, offsets without gaps, and the checksum of what was sent."""

    async def run() -> list[Frame]:
        outbox, rng, frames = Outbox(), random.Random(seed), []
        waiting = 0
        for kind, part, text in pieces:
            outbox.put(1, kind(part, text))
            waiting = 1
            if rng.random() < 0.4 and waiting:
                frames.append(await outbox.take())
                waiting = 0
        outbox.put_frame(end())
        outbox.close()
        while (frame := await outbox.take()) is not None:
            frames.append(frame)
        return [frame for frame in frames if frame is not None]

    frames = asyncio.run(run())
    seen: dict[int, bytes] = {}
    for frame in contents(frames):
        assert frame.offset == len(seen.get(frame.part, b""))
        seen[frame.part] = seen.get(frame.part, b"") + frame.text.encode()
    sent: dict[int, bytes] = {}
    for _, part, text in pieces:
        sent[part] = sent.get(part, b"") + text.encode()
    assert {part: content for part, content in seen.items() if content} == {p: c for p, c in sent.items() if c}
    last = frames[-1]
    assert isinstance(last, EndFrame)
    everything = b"".join(frame.text.encode() for frame in contents(frames))
    assert (last.content_bytes, last.content_crc32c) == (len(everything), google_crc32c.value(everything))
