"""OpenAI embeddings: neutral requests as JSON, JSON as vectors, and whatever else comes as a typed failure."""

from __future__ import annotations

import base64
import json
from array import array
from dataclasses import replace
from typing import Any

import openai.types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_server.chat.answer import Usage, UsageSource, Warning_
from trunkline_server.chat.embedding import EmbedAnswer, EmbedInputType, EmbedRequest
from trunkline_server.providers.base import AdapterTerms, AttemptError, OptionFinding
from trunkline_server.providers.openai import OpenAIAdapter
from trunkline_server.providers.openai.embeddings import OpenAIEmbeddings
from trunkline_server.providers.quirks import Quirks
from trunkline_server.routing.failures import Failure, FailureClass

EMBEDDINGS = OpenAIEmbeddings()
ONE = EmbedRequest("search", ("The food was delicious and the waiter...",), "r1")
TWO = replace(ONE, inputs=("a", "b"))

# https://platform.openai.com/docs/api-reference/embeddings/create, fields as in openai-python's types, 2026-11-23;
# of the vector only the first and the last number.
DOCUMENTED_REQUEST = {
    "input": ["The food was delicious and the waiter..."],
    "model": "text-embedding-3-small",
    "encoding_format": "base64",
}
DOCUMENTED_ANSWER = {
    "object": "list",
    "data": [{"object": "embedding", "embedding": [0.0023064255, -0.0028842222], "index": 0}],
    "model": "text-embedding-3-small",
    "usage": {"prompt_tokens": 8, "total_tokens": 8},
}


def packed(*numbers: float) -> str:
    """Return numbers as the protocol's base64."""
    vector = array("f", numbers)
    return base64.b64encode(vector.tobytes()).decode()


def decoded(body: object, request: EmbedRequest = TWO) -> EmbedAnswer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return EMBEDDINGS.decode_embed(request, 200, {"x-request-id": "req-1"}, raw)


def failed(body: object, request: EmbedRequest = TWO) -> Failure:
    with pytest.raises(AttemptError) as caught:
        decoded(body, request)
    return caught.value.failure


def vectors(*data: dict[str, Any]) -> list[list[float]]:
    return [list(vector) for vector in decoded({"data": list(data)}).vectors]


def test_the_documented_request_is_written() -> None:
    """Model, inputs as a list, and base64; nothing that was not asked for."""
    call = EMBEDDINGS.encode_embed(ONE, "openai", "text-embedding-3-small")
    assert call.path == "/embeddings"
    assert call.headers == {"content-type": "application/json", "accept": "application/json"}
    assert json.loads(call.body) == DOCUMENTED_REQUEST
    assert call.warnings == ()


def test_dimensions_and_own_options_are_written() -> None:
    """The length that is asked for, and the options of this provider alone."""
    request = replace(ONE, dimensions=256, provider_options={"openai": {"user": "u1"}, "other": {"x": 1}})
    body = json.loads(EMBEDDINGS.encode_embed(request, "openai", "m").body)
    assert body == {**DOCUMENTED_REQUEST, "model": "m", "dimensions": 256, "user": "u1"}


def test_what_the_vectors_are_for_has_no_place() -> None:
    """The protocol knows no input type: it is left out with a warning."""
    call = EMBEDDINGS.encode_embed(replace(ONE, input_type=EmbedInputType.QUERY), "openai", "m")
    assert b"query" not in call.body
    told = "left out: this field cannot be sent by the OpenAI embeddings API"
    assert call.warnings == (Warning_("UNSUPPORTED_FIELD", "input_type", told),)


def test_options_of_ours_are_refused() -> None:
    """What the gateway writes, always; what has a typed field, unless the operator allows it; nothing else."""
    options = {"model": 1, "input": 1, "encoding_format": 1, "dimensions": 1, "user": 1}
    found = EMBEDDINGS.check_options(options, frozenset({"model", "encoding_format"}))
    assert [finding.path for finding in found] == ["model", "input", "encoding_format", "dimensions"]
    typed = OptionFinding("dimensions", "has a field of its own in the request: dimensions")
    assert found[-1] == typed
    assert EMBEDDINGS.check_options({"dimensions": 1}, frozenset({"dimensions"})) == []


def test_the_documented_answer_is_read() -> None:
    """Numbers in single precision, the provider's count, and no output."""
    answer = decoded(DOCUMENTED_ANSWER, ONE)
    assert answer.vectors == (array("f", [0.0023064255, -0.0028842222]),)
    assert answer.usage == Usage(input_tokens=8, output_tokens=0, source=UsageSource.PROVIDER)
    assert answer.warnings == ()


def test_the_official_package_agrees_on_the_answer() -> None:
    """The vendor's own types take the documented answer, field by field."""
    assert openai.types.CreateEmbeddingResponse.model_validate(DOCUMENTED_ANSWER).model_dump() == DOCUMENTED_ANSWER


def test_base64_and_numbers_are_the_same_vector() -> None:
    """However a server writes it, even both in one answer."""
    numbers = [0.5, -1.25, 3.0]
    data = [{"index": 0, "embedding": packed(*numbers)}, {"index": 1, "embedding": numbers}]
    assert vectors(*data) == [numbers, numbers]


def test_vectors_are_put_in_the_inputs_order() -> None:
    """By their index, whatever their order in the answer; without one they stand as they came."""
    assert vectors({"index": 1, "embedding": [1]}, {"index": 0, "embedding": [0]}) == [[0], [1]]
    assert vectors({"embedding": [0]}, {"embedding": [1]}) == [[0], [1]]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "no JSON"),
        (b"<html>", "no JSON"),
        ([], "no JSON"),
        ({"data": 5}, "no JSON"),
        ({"data": [{"index": 0, "embedding": "!"}, {"index": 1, "embedding": [1]}]}, "no JSON"),
        ({"data": [{"index": 0, "embedding": ["x"]}, {"index": 1, "embedding": [1]}]}, "no JSON"),
        ({}, "0 vectors for 2 inputs"),
        ({"data": [{"index": 0, "embedding": [1]}]}, "1 vectors for 2 inputs"),
        ({"data": [{"index": 0, "embedding": [1]}] * 2}, "an index"),
        ({"data": [{"index": 0, "embedding": [1]}, {"index": 2, "embedding": [1]}]}, "an index"),
        ({"data": [{"index": -1, "embedding": [1]}, {"index": 0, "embedding": [1]}]}, "an index"),
        ({"data": [{"embedding": [1]}] * 3}, "an index"),
        ({"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [1, 2]}]}, "common length"),
        ({"data": [{"index": 0, "embedding": []}, {"index": 1, "embedding": []}]}, "common length"),
        ({"data": [{"index": 0, "embedding": [1e39]}, {"index": 1, "embedding": [1]}]}, "number that is none"),
        ({"data": [{"embedding": packed(float("nan"))}, {"embedding": [1]}]}, "number that is none"),
        ({"data": [{"embedding": "AAA="}, {"embedding": [1]}]}, "no row of floats"),
    ],
)
def test_what_is_no_row_of_vectors_is_a_protocol_failure(body: object, told: str) -> None:
    """Neither JSON of embeddings, nor one finite vector of the same length for each input."""
    failure = failed(body)
    assert failure.failure_class is FailureClass.PROTOCOL
    assert told in failure.message


def test_another_length_than_asked_for_is_the_caller_s() -> None:
    """A server that ignores `dimensions` fails each such request: that says nothing of its health."""
    failure = failed({"data": [{"embedding": [1, 2]}]}, replace(ONE, dimensions=3))
    assert failure.failure_class is FailureClass.CALLER_INVALID
    assert failure.upstream_param == "dimensions"
    assert failure.message == "the model gave vectors of 2 dimensions, not of the 3 that were asked for"
    assert len(decoded({"data": [{"embedding": [1, 2]}]}, replace(ONE, dimensions=2)).vectors[0]) == 2


def test_an_error_under_a_200_is_classified() -> None:
    """By the same table as any error of the protocol."""
    failure = failed({"error": {"message": "slow down", "code": "rate_limit_exceeded"}})
    assert failure.failure_class is FailureClass.RATE_LIMITED


@pytest.mark.parametrize(
    ("usage", "expected"), [({"prompt_tokens": 12.0}, 12), ({"prompt_tokens": -1}, None), ({}, None), (None, None)]
)
def test_a_count_is_taken_if_it_is_one(usage: object, expected: int | None) -> None:
    """A count that is missing, or that none can be, is unknown, and the vectors stand."""
    answer = decoded({"data": [{"embedding": [1]}], "usage": usage}, ONE)
    assert (None if answer.usage is None else answer.usage.input_tokens) == expected


def test_a_server_without_embeddings_offers_none() -> None:
    """Presets name it among what a server lacks."""
    assert OpenAIAdapter().embeddings is not None
    terms = AdapterTerms(quirks=Quirks(lacks=frozenset({"embeddings"})))
    assert OpenAIAdapter(terms).embeddings is None


def test_a_server_s_own_words_are_used() -> None:
    """For length and purpose, and its own bound; what it has no word for is left out with a warning."""
    words = Quirks(
        dimensions_field="output_dimension", input_types={"query": "question", "unsaid": "text"}, max_inputs=9
    )
    theirs = OpenAIEmbeddings(words)
    assert (EMBEDDINGS.max_inputs("m"), theirs.max_inputs("m")) == (2048, 9)
    request = replace(ONE, dimensions=8, input_type=EmbedInputType.QUERY)
    call = theirs.encode_embed(request, "p", "m")
    assert json.loads(call.body) == {
        **DOCUMENTED_REQUEST,
        "model": "m",
        "output_dimension": 8,
        "input_type": "question",
    }
    assert call.warnings == ()
    assert json.loads(theirs.encode_embed(ONE, "p", "m").body)["input_type"] == "text"
    lost = theirs.encode_embed(replace(ONE, input_type=EmbedInputType.CLUSTERING), "p", "m")
    assert "input_type" not in json.loads(lost.body)
    assert [warning.field for warning in lost.warnings] == ["input_type"]
    found = theirs.check_options({"output_dimension": 1, "input_type": "x", "dimensions": 2}, frozenset())
    assert [finding.path for finding in found] == ["output_dimension", "input_type"]


@given(st.binary(max_size=200))
def test_garbage_is_a_typed_failure(body: bytes) -> None:
    """Never another exception."""
    assert failed(body).failure_class in set(FailureClass)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["data", "embedding", "index", "usage", "prompt_tokens", "x"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@given(st.fixed_dictionaries({"data": _JSON}, optional={"usage": _JSON, "error": _JSON}))
def test_json_of_any_shape_is_an_answer_or_a_typed_failure(body: object) -> None:
    """And an answer always has a finite vector for each input."""
    try:
        answer = decoded(body)
    except AttemptError as error:
        assert error.failure.failure_class in set(FailureClass)  # noqa: PT017  either way is right
    else:
        assert len(answer.vectors) == len(TWO.inputs)
