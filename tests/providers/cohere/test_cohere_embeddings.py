"""Embeddings of Cohere's: golden pairs in the forms of SPEC, and answers that are none."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest
from tests.providers.cohere.cohere_golden import PROVIDER, adapter

from trunkline_server.chat.answer import Usage, UsageSource
from trunkline_server.chat.embedding import EmbedInputType, EmbedRequest
from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.embedding import EmbeddingAdapter
from trunkline_server.routing.failures import FailureClass

TWO = EmbedRequest("d", ("hello", "goodbye"), "r-1")


def embeddings() -> EmbeddingAdapter:
    found = adapter().embeddings
    assert found is not None
    return found


def packed(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def decoded(body: object, request: EmbedRequest = TWO) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return embeddings().decode_embed(request, 200, {}, raw)


def test_the_shortest_call() -> None:
    """The kind of input is always said, and an input that is too long is to be refused, not cut in silence."""
    call = embeddings().encode_embed(TWO, PROVIDER, "embed-v4.0")
    assert json.loads(call.body) == {
        "model": "embed-v4.0",
        "texts": ["hello", "goodbye"],
        "input_type": "search_document",
        "embedding_types": ["base64"],
        "truncate": "NONE",
    }
    assert call.path == "/v2/embed"
    assert call.warnings == ()


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (EmbedInputType.DOCUMENT, "search_document"),
        (EmbedInputType.QUERY, "search_query"),
        (EmbedInputType.CLASSIFICATION, "classification"),
        (EmbedInputType.CLUSTERING, "clustering"),
    ],
)
def test_each_kind_of_input_has_its_word(kind: EmbedInputType, word: str) -> None:
    """All of ours are the vendor's."""
    call = embeddings().encode_embed(EmbedRequest("d", ("a",), "r", input_type=kind), PROVIDER, "m")
    assert json.loads(call.body)["input_type"] == word


def test_options_go_before_what_is_ours_to_choose() -> None:
    """Such as cutting inputs after all; what decoding needs cannot be changed."""
    request = EmbedRequest("d", ("a",), "r", provider_options={PROVIDER: {"truncate": "END"}, "openai": {"x": 1}})
    body = json.loads(embeddings().encode_embed(request, PROVIDER, "m").body)
    assert body["truncate"] == "END"
    assert "x" not in body
    options = {
        "truncate": "END",
        "embedding_types": ["int8"],
        "texts": [],
        "input_type": "image",
        "output_dimension": 8,
    }
    found = embeddings().check_options(options, frozenset({"texts", "output_dimension"}))
    assert [finding.path for finding in found] == ["embedding_types", "texts", "input_type"]


def test_vectors_come_as_base64_or_as_numbers() -> None:
    """In the inputs' order; the usage is what is paid for, unless more is told."""
    meta = {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 2.0}}
    answer = decoded({"id": "x", "embeddings": {"base64": [packed(1, 2), packed(3, 4)]}, "meta": meta})
    assert [list(vector) for vector in answer.vectors] == [[1.0, 2.0], [3.0, 4.0]]
    assert answer.usage == Usage(input_tokens=2, output_tokens=0, source=UsageSource.PROVIDER)
    assert answer.warnings == ()
    answer = decoded({"embeddings": {"float": [[1, 2], [3, 4.5]]}, "meta": {"tokens": {"input_tokens": 9}}})
    assert [list(vector) for vector in answer.vectors] == [[1.0, 2.0], [3.0, 4.5]]
    assert answer.usage.input_tokens == 9
    assert decoded({"embeddings": {"float": [[1], [2]]}}).usage is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"embeddings":null}',
        {"embeddings": {"base64": [packed(1)]}},
        {"embeddings": {"base64": [packed(1), "AAA="]}},
        {"embeddings": {"base64": [packed(1), packed(1, 2)]}},
        {"embeddings": {"base64": [packed(1), packed(float("nan"))]}},
        {"embeddings": {"base64": [packed(1), "no base64!"]}},
        {"embeddings": {"float": [[1], [1e300]]}},
        {"embeddings": {"int8": [[1], [2]]}},
    ],
)
def test_answers_that_hold_no_vectors(body: object) -> None:
    """One for each input, of one length, with finite numbers: or it is no answer."""
    with pytest.raises(AttemptError) as caught:
        decoded(body)
    assert caught.value.failure.failure_class is FailureClass.PROTOCOL


def test_a_call_takes_so_many_inputs() -> None:
    """The API's error text says the number: total number of texts must be at most 96 (ERRORS)."""
    assert embeddings().max_inputs("embed-v4.0") == 96
