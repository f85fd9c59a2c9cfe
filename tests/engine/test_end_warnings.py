"""What a stream tells at its end because its beginning could not: losses of the answer, and of later attempts."""

from __future__ import annotations

from tests.engine.scripted import Said, World, event

from trunkline_server.chat.request import ChatRequest, RoutingOptions, Sampling
from trunkline_server.engine.frames import EndFrame, StartedFrame

AUDIO = event(choices=[{"index": 0, "delta": {"audio": {"id": "a"}, "annotations": [{"type": "url_citation"}]}}])


async def _edges(world: World, request: ChatRequest) -> tuple[StartedFrame, EndFrame]:
    frames = [frame async for frame in world.engine.stream(request, world.scope())]
    started, end = frames[0], frames[-1]
    assert isinstance(started, StartedFrame)
    assert isinstance(end, EndFrame)
    return started, end


async def test_what_an_answer_lost_is_told_once_at_the_end() -> None:
    """Content that cannot be carried over is no silent loss in a stream either."""
    world = World()
    world.upstream.answers(Said.ROLE, Said.text("hi"), AUDIO, AUDIO, Said.STOP, Said.DONE)
    started, end = await _edges(world, world.request())
    assert started.warnings == ()
    assert [(warning.code, warning.field) for warning in end.warnings] == [
        ("DROPPED_CONTENT", "message.audio"),
        ("DROPPED_CONTENT", "message.annotations"),
    ]


async def test_what_the_beginning_told_is_not_told_again() -> None:
    """A wish that was given up stands in the first frame alone."""
    world = World()
    world.upstream.answers(Said.ROLE, Said.text("hi"), Said.STOP, Said.DONE)
    started, end = await _edges(world, world.request(sampling=Sampling(top_k=3)))
    assert [warning.field for warning in started.warnings] == ["sampling.top_k"]
    assert end.warnings == ()


async def test_what_an_early_beginning_could_not_know_is_told_at_the_end() -> None:
    """A stream that was announced before its attempt tells of the attempt's losses when it ends."""
    world = World()
    world.upstream.answers(Said.ROLE, Said.text("hi"), Said.STOP, Said.DONE)
    request = world.request(sampling=Sampling(top_k=3), routing=RoutingOptions(announce_early=True))
    started, end = await _edges(world, request)
    assert started.warnings == ()
    assert [warning.field for warning in end.warnings] == ["sampling.top_k"]
