"""Bedrock's API: its paths, its keys (signed requests or API keys), its headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import unquote

from trunkline_server.simulator.bedrock.embeddings import read_embedding
from trunkline_server.simulator.bedrock.errors import BY_STATUS, ERRORS, body_of, error_answer, kind_of, reply
from trunkline_server.simulator.bedrock.job import read_converse
from trunkline_server.simulator.bedrock.sigv4 import SignatureProblemError, access_key_of
from trunkline_server.simulator.dialect import Dialect
from trunkline_server.simulator.failure import RefusedError, Reply, Trouble

if TYPE_CHECKING:
    from trunkline_server.simulator.dialect import Headers, Job, Received
    from trunkline_server.simulator.failure import ErrorKind
    from trunkline_server.simulator.scenario import Scenario

MODEL_PATH = "/model/"
SIGNED = "AWS4-HMAC-SHA256"


class BedrockDialect(Dialect):
    """Bedrock's runtime API."""

    name: ClassVar[str] = "bedrock"
    base_path: ClassVar[str] = ""
    errors: ClassVar[Mapping[str, ErrorKind]] = ERRORS
    by_status: ClassVar[Mapping[int, str]] = BY_STATUS

    def claims(self, request: Received) -> bool:
        """See Dialect: by its path, and any path by a signature."""
        return request.path.startswith(MODEL_PATH) or request.headers.get("authorization", "").startswith(SIGNED)

    def key(self, request: Received) -> str:
        """See Dialect: the id of the access key that signed, or an API key. A wrong signature is refused here."""
        header = request.headers.get("authorization", "")
        if header.startswith(SIGNED):
            try:
                return access_key_of(request)
            except SignatureProblemError as problem:
                raise RefusedError(reply(403, problem.name, str(problem))) from problem
        kind, _, token = header.partition(" ")
        if kind.lower() != "bearer" or not token:
            raise RefusedError(self.reply(Trouble(name="missing_api_key")))
        return token

    def read(self, request: Received, scenario: Scenario) -> Job | Reply:
        """See Dialect."""
        encoded, _, operation = request.raw_path.partition("?")[0].removeprefix(MODEL_PATH).rpartition("/")
        model = unquote(encoded)
        if not request.path.startswith(MODEL_PATH) or "/" in encoded or not model:
            return reply(404, "UnknownOperationException", "The requested operation is not recognized by the service.")
        if request.method != "POST":
            return reply(405, "MethodNotAllowedException", "Method not allowed.")
        if operation in {"converse", "converse-stream"}:
            return read_converse(request.body, scenario, model, stream=operation == "converse-stream")
        if operation == "invoke":
            return read_embedding(request.body, model)
        return reply(404, "UnknownOperationException", "The requested operation is not recognized by the service.")

    def reply(self, trouble: Trouble) -> Reply:
        """See Dialect."""
        return error_answer(trouble, self.named(trouble))

    def error_body(self, trouble: Trouble) -> bytes:
        """See Dialect: with the name in the body, since a 200 has no header for it."""
        return body_of(kind_of(trouble, self.named(trouble)), named=True)

    def headers(self, number: int) -> Headers:
        """See Dialect."""
        return [("x-amzn-requestid", f"00000000-0000-4000-8000-{number:012x}")]
