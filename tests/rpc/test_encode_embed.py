"""Vectors as protobuf: written by hand, and read by the real decoder."""

from __future__ import annotations

from array import array

import pytest
from grpc import aio
from hypothesis import given
from hypothesis import strategies as st
from tests.rpc.conftest import ATTEMPT, ROUTE, serving

from trunkline import v1 as pb
from trunkline_server.chat.answer import Usage, UsageSource, Warning_
from trunkline_server.chat.embedding import EmbedAnswer
from trunkline_server.engine.frames import EmbeddedCall
from trunkline_server.rpc.encode_embed import encode_embedded

USAGE = Usage(input_tokens=5, output_tokens=0, source=UsageSource.PROVIDER, cost_nanousd=100)


def response(*vectors: list[float], usage: Usage | None = USAGE) -> pb.EmbedResponse:
    answer = EmbedAnswer(tuple(array("f", vector) for vector in vectors), usage)
    call = EmbeddedCall("r1", answer, ROUTE, (ATTEMPT,), 5.5, (Warning_("w", "f", "m"),))
    return pb.EmbedResponse.FromString(encode_embedded(call))


def test_everything_is_there() -> None:
    """Vectors with their places, their length, model, usage, route, attempts, time and warnings."""
    found = response([0.5, 1.5], [2.0, -3.0])
    assert [(each.index, list(each.values)) for each in found.embeddings] == [(0, [0.5, 1.5]), (1, [2.0, -3.0])]
    assert (found.request_id, found.dimensions, found.model) == ("r1", 2, "gpt")
    assert (found.usage.input_tokens, found.usage.output_tokens, found.usage.cost_nanousd) == (5, 0, 100)
    assert found.usage.HasField("output_tokens")
    assert (found.route.served_by.provider, found.attempts[0].attempt) == ("openai", 1)
    assert found.created.ToMilliseconds() == 5500
    assert [each.code for each in found.warnings] == ["w"]


def test_unknown_usage_is_unset() -> None:
    """A provider that counts nothing says nothing."""
    assert not response([1.0], usage=None).HasField("usage")


@pytest.mark.parametrize(("count", "length"), [(1, 1), (127, 31), (128, 32), (129, 33), (300, 1536), (2048, 8)])
def test_any_number_and_length_is_framed_right(count: int, length: int) -> None:
    """At the edges of one, two and three bytes of a length and of an index too."""
    found = response(*[[float(index)] * length for index in range(count)])
    assert [each.index for each in found.embeddings] == list(range(count))
    assert all(list(each.values) == [float(each.index)] * length for each in found.embeddings)


@given(st.lists(st.lists(st.floats(width=32, allow_nan=False), min_size=3, max_size=3), min_size=1, max_size=5))
def test_the_bytes_are_those_of_the_library(vectors: list[list[float]]) -> None:
    """What is written by hand is the message that protobuf itself would write, byte for byte in its own order."""
    ours = response(*vectors)
    theirs = pb.EmbedResponse()
    theirs.CopyFrom(ours)
    del theirs.embeddings[:]
    for index, vector in enumerate(vectors):
        theirs.embeddings.add(index=index, values=vector)
    assert ours.SerializeToString() == theirs.SerializeToString()


async def test_embed_is_served() -> None:
    """Over the wire: the request reaches the engine, its vectors come back, and the log has its line."""
    async with serving() as served:
        found = await served.stub.Embed(pb.EmbedRequest(model="search", inputs=["a", "bcd"], request_id="r7"))
        assert found.request_id == "r7"
        assert [list(each.values) for each in found.embeddings] == [[0.0, 1.0], [1.0, 3.0]]
        (line,) = await served.log.next_of("rpc")
        assert (line["method"], line["outcome"]) == ("/trunkline.v1.CompletionService/Embed", "COMPLETE")
        assert (line["request_id"], line["model"], line["served_by"]) == ("r7", "search", "openai/gpt")
        with pytest.raises(aio.AioRpcError, match="inputs"):
            await served.stub.Embed(pb.EmbedRequest(model="search"))
