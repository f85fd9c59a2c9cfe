"""OpenAI's API: its paths, its key, its headers; each path's request and answer is a job of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import msgspec

from trunkline_server.simulator.capacity import duration
from trunkline_server.simulator.dialect import Dialect
from trunkline_server.simulator.failure import RefusedError, Reply
from trunkline_server.simulator.openai.chat import read_chat
from trunkline_server.simulator.openai.embeddings import read_embedding
from trunkline_server.simulator.openai.errors import BY_STATUS, ERRORS, ErrorBody, error_answer, error_event
from trunkline_server.simulator.openai_responses.job import read_response

if TYPE_CHECKING:
    from trunkline_server.simulator.capacity import Reading
    from trunkline_server.simulator.dialect import Headers, Job, Received
    from trunkline_server.simulator.failure import ErrorKind, Trouble
    from trunkline_server.simulator.scenario import Scenario

MODELS_PATH = "/v1/models"
DEFAULT_MODELS = ("gpt-4o", "gpt-4o-mini")
"""Told by `GET /v1/models` when the scenario knows no models of its own."""

JOBS: Mapping[str, Callable[[bytes, Scenario], Job]] = {
    "/v1/chat/completions": read_chat,
    "/v1/embeddings": read_embedding,
    "/v1/responses": read_response,
}
"""What reads the body of a POST to each path; raises RefusedError."""


class OpenAIDialect(Dialect):
    """OpenAI's own API, and whatever path nobody else claims."""

    name: ClassVar[str] = "openai"
    base_path: ClassVar[str] = "/v1"
    errors: ClassVar[Mapping[str, ErrorKind]] = ERRORS
    by_status: ClassVar[Mapping[int, str]] = BY_STATUS

    def claims(self, request: Received) -> bool:
        """See Dialect."""
        del request
        return True

    def key(self, request: Received) -> str:
        """See Dialect."""
        kind, _, key = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not key:
            raise RefusedError(_named("missing_api_key", ""))
        return key

    def read(self, request: Received, scenario: Scenario) -> Job | Reply:
        """See Dialect."""
        path, method = request.path, request.method
        if path in JOBS and method == "POST":
            return JOBS[path](request.body, scenario)
        models = scenario.known_models or DEFAULT_MODELS
        told = [{"id": model, "object": "model", "created": 1_700_000_000, "owned_by": "simulator"} for model in models]
        if path in JOBS or (path.startswith(MODELS_PATH) and method != "GET"):
            message = f"Not allowed to {method} on {path}. (HINT: Perhaps you meant to use a different HTTP method?)"
            return Reply(405, ErrorBody(message, code="method_not_supported").encoded())
        if path == MODELS_PATH:
            return Reply(200, msgspec.json.encode({"object": "list", "data": told}))
        if path.startswith(f"{MODELS_PATH}/"):
            name = path.removeprefix(f"{MODELS_PATH}/")
            found = next((model for model in told if model["id"] == name), None)
            return Reply(200, msgspec.json.encode(found)) if found else _named("model_not_found", name)
        return Reply(404, ErrorBody(f"Invalid URL ({method} {path})").encoded())

    def reply(self, trouble: Trouble) -> Reply:
        """See Dialect."""
        return error_answer(trouble, self.named(trouble))

    def error_body(self, trouble: Trouble) -> bytes:
        """See Dialect."""
        return error_event(trouble)

    def headers(self, number: int) -> Headers:
        """See Dialect."""
        return [
            ("x-request-id", f"req_sim_{number:016x}"),
            ("openai-version", "2020-10-01"),
            ("openai-organization", "org-sim"),
        ]

    def limit_headers(self, readings: Sequence[Reading]) -> Headers:
        """See Dialect."""
        found: Headers = []
        for reading in readings:
            found += (
                (f"x-ratelimit-limit-{reading.kind}", str(reading.limit)),
                (f"x-ratelimit-remaining-{reading.kind}", str(reading.remaining)),
                (f"x-ratelimit-reset-{reading.kind}", duration(reading.reset_s)),
            )
        return found

    def retry_headers(self, retry_s: float) -> Headers:
        """See Dialect."""
        return [("retry-after", str(math.ceil(retry_s))), ("retry-after-ms", str(math.ceil(retry_s * 1000)))]


def _named(error: str, model: str) -> Reply:
    return Reply(ERRORS[error].status, *ERRORS[error].encoded(model))
