"""Embeddings of the OpenAI dialect, as the official client asks for them and reads them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from openai import BadRequestError, InternalServerError, RateLimitError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from trunkline_server.simulator.server import Simulator

SMALL = "text-embedding-3-small"


async def test_one_vector_for_each_input_in_their_order(client: AsyncOpenAI) -> None:
    """The client asks for base64 by itself; equal texts have equal vectors, of length 1, and others other ones."""
    answer = await client.embeddings.create(model=SMALL, input=["a", "b", "a"])
    assert [each.index for each in answer.data] == [0, 1, 2]
    first, second, third = (each.embedding for each in answer.data)
    assert len(first) == 1536
    assert first == third != second
    assert math.hypot(*first) == pytest.approx(1.0, abs=1e-5)
    assert answer.model == SMALL
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0


async def test_numbers_are_the_same_as_base64(client: AsyncOpenAI) -> None:
    """`encoding_format` changes how a vector is written, not what it is."""
    numbers = await client.embeddings.create(model=SMALL, input="a", dimensions=8, encoding_format="float")
    packed = await client.embeddings.create(model=SMALL, input="a", dimensions=8)
    assert len(numbers.data[0].embedding) == 8
    assert numbers.data[0].embedding == pytest.approx(packed.data[0].embedding)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"input": ""}, "'$.input' is invalid"),
        ({"input": ["a", ""]}, "'$.input' is invalid"),
        ({"input": []}, "'$.input' is invalid"),
        ({"input": ["a"] * 2049}, "array too long"),
        ({"input": "a" * 40_000}, "maximum context length is 8192 tokens"),
        ({"input": "a", "dimensions": 1537}, "less than or equal to 1536"),
        ({"input": "a", "dimensions": 0}, "at least 1"),
        ({"input": "a", "model": "text-embedding-ada-002", "dimensions": 8}, "does not support specifying dimensions"),
        ({"input": "a", "extra_body": {"colour": "red"}}, "Unknown parameter: 'colour'"),
        ({"input": "a", "extra_body": {"input": 5}}, "Invalid type for 'input'"),
    ],
)
async def test_what_openai_refuses_is_refused(client: AsyncOpenAI, asked: dict[str, Any], told: str) -> None:
    """As 400, in OpenAI's words."""
    with pytest.raises(BadRequestError) as caught:
        await client.embeddings.create(**{"model": SMALL, **asked})
    assert told in str(caught.value)


async def test_faults_and_limits_are_those_of_any_request(simulator: Simulator, client: AsyncOpenAI) -> None:
    """A fault of the scenario, and a key's capacity with its headers, are the same for embeddings."""
    simulator.configure({"capacity": {"requests_per_minute": 1}})
    first = await client.embeddings.with_raw_response.create(model=SMALL, input="a")
    assert first.headers["x-ratelimit-remaining-requests"] == "0"
    with pytest.raises(RateLimitError):
        await client.embeddings.create(model=SMALL, input="a")
    with pytest.raises(InternalServerError):
        await client.embeddings.create(model=SMALL, input="a", extra_headers={"x-sim-fault": "status=503"})
    assert [request.path for request in simulator.stats.last_requests] == ["/v1/embeddings"] * 3
    assert simulator.stats.last_requests[0].model == SMALL
