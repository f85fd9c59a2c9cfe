"""Embeddings of Titan and Cohere: golden bodies, both ways."""

from __future__ import annotations

import json
from array import array
from typing import Any

import pytest

from trunkline_server.chat.answer import Usage, UsageSource
from trunkline_server.chat.embedding import EmbedAnswer, EmbedInputType, EmbedRequest
from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.bedrock.embeddings import BedrockEmbeddings
from trunkline_server.routing.failures import FailureClass

TITAN, COHERE = "amazon.titan-embed-text-v2:0", "us.cohere.embed-v4:0"
TOKENS = {"x-amzn-bedrock-input-token-count": "9"}
"""Titan's bodies: docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html; Cohere's:
model-parameters-embed-v3.html and model-parameters-embed-v4.html, as of 2026-11-23."""


def request(*inputs: str, **fields: Any) -> EmbedRequest:
    return EmbedRequest("default", inputs, "r", **fields)


def encoded(asked: EmbedRequest, model: str) -> tuple[dict[str, Any], list[str]]:
    call = BedrockEmbeddings().encode_embed(asked, "bedrock", model)
    return json.loads(call.body), [warning.field for warning in call.warnings]


def decoded(asked: EmbedRequest, body: object, headers: dict[str, str] | None = None) -> EmbedAnswer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return BedrockEmbeddings().decode_embed(asked, 200, headers or {}, raw)


def test_titan_gets_one_text() -> None:
    """A text and its dimensions; what the vectors are for cannot be said, and that is told."""
    assert encoded(request("a"), TITAN) == ({"inputText": "a"}, [])
    asked = request(
        "a", dimensions=256, input_type=EmbedInputType.QUERY, provider_options={"bedrock": {"normalize": False}}
    )
    assert encoded(asked, TITAN) == ({"inputText": "a", "dimensions": 256, "normalize": False}, ["input_type"])
    assert BedrockEmbeddings().max_inputs(TITAN) == 1


def test_cohere_gets_a_list() -> None:
    """All texts in one call, for documents unless the caller says otherwise."""
    body = {"texts": ["a", "b"], "input_type": "search_document", "embedding_types": ["float"]}
    assert encoded(request("a", "b"), COHERE) == (body, [])
    asked = request("a", dimensions=512, input_type=EmbedInputType.CLUSTERING)
    assert encoded(asked, COHERE)[0] == {
        "texts": ["a"],
        "input_type": "clustering",
        "embedding_types": ["float"],
        "output_dimension": 512,
    }
    assert BedrockEmbeddings().max_inputs(COHERE) == 96


VECTORS: dict[str, tuple[EmbedRequest, object, dict[str, str], list[list[float]], int | None]] = {
    "Titan 2": (
        request("a"),
        {"embedding": [0.5, -1], "embeddingsByType": {"float": [0.5, -1]}, "inputTextTokenCount": 3},
        {},
        [[0.5, -1.0]],
        3,
    ),
    "Titan 2 by type": (request("a"), {"embeddingsByType": {"float": [0.5]}}, TOKENS, [[0.5]], 9),
    "Titan 1": (request("a"), {"embedding": [2], "inputTextTokenCount": 1}, {}, [[2.0]], 1),
    "Cohere, by type": (
        request("a", "b"),
        {"embeddings": {"float": [[1, 2], [3, 4]]}, "id": "x", "response_type": "embeddings_by_type"},
        TOKENS,
        [[1.0, 2.0], [3.0, 4.0]],
        9,
    ),
    "Cohere 3": (request("a"), {"embeddings": [[1.5]], "response_type": "embeddings_floats"}, {}, [[1.5]], None),
}  # fmt: skip


@pytest.mark.parametrize("case", VECTORS)
def test_vectors(case: str) -> None:
    """Each form of an answer is vectors in the inputs' order, with the count that was told."""
    asked, body, headers, vectors, tokens = VECTORS[case]
    usage = None if tokens is None else Usage(input_tokens=tokens, output_tokens=0, source=UsageSource.PROVIDER)
    assert decoded(asked, body, headers) == EmbedAnswer(tuple(array("f", vector) for vector in vectors), usage)


@pytest.mark.parametrize(
    "body",
    [b"", b"[1]", {}, {"embedding": []}, {"embedding": ["x"]}, {"embedding": [1e300]}, {"embeddings": {"int8": [[1]]}},
     {"embeddings": [[1], [2]]}, {"embeddings": []}, {"message": "no"}, b"[" * 100_000],
)  # fmt: skip
def test_bodies_that_hold_no_vectors(body: object) -> None:
    """Anything but one vector of finite numbers for each input is a protocol failure."""
    with pytest.raises(AttemptError) as raised:
        decoded(request("a"), body)
    assert raised.value.failure.failure_class is FailureClass.PROTOCOL


@pytest.mark.parametrize(("count", "tokens"), [("9", 9), ("-1", None), ("x", None), ("9" * 40, None), ("²", None)])
def test_a_count_in_a_header_is_one_or_nothing(count: str, tokens: int | None) -> None:
    """What is no number is unknown."""
    usage = decoded(request("a"), {"embeddings": [[1]]}, {"x-amzn-bedrock-input-token-count": count}).usage
    assert (None if usage is None else usage.input_tokens) == tokens


def test_inputs_are_not_options() -> None:
    """No permission lets a caller send other texts, or ask for vectors that cannot be read."""
    check = BedrockEmbeddings().check_options
    asked = {"texts": [], "embedding_types": [], "dimensions": 1, "normalize": True}
    assert [finding.path for finding in check(asked, frozenset())] == ["texts", "embedding_types", "dimensions"]
    assert [finding.path for finding in check(asked, frozenset(asked))] == ["texts", "embedding_types"]
