"""Wherever a stream is cut, the boundary's closing frames tell the truth, as the client's own reader judges it."""

from __future__ import annotations

from unittest import mock

import google_crc32c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rpc.engine_streams import Script, engine_streams, well_ended

import trunkline
from trunkline import Answer, Assembly, CallFailedError, StreamBrokenError, StreamCorruptError
from trunkline import v1 as pb
from trunkline_server.engine.frames import (
    AttemptFailedFrame,
    AttemptStartedFrame,
    CallFailure,
    ContentFrame,
    DeltaKind,
    Frame,
)
from trunkline_server.routing.types import Reason
from trunkline_server.rpc import delivered as delivered_module
from trunkline_server.rpc.delivered import Delivered
from trunkline_server.rpc.encode import encode_frame
from trunkline_server.rpc.status import status_of

CUT = CallFailure(Reason.SERVER_DRAINING, "the server is going down")


def closed(frames: list[Frame]) -> list[Frame]:
    """Return the frames with those that the boundary closes them with."""
    delivered = Delivered()
    for frame in frames:
        delivered.note(frame)
    closing = delivered.closing_frames(CUT)
    for number, frame in enumerate(closing, len(frames) + 1):
        frame.seq = number
    return [*frames, *closing]


def read(frames: list[Frame], failure: CallFailure | None) -> Answer:
    """Return what the client makes of frames and a status, as they are on the wire."""
    assembly = Assembly()
    for frame in frames:
        assembly.feed(pb.StreamFrame.FromString(encode_frame(frame)))
    if failure is None:
        return assembly.finish(None)
    status = status_of(failure)
    return assembly.finish(trunkline.CallFailure(status.code, status.message, failure.reason.value))


def counted(frames: list[ContentFrame]) -> bytes:
    return b"".join(each.text.encode() for each in frames if each.kind is not DeltaKind.THINKING_SIGNATURE)


@settings(deadline=None)  # the machine may be busy
@given(script=engine_streams(), data=st.data(), pending=st.sampled_from([1, 3, 64]))
def test_a_cut_stream_is_told_as_broken(script: Script, data: st.DataObject, pending: int) -> None:
    """Cut after any frame, whatever came back or went on before: broken and verified, never corrupt."""
    came = data.draw(st.integers(0, len(script.frames)), label="frames that came")
    with mock.patch.object(delivered_module, "_MAX_PENDING", pending):
        frames = closed(script.frames[:came])
    if came == 0:
        assert frames == []
        with pytest.raises(CallFailedError):
            read(frames, CUT)
        return
    with pytest.raises(StreamBrokenError) as caught:
        read(frames, CUT)
    assert caught.value.partial.last_seq == len(frames)
    broken = [frame for frame in frames if isinstance(frame, AttemptFailedFrame)]
    assert len({frame.attempt for frame in broken}) == len(broken)
    begun = [frame.attempt for frame in frames if isinstance(frame, AttemptStartedFrame)]
    if any(isinstance(frame, ContentFrame) for frame in frames):
        assert [frame.attempt for frame in broken] == begun


@settings(deadline=None)
@given(script=engine_streams())
def test_a_stream_that_was_not_cut_is_left_alone(script: Script) -> None:
    """A stream with its end gets no further frame, and what these tests draw is accepted as it is."""
    if script.whole:
        content = counted(script.counts)
        well_ended(script, len(content), google_crc32c.value(content))
        assert closed(script.frames) == script.frames
        assert read(script.frames, None).finish_reason == pb.FINISH_REASON_LENGTH


@settings(deadline=None)
@given(script=engine_streams(), data=st.data())
def test_a_closing_frame_that_is_off_by_one_byte_is_noticed(script: Script, data: st.DataObject) -> None:
    """The reader that judges here would see a wrong sum: it takes nothing on trust."""
    frames = closed(script.frames[: data.draw(st.integers(1, len(script.frames)))])
    end = frames[-1]
    with mock.patch.object(end, "content_crc32c", end.content_crc32c ^ 1), pytest.raises(StreamCorruptError):  # type: ignore[union-attr]  # an end frame
        read(frames, CUT)
