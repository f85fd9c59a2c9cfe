"""Embeddings: texts as each of Google's calls wants them, and vectors or classified failures back."""

from __future__ import annotations

import json
from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_server.chat.answer import Usage, UsageSource
from trunkline_server.chat.embedding import EmbedInputType, EmbedRequest
from trunkline_server.providers.base import AdapterTerms, AttemptError
from trunkline_server.providers.gemini import GeminiEmbeddings
from trunkline_server.routing.failures import FailureClass

API = GeminiEmbeddings(AdapterTerms("google", "https://generativelanguage.googleapis.com/v1beta"))
VERTEX = GeminiEmbeddings(AdapterTerms("google", "https://x.example/v1/projects/p/locations/l/publishers/google"))
TWO = EmbedRequest("default", ("a", "b"), "r-1")
GEMINI, OLDER = "gemini-embedding-001", "text-embedding-005"


def sent(embeddings: GeminiEmbeddings, request: EmbedRequest, model: str) -> tuple[str, Any]:
    call = embeddings.encode_embed(request, "google", model)
    assert call.warnings == ()
    return call.path, json.loads(call.body)


def text(words: str) -> dict[str, Any]:
    return {"parts": [{"text": words}]}


def test_a_batch_of_the_gemini_api() -> None:
    """Each text is a request with all its settings, the model's name among them."""
    request = EmbedRequest("default", ("a", "b"), "r-1", 8, EmbedInputType.QUERY)
    beside = {"model": f"models/{GEMINI}", "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 8}
    assert sent(API, request, GEMINI) == (
        f"/models/{GEMINI}:batchEmbedContents",
        {"requests": [{"content": text("a"), **beside}, {"content": text("b"), **beside}]},
    )
    assert sent(API, TWO, OLDER)[1]["requests"][0] == {"content": text("a"), "model": f"models/{OLDER}"}


def test_a_batch_of_vertex_ai() -> None:
    """The settings stand in an object of their own."""
    request = EmbedRequest("default", ("a",), "r-1", 8, EmbedInputType.DOCUMENT)
    config = {"taskType": "RETRIEVAL_DOCUMENT", "outputDimensionality": 8}
    assert sent(VERTEX, request, GEMINI) == (
        f"/models/{GEMINI}:batchEmbedContents",
        {"requests": [{"content": text("a"), "embedContentConfig": config}]},
    )
    assert sent(VERTEX, TWO, GEMINI)[1] == {"requests": [{"content": text("a")}, {"content": text("b")}]}


def test_a_prediction_of_vertex_ai() -> None:
    """What is said of a text stands beside it, the rest in the parameters."""
    request = EmbedRequest(
        "default",
        ("a", "b"),
        "r-1",
        8,
        EmbedInputType.CLUSTERING,
        provider_options={"google": {"auto_truncate": False, "title": "t"}},
    )
    assert sent(VERTEX, request, OLDER) == (
        f"/models/{OLDER}:predict",
        {
            "instances": [
                {"content": "a", "task_type": "CLUSTERING", "title": "t"},
                {"content": "b", "task_type": "CLUSTERING", "title": "t"},
            ],
            "parameters": {"outputDimensionality": 8, "autoTruncate": False},
        },
    )
    assert sent(VERTEX, TWO, OLDER)[1] == {"instances": [{"content": "a"}, {"content": "b"}]}


def test_a_model_without_tasks_is_told_none() -> None:
    """And the caller is."""
    request = EmbedRequest("default", ("a",), "r-1", input_type=EmbedInputType.QUERY)
    call = API.encode_embed(request, "google", "gemini-embedding-2")
    assert "taskType" not in call.body.decode()
    assert [(warning.code, warning.field) for warning in call.warnings] == [("UNSUPPORTED_FIELD", "input_type")]


def test_how_many_inputs_a_call_takes() -> None:
    """A prediction takes more than a batch."""
    assert API.max_inputs(OLDER) == API.max_inputs(GEMINI) == VERTEX.max_inputs(GEMINI) == 100
    assert VERTEX.max_inputs(OLDER) == 250


def test_options() -> None:
    """What has a field of its own needs permission, in either spelling; what is ours is never passed."""

    def refused(options: dict[str, object], *allowed: str) -> list[str]:
        return [finding.path for finding in API.check_options(options, frozenset(allowed))]

    assert refused({"taskType": "X", "output_dimensionality": 1, "title": "t"}) == ["taskType", "output_dimensionality"]
    assert refused({"task_type": "X"}, "taskType") == []
    assert refused({"model": "m", "requests": [], "instances": []}, "model") == ["model", "requests", "instances"]


def decoded(body: object, request: EmbedRequest = TWO) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return API.decode_embed(request, 200, {}, raw)


A, B = [0.6, 0.8], [1.0, 0.0]


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"embeddings": [{"values": A}, {"values": B}]}, None),
        ({"embeddings": [{"values": A}, {"values": B}], "usageMetadata": {"promptTokenCount": 5}}, 5),
        (
            {
                "predictions": [
                    {"embeddings": {"values": A, "statistics": {"token_count": 2, "truncated": False}}},
                    {"embeddings": {"values": B, "statistics": {"token_count": 3.0, "truncated": False}}},
                ],
                "metadata": {"billableCharacterCount": 2},
            },
            5,
        ),
        ({"predictions": [{"embeddings": {"values": A, "statistics": {"token_count": 2}}},
                          {"embeddings": {"values": B}}]}, None),
    ],
    ids=["batch", "counted batch", "prediction", "half counted"],
)  # fmt: skip
def test_answers(body: dict[str, Any], tokens: int | None) -> None:
    """Of any of the calls, counted where the provider did (google-genai 3.4.0, `EmbedContentResponse`)."""
    answer = decoded(body)
    assert answer.vectors == (array("f", A), array("f", B))
    assert answer.usage == (None if tokens is None else Usage(tokens, 0, source=UsageSource.PROVIDER))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, FailureClass.PROTOCOL),
        ({"embeddings": [{"values": A}]}, FailureClass.PROTOCOL),
        ({"embeddings": [{"values": A}, {"values": [1.0]}]}, FailureClass.PROTOCOL),
        ({"embeddings": [{"values": []}, {"values": []}]}, FailureClass.PROTOCOL),
        ({"embeddings": [{"values": A}, {"values": [1e300, 0]}]}, FailureClass.PROTOCOL),
        ({"embeddings": [{"values": A}, {"values": ["x", 0]}]}, FailureClass.PROTOCOL),
        ({"embeddings": [{}, {}]}, FailureClass.PROTOCOL),
        (b"<html>", FailureClass.PROTOCOL),
        (b"\xff", FailureClass.PROTOCOL),
        ({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "no"}}, FailureClass.RATE_LIMITED),
    ],
)
def test_what_is_no_answer(body: object, expected: FailureClass) -> None:
    """Each has its class."""
    with pytest.raises(AttemptError) as caught:
        decoded(body)
    assert caught.value.failure.failure_class is expected


def test_a_length_that_was_not_asked_for_is_told() -> None:
    """A model that cannot make it is not to be believed."""
    with pytest.raises(AttemptError) as caught:
        decoded({"embeddings": [{"values": A}]}, EmbedRequest("default", ("a",), "r", 3))
    assert caught.value.failure.failure_class is FailureClass.CALLER_INVALID


NAMES = st.sampled_from(["embeddings", "predictions", "values", "statistics", "error"])
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner),
)


@given(ANY_JSON)
def test_any_json_is_an_answer_or_a_failure(body: object) -> None:
    """Nothing else is raised."""
    try:
        answer = decoded(json.dumps(body).encode())
    except AttemptError:
        return
    assert len(answer.vectors) == 2
