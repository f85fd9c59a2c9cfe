"""Google's API: its paths on either service, its keys and its access tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from trunkline_server.simulator.dialect import Dialect
from trunkline_server.simulator.failure import RefusedError, Reply, Trouble
from trunkline_server.simulator.gemini.embeddings import read_embedding
from trunkline_server.simulator.gemini.errors import BY_STATUS, ERRORS, error_answer, error_object
from trunkline_server.simulator.gemini.job import read_generate
from trunkline_server.simulator.google_oauth.tokens import key_of_token

if TYPE_CHECKING:
    from trunkline_server.simulator.dialect import Headers, Job, Received
    from trunkline_server.simulator.failure import ErrorKind
    from trunkline_server.simulator.scenario import Scenario

KEY_HEADER = "x-goog-api-key"
DEFAULT_MODELS = ("gemini-3-flash", "gemini-3-pro")
"""Told by `GET /v1beta/models` when the scenario knows no models of its own."""

_METHOD = re.compile(
    r"^/v1(?:beta1?)?/(?P<place>projects/[^/]+/locations/[^/]+/)?(?:publishers/google/)?"
    r"(?:models|tunedModels|endpoints)/(?P<model>[^/:]+):(?P<method>[a-zA-Z]+)$"
)
_MODELS = re.compile(r"^/v1(?:beta)?/models(?:/(?P<model>[^/:]+))?$")
_EMBEDDINGS = frozenset({"batchEmbedContents", "embedContent", "predict"})


class GeminiDialect(Dialect):
    """generateContent and embeddings, on the Gemini API (`base_path`) and on Vertex AI."""

    name: ClassVar[str] = "gemini"
    base_path: ClassVar[str] = "/v1beta"
    errors: ClassVar[Mapping[str, ErrorKind]] = ERRORS
    by_status: ClassVar[Mapping[int, str]] = BY_STATUS

    def claims(self, request: Received) -> bool:
        """See Dialect: by the method at the end of its path, or by the header of its keys."""
        return _METHOD.match(request.path) is not None or KEY_HEADER in request.headers

    def key(self, request: Received) -> str:
        """See Dialect: in a header of its own, in the query, or an access token."""
        key = request.headers.get(KEY_HEADER) or request.query.get("key")
        if key:
            return key
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token:
            raise RefusedError(self.reply(Trouble(name="missing_api_key")))
        return key_of_token(token)

    def read(self, request: Received, scenario: Scenario) -> Job | Reply:
        """See Dialect."""
        called = _METHOD.match(request.path)
        if called is None:
            return self._models(request, scenario)
        if request.method != "POST":
            return self.reply(Trouble(status=404))
        model, method, on_vertex = called["model"], called["method"], called["place"] is not None
        if method in _EMBEDDINGS:
            return read_embedding(request.body, model, method, on_vertex=on_vertex)
        if method == "generateContent":
            return read_generate(request.body, model, scenario, stream=False, on_vertex=on_vertex)
        if method == "streamGenerateContent" and request.query.get("alt") == "sse":
            return read_generate(request.body, model, scenario, stream=True, on_vertex=on_vertex)
        return self.reply(Trouble(name="model_not_found", model=model))

    def _models(self, request: Received, scenario: Scenario) -> Reply:
        found = _MODELS.match(request.path)
        if found is None or request.method != "GET":
            return self.reply(Trouble(status=404))
        names = scenario.known_models or DEFAULT_MODELS
        told = [_told(name) for name in names]
        if found["model"] is None:
            return Reply(200, msgspec.json.encode({"models": told}))
        if found["model"] not in names:
            return self.reply(Trouble(name="model_not_found", model=found["model"]))
        return Reply(200, msgspec.json.encode(_told(found["model"])))

    def reply(self, trouble: Trouble) -> Reply:
        """See Dialect."""
        return error_answer(trouble, self.named(trouble))

    def error_body(self, trouble: Trouble) -> bytes:
        """See Dialect."""
        return msgspec.json.encode(error_object(trouble, self.named(trouble)))

    def retry_headers(self, retry_s: float) -> Headers:
        """See Dialect: none, since the body says it."""
        del retry_s
        return []


def _told(name: str) -> dict[str, Any]:
    methods = ["generateContent", "countTokens", "batchEmbedContents"]
    return {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods}
