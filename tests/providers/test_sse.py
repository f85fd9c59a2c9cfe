from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_server.providers.sse import EventTooLargeError, SseDecoder, SseEvent

TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":" hello"}}]}\n\n'


def decode(*chunks: bytes, max_event_bytes: int = 1024) -> list[SseEvent]:
    decoder = SseDecoder(max_event_bytes=max_event_bytes)
    return [event for chunk in chunks for event in decoder.feed(chunk)]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        pytest.param(b"data: a\n\n", [(b"a", "message")], id="lf"),
        pytest.param(b"data: a\r\n\r\n", [(b"a", "message")], id="crlf"),
        pytest.param(b"data: a\r\r", [(b"a", "message")], id="cr"),
        pytest.param(b"data: a\r\n\ndata: b\n\r", [(b"a", "message"), (b"b", "message")], id="mixed"),
        pytest.param(b"data:a\n\n", [(b"a", "message")], id="no space"),
        pytest.param(b"data:  a\n\n", [(b" a", "message")], id="only one space goes"),
        pytest.param(b"data: a\ndata: b\ndata\n\n", [(b"a\nb\n", "message")], id="lines are joined"),
        pytest.param(b"data:\n\n", [(b"", "message")], id="empty data"),
        pytest.param(b"event: ping\ndata: {}\n\n", [(b"{}", "ping")], id="named"),
        pytest.param(b"event: a\ndata: 1\n\nevent: b\ndata: 2\n\n", [(b"1", "a"), (b"2", "b")], id="named, two"),
        pytest.param(b"event: a\ndata: 1\ndata: 2\n\n", [(b"1\n2", "a")], id="named, lines are joined"),
        pytest.param(b"event: a\ndata: 1\nevent: b\n\n", [(b"1", "b")], id="the last name counts"),
        pytest.param(b"event: a\n: c\ndata: 1\n\n", [(b"1", "a")], id="comment behind a name"),
        pytest.param(b"event: \ndata:  1\n\n", [(b" 1", "message")], id="no name, two spaces"),
        pytest.param(b"event: a\ndata: \n\n", [(b"", "a")], id="named, empty data"),
        pytest.param(b"event: a\r\ndata: 1\r\n\r\n", [(b"1", "a")], id="named, crlf"),
        pytest.param(b"data: {}\nevent:ping\n\n", [(b"{}", "ping")], id="named after"),
        pytest.param(b"event:\ndata: a\n\n", [(b"a", "message")], id="empty name"),
        pytest.param(b"event: ping\n\ndata: a\n\n", [(b"a", "message")], id="a name alone is no event"),
        pytest.param(b": keep-alive\n\ndata: a\n\n", [(b"a", "message")], id="comment"),
        pytest.param(b":\ndata: a\n:data: b\n\n", [(b"a", "message")], id="comment inside"),
        pytest.param(b"id: 7\nretry: 10\ndata: a\nother\n\n", [(b"a", "message")], id="ignored fields"),
        pytest.param(b"datax: a\n data: b\n\n", [], id="other names"),
        pytest.param(b"\n\n\n\ndata: a\n\n\n\n\ndata: b\n\n", [(b"a", "message"), (b"b", "message")], id="gaps"),
        pytest.param(b"\xef\xbb\xbfdata: a\n\n", [(b"a", "message")], id="byte order mark"),
        pytest.param(b"\xef\xbb\xbf\ndata: a\n\n", [(b"a", "message")], id="mark and blank line"),
        pytest.param(b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [(b"a", "message")], id="mark at the start only"),
        pytest.param(b"event: \xff\ndata: \xff\n\n", [(b"\xff", "�")], id="no utf-8"),
        pytest.param(b"data: a\n\ndata: b\n", [(b"a", "message")], id="incomplete at the end"),
        pytest.param(TOKEN + b"data: [DONE]\n\n", [(TOKEN[6:-2], "message"), (b"[DONE]", "message")], id="usual"),
    ],
)
def test_event_stream_format(stream: bytes, events: list[tuple[bytes, str]]) -> None:
    """A stream gives the events that the standard says, fed at once and byte by byte."""
    assert decode(stream) == events
    assert decode(*(stream[i : i + 1] for i in range(len(stream)))) == events


def test_line_end_split_between_chunks_is_one_line_end() -> None:
    """CR at the end of one chunk and LF at the start of the next are one line end, seen at the CR."""
    decoder = SseDecoder()
    assert decoder.feed(b"data: a\r") == []
    assert decoder.feed(b"\n\r") == [SseEvent(b"a")]
    assert decoder.feed(b"\n") == []
    assert decoder.feed(b"data: b\n\n") == [SseEvent(b"b")]


def test_close_says_whether_an_event_was_left() -> None:
    """An incomplete event is dropped at the end and told; blank lines are not one."""
    whole, cut = SseDecoder(), SseDecoder()
    whole.feed(b"data: a\n\n\n")
    cut.feed(b"data: a\n")
    assert not whole.close()
    assert cut.close()
    assert not cut.close()


@pytest.mark.parametrize("step", [1, 7, 4096])
def test_what_stands_behind_the_last_event_can_be_seen(step: int) -> None:
    """A server that breaks off may say why without the form of an event."""
    decoder = SseDecoder()
    for chunk in cut(b'data: a\r\n\r\n{\r\n  "error": 1\r\n}\r\n', step):
        decoder.feed(chunk)
    assert decoder.rest == b'{\n  "error": 1\n}\n'
    decoder.close()
    assert decoder.rest == b""


@pytest.mark.parametrize("step", [1, 7, 4096])
def test_event_size_is_bounded_in_any_chunking(step: int) -> None:
    """An event at the bound is decoded and one byte more is refused, complete or not."""
    fits = b"data: " + b"x" * 94 + b"\n\n"
    over = b"data: " + b"x" * 95
    assert decode(*cut(fits, step), max_event_bytes=100) == [SseEvent(b"x" * 94)]
    for stream in (over, over + b"\n\n", b": " + b"x" * 99, b"data: a\n\n" + over + b"\n\n"):
        with pytest.raises(EventTooLargeError, match="larger than 100 bytes"):
            decode(*cut(stream, step), max_event_bytes=100)


def test_many_small_events_may_be_larger_together_than_the_bound() -> None:
    """The bound is one of an event, not of a chunk."""
    assert len(decode(TOKEN * 100, max_event_bytes=len(TOKEN))) == 100


def cut(stream: bytes, step: int) -> list[bytes]:
    return [stream[i : i + step] for i in range(0, len(stream), step)]


LINES = st.sampled_from([b"data: a", b"data:b", b"data", b"event: e", b": c", b"id: 1", b"\xef\xbb\xbf", b"", b"xx"])
ENDS = st.sampled_from([b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n"])
STREAMS = st.lists(st.tuples(LINES, ENDS)).map(lambda lines: b"".join(line + end for line, end in lines))


@given(stream=STREAMS | st.binary(), cuts=st.lists(st.integers(min_value=0, max_value=200)))
def test_chunking_does_not_matter(stream: bytes, cuts: list[int]) -> None:
    """Any chunking, empty chunks included, gives the events of the whole fed at once."""
    edges = [0, *sorted(min(edge, len(stream)) for edge in cuts), len(stream)]
    chunks = [stream[start:end] for start, end in itertools.pairwise(edges)]
    assert decode(*chunks) == decode(stream)


@given(stream=STREAMS | st.binary(), step=st.integers(min_value=1, max_value=9))
def test_garbage_raises_nothing_but_the_typed_error(stream: bytes, step: int) -> None:
    """Whatever the bytes, the decoder returns events or says that one is too large, alike in any chunking."""
    outcomes = []
    for chunks in (cut(stream, step), [stream]):
        try:
            decode(*chunks, max_event_bytes=12)
        except EventTooLargeError:
            outcomes.append("too large")
        else:
            outcomes.append("decoded")
    assert outcomes[0] == outcomes[1]


def test_time_is_linear_for_single_bytes() -> None:
    """Four times the bytes of one event, one byte at a time, take about four times as long."""

    def best_of_three_s(size: int) -> float:
        chunks = cut(b"data: " + b"x" * size + b"\n\n", 1)
        times = []
        for _ in range(3):
            decoder = SseDecoder()
            start = time.process_time()
            events = [event for chunk in chunks for event in decoder.feed(chunk)]
            times.append(time.process_time() - start)
            assert events == [SseEvent(b"x" * size)]
        return min(times)

    assert best_of_three_s(1024 * 1024) < 6 * best_of_three_s(256 * 1024)
