"""Embeddings: a batch of the Gemini API or of Vertex AI, and Vertex AI's predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from trunkline_server.simulator.ask import Ask, Turn
from trunkline_server.simulator.dialect import EVENT_STREAM_TYPE
from trunkline_server.simulator.gemini.errors import invalid
from trunkline_server.simulator.gemini.request import Content, decoded
from trunkline_server.simulator.vectors import vector

if TYPE_CHECKING:
    from trunkline_server.simulator.answer import Answer
    from trunkline_server.simulator.dialect import Events, Mark

MAX_BATCH = 100
MAX_PREDICTED = 250
USUAL_DIMENSIONS = {"gemini-embedding-001": 3072, "gemini-embedding-2": 3072}
"""How long a model makes its vectors; others make OTHER_DIMENSIONS."""
OTHER_DIMENSIONS = 768
_TASKS = (
    "RETRIEVAL_QUERY",
    "RETRIEVAL_DOCUMENT",
    "SEMANTIC_SIMILARITY",
    "CLASSIFICATION",
    "CLUSTERING",
    "QUESTION_ANSWERING",
    "FACT_VERIFICATION",
    "CODE_RETRIEVAL_QUERY",
)


class _Settings(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Of one text, as Vertex AI has them."""

    task_type: str | None = None
    title: str | None = None
    output_dimensionality: int | None = None
    auto_truncate: bool | None = None


class _EmbedRequest(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """One text of a batch."""

    content: Content
    model: str | None = None
    task_type: str | None = None
    title: str | None = None
    output_dimensionality: int | None = None
    embed_content_config: _Settings | None = None


class _Batch(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    requests: list[_EmbedRequest] = []


class _Instance(msgspec.Struct, forbid_unknown_fields=True):
    content: str
    task_type: str | None = None
    title: str | None = None


class _Parameters(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    output_dimensionality: int | None = None
    auto_truncate: bool | None = None


class _Prediction(msgspec.Struct, forbid_unknown_fields=True):
    instances: list[_Instance] = []
    parameters: _Parameters = msgspec.field(default_factory=_Parameters)


class EmbeddingJob:
    """One request for vectors. `form` is the method that was called."""

    stream_type = EVENT_STREAM_TYPE

    def __init__(self, model: str, texts: list[str], dimensions: int | None, form: str) -> None:
        self._model = model
        self._texts = texts
        self._length = dimensions or USUAL_DIMENSIONS.get(model, OTHER_DIMENSIONS)
        self._form = form
        self.ask = Ask(model=model, turns=[Turn("user", text) for text in texts], silent=True)

    def body(self, answer: Answer, mark: Mark) -> bytes:
        """See Job."""
        del mark
        texts = [] if answer.no_choices else self._texts
        values = [{"values": list(vector(self._model, text, self._length))} for text in texts]
        return msgspec.json.encode(self._answer(values, answer.prompt_tokens))

    def _answer(self, values: list[dict[str, Any]], tokens: int) -> dict[str, Any]:
        if self._form == "predict":
            # Each text has a count of its own; together they are the prompt's.
            counts = [tokens - (len(values) - 1) if not at else 1 for at in range(len(values))]
            told = [
                {"embeddings": {**each, "statistics": {"truncated": False, "token_count": count}}}
                for each, count in zip(values, counts, strict=True)
            ]
            return {"predictions": told, "metadata": {"billableCharacterCount": sum(map(len, self._texts))}}
        counted = {"usageMetadata": {"promptTokenCount": tokens, "totalTokenCount": tokens}}
        if self._form == "embedContent":
            return {"embedding": values[0] if values else {}, **counted}
        return {"embeddings": values, **counted}

    def events(self, answer: Answer, mark: Mark) -> Events:
        """See Job: only asked for if `ask.stream`, which it never is."""
        del answer, mark
        raise RuntimeError("embeddings have no stream")


def read_embedding(body: bytes, model: str, form: str, *, on_vertex: bool) -> EmbeddingJob:
    """Read and check a request. Raises RefusedError."""
    if form == "predict":
        prediction = decoded(_Prediction, body, spellings=False)
        for instance in prediction.instances:
            _check_task(instance.task_type)
        texts = [instance.content for instance in prediction.instances]
        _check_count(texts, MAX_PREDICTED, "PredictRequest.instances")
        return EmbeddingJob(model, texts, prediction.parameters.output_dimensionality, form)
    requests = [decoded(_EmbedRequest, body)] if form == "embedContent" else decoded(_Batch, body).requests
    texts = [request.content.text() for request in requests]
    _check_count(texts, MAX_BATCH, "BatchEmbedContentsRequest.requests")
    lengths = {_length_of(request, model, on_vertex=on_vertex) for request in requests}
    return EmbeddingJob(model, texts, lengths.pop(), form)


def _length_of(request: _EmbedRequest, model: str, *, on_vertex: bool) -> int | None:
    settings = request.embed_content_config
    if on_vertex:
        if request.task_type is not None or request.output_dimensionality is not None:
            raise invalid('Invalid JSON payload received. Unknown name "taskType": Cannot find field.')
        settings = settings or _Settings()
        _check_task(settings.task_type)
        return settings.output_dimensionality
    if settings is not None:
        raise invalid('Invalid JSON payload received. Unknown name "embedContentConfig": Cannot find field.')
    if request.model not in {None, f"models/{model}"}:
        raise invalid("* BatchEmbedContentsRequest.requests[0].model: must match the model in the URL\n")
    _check_task(request.task_type)
    return request.output_dimensionality


def _check_task(task: str | None) -> None:
    if task is not None and task not in _TASKS:
        raise invalid(f"Invalid value at 'task_type' (TYPE_ENUM), \"{task}\"")


def _check_count(texts: list[str], most: int, what: str) -> None:
    if not texts or not all(texts):
        raise invalid(f"* {what}: content is empty\n")
    if len(texts) > most:
        raise invalid(f"* {what}: at most {most} requests can be in one batch\n")
