"""Embeddings: the request as OpenAI checks it, and its answer, as numbers or as base64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from trunkline_server.simulator.ask import Ask, Turn
from trunkline_server.simulator.dialect import EVENT_STREAM_TYPE
from trunkline_server.simulator.openai.checks import RequestRefusedError
from trunkline_server.simulator.openai.request import decode_body
from trunkline_server.simulator.vectors import as_base64, vector

if TYPE_CHECKING:
    from trunkline_server.simulator.answer import Answer
    from trunkline_server.simulator.dialect import Events, Mark
    from trunkline_server.simulator.scenario import Scenario

MAX_INPUTS = 2048
MAX_INPUT_TOKENS = 8192
CHARACTERS_A_TOKEN = 4
DIMENSIONS = {"text-embedding-3-large": 3072}
"""How long a model makes its vectors; others make USUAL_DIMENSIONS."""
USUAL_DIMENSIONS = 1536
OLD_MODEL = "text-embedding-ada-002"
"""The one whose vectors have one length only."""


class EmbeddingRequest(msgspec.Struct, kw_only=True):
    """A request: every field that OpenAI knows. Tokens in place of texts are not simulated."""

    model: str
    input: str | list[str]
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] = "float"
    user: str | None = None


class _StrictEmbeddingRequest(EmbeddingRequest, kw_only=True, forbid_unknown_fields=True):
    """The same; unknown fields are refused."""


_LENIENT = msgspec.json.Decoder(EmbeddingRequest)
_STRICT: msgspec.json.Decoder[EmbeddingRequest] = msgspec.json.Decoder(_StrictEmbeddingRequest)


class EmbeddingJob:
    """One request to `/v1/embeddings`."""

    stream_type = EVENT_STREAM_TYPE

    def __init__(self, request: EmbeddingRequest, texts: list[str]) -> None:
        self._request = request
        self._texts = texts
        self.ask = Ask(model=request.model, turns=[Turn("user", text) for text in texts], silent=True)

    def body(self, answer: Answer, mark: Mark) -> bytes:
        """See Job."""
        del mark
        request = self._request
        length = request.dimensions or _longest(request.model)
        vectors = [] if answer.no_choices else [vector(request.model, text, length) for text in self._texts]
        encoded = [as_base64(numbers) if request.encoding_format == "base64" else list(numbers) for numbers in vectors]
        data = [{"object": "embedding", "index": at, "embedding": each} for at, each in enumerate(encoded)]
        used = {"prompt_tokens": answer.prompt_tokens, "total_tokens": answer.prompt_tokens}
        return msgspec.json.encode({"object": "list", "data": data, "model": request.model, "usage": used})

    def events(self, answer: Answer, mark: Mark) -> Events:
        """See Job: only asked for if `ask.stream`, which it never is."""
        del answer, mark
        raise RuntimeError("embeddings have no stream")


def read_embedding(body: bytes, scenario: Scenario) -> EmbeddingJob:
    """Read and check a request. Raises RefusedError."""
    request = decode_body(_STRICT if scenario.strict_parameters else _LENIENT, body)
    texts = [request.input] if isinstance(request.input, str) else request.input
    _check_texts(texts)
    _check_dimensions(request)
    return EmbeddingJob(request, texts)


def _check_texts(texts: list[str]) -> None:
    if not texts or not all(texts):
        raise RequestRefusedError(
            "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference."
        )
    if len(texts) > MAX_INPUTS:
        raise RequestRefusedError(
            f"Invalid 'input': array too long. Expected an array with maximum length {MAX_INPUTS}, but got an array "
            f"with length {len(texts)} instead.",
            param="input",
            code="array_above_max_length",
        )
    if any(len(text) > CHARACTERS_A_TOKEN * MAX_INPUT_TOKENS for text in texts):
        raise RequestRefusedError(f"Invalid 'input': maximum context length is {MAX_INPUT_TOKENS} tokens.")


def _check_dimensions(request: EmbeddingRequest) -> None:
    dimensions, most = request.dimensions, _longest(request.model)
    if dimensions is None:
        return
    if request.model == OLD_MODEL:
        raise RequestRefusedError("This model does not support specifying dimensions.")
    if not 1 <= dimensions <= most:
        bound = f"less than or equal to {most}" if dimensions > most else "at least 1"
        raise RequestRefusedError(f"Invalid value for 'dimensions' = {dimensions}. Must be {bound}.")


def _longest(model: str) -> int:
    return DIMENSIONS.get(model, USUAL_DIMENSIONS)
