"""Azure OpenAI's paths, versions, keys and headers around OpenAI's jobs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from trunkline_server.simulator.azure_openai.errors import BY_STATUS, ERRORS, error_answer, error_body
from trunkline_server.simulator.azure_openai.job import AzureChatJob
from trunkline_server.simulator.azure_openai.versions import RESPONSES_SINCE, is_known, unknown_field
from trunkline_server.simulator.dialect import Dialect
from trunkline_server.simulator.failure import RefusedError, Reply, Trouble
from trunkline_server.simulator.openai.chat import read_chat
from trunkline_server.simulator.openai.checks import RequestRefusedError
from trunkline_server.simulator.openai.embeddings import read_embedding
from trunkline_server.simulator.openai_responses.job import read_response

if TYPE_CHECKING:
    from trunkline_server.simulator.capacity import Reading
    from trunkline_server.simulator.dialect import Headers, Job, Received
    from trunkline_server.simulator.failure import ErrorKind
    from trunkline_server.simulator.scenario import Scenario

_START = "/openai/"
_DEPLOYMENT = re.compile(r"/openai/deployments/([^/]+)(/chat/completions|/embeddings)")
_V1 = {
    "/openai/v1/chat/completions": "/chat/completions",
    "/openai/v1/embeddings": "/embeddings",
    "/openai/v1/responses": "/responses",
}
_RESPONSES = "/openai/responses"


class AzureDialect(Dialect):
    """A resource of Azure OpenAI in which every model has a deployment that is named like it."""

    name: ClassVar[str] = "azure_openai"
    base_path: ClassVar[str] = ""
    errors: ClassVar[Mapping[str, ErrorKind]] = ERRORS
    by_status: ClassVar[Mapping[int, str]] = BY_STATUS

    def claims(self, request: Received) -> bool:
        """See Dialect: by its path."""
        return request.path.startswith(_START)

    def key(self, request: Received) -> str:
        """See Dialect: an API key, or the token of an identity."""
        key = request.headers.get("api-key")
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        found = key or (token if kind.lower() == "bearer" else "")
        if not found:
            raise _refused("missing_api_key")
        return found

    def read(self, request: Received, scenario: Scenario) -> Job | Reply:
        """See Dialect."""
        if request.method != "POST":
            raise _refused("resource_not_found")
        if (operation := _V1.get(request.path)) is not None:
            return _job(operation, request.body, scenario)
        found = _DEPLOYMENT.fullmatch(request.path)
        version = request.query.get("api-version", "")
        if (found is None and request.path != _RESPONSES) or not version:
            raise _refused("resource_not_found")
        if not is_known(version):
            raise _refused("api_version_not_supported")
        if found is None:
            if version < RESPONSES_SINCE:
                raise _refused("responses_api_version")
            return _job("/responses", request.body, scenario)
        deployment, operation = found.groups()
        return _job(operation, _deployed(request.body, deployment, operation, version), scenario)

    def reply(self, trouble: Trouble) -> Reply:
        """See Dialect."""
        return error_answer(trouble, self.named(trouble))

    def error_body(self, trouble: Trouble) -> bytes:
        """See Dialect."""
        return error_body(trouble)

    def headers(self, number: int) -> Headers:
        """See Dialect."""
        return [
            ("apim-request-id", f"00000000-0000-4000-8000-{number:012x}"),
            ("x-request-id", f"11111111-0000-4000-8000-{number:012x}"),
            ("x-ms-region", "East US"),
            ("azureml-model-session", "d000-sim"),
        ]

    def limit_headers(self, readings: Sequence[Reading]) -> Headers:
        """See Dialect: resets are plain seconds."""
        found: Headers = []
        for reading in readings:
            found += (
                (f"x-ratelimit-limit-{reading.kind}", str(reading.limit)),
                (f"x-ratelimit-remaining-{reading.kind}", str(reading.remaining)),
                (f"x-ratelimit-reset-{reading.kind}", str(math.ceil(reading.reset_s))),
            )
        return found

    def retry_headers(self, retry_s: float) -> Headers:
        """See Dialect."""
        return [("retry-after", str(math.ceil(retry_s))), ("retry-after-ms", str(math.ceil(retry_s * 1000)))]


def _refused(name: str) -> RefusedError:
    return RefusedError(error_answer(Trouble(name=name), name))


def _job(operation: str, body: bytes, scenario: Scenario) -> Job:
    if operation == "/chat/completions":
        return AzureChatJob(read_chat(body, scenario))
    return (read_response if operation == "/responses" else read_embedding)(body, scenario)


def _deployed(body: bytes, deployment: str, operation: str, version: str) -> bytes:
    """Return a body whose model is the deployment in the path; what is no JSON is left to whoever reads it."""
    try:
        decoded: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return body
    if not isinstance(decoded, dict):
        return body
    if operation == "/chat/completions" and (unknown := unknown_field(version, decoded)) is not None:
        raise RequestRefusedError(f"Unrecognized request argument supplied: {unknown}")
    return msgspec.json.encode({**decoded, "model": deployment})
