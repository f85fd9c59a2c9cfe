"""Anthropic's API: its path, its key, its versions and its headers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, ClassVar

import msgspec

from trunkline_server.simulator.anthropic.errors import BY_STATUS, ERRORS, error_answer, error_object, invalid
from trunkline_server.simulator.anthropic.job import read_messages
from trunkline_server.simulator.dialect import Dialect
from trunkline_server.simulator.failure import RefusedError, Reply, Trouble

if TYPE_CHECKING:
    from trunkline_server.simulator.capacity import Reading
    from trunkline_server.simulator.dialect import Headers, Job, Received
    from trunkline_server.simulator.failure import ErrorKind
    from trunkline_server.simulator.scenario import Scenario

MESSAGES_PATH = "/v1/messages"
MODELS_PATH = "/v1/models"
VERSION_HEADER = "anthropic-version"
VERSIONS = ("2023-01-01", "2023-06-01", "2026-10-21")
DEFAULT_MODELS = ("claude-sonnet-4-5", "claude-opus-5-5")
"""Told by `GET /v1/models` when the scenario knows no models of its own."""


class AnthropicDialect(Dialect):
    """The Messages API."""

    name: ClassVar[str] = "anthropic"
    base_path: ClassVar[str] = ""
    errors: ClassVar[Mapping[str, ErrorKind]] = ERRORS
    by_status: ClassVar[Mapping[int, str]] = BY_STATUS

    def claims(self, request: Received) -> bool:
        """See Dialect: by its path, and other paths by the header that every request has."""
        return request.path == MESSAGES_PATH or VERSION_HEADER in request.headers

    def key(self, request: Received) -> str:
        """See Dialect: in a header of its own, or as a bearer token, which the vendor's latest libraries send."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        key = request.headers.get("x-api-key") or (token if kind.lower() == "bearer" else "")
        if not key:
            raise RefusedError(self.reply(Trouble(name="missing_api_key")))
        return key

    def read(self, request: Received, scenario: Scenario) -> Job | Reply:
        """See Dialect."""
        version = request.headers.get(VERSION_HEADER)
        if version is None:
            raise invalid("anthropic-version: header is required")
        if version not in VERSIONS:
            raise invalid(f'anthropic-version: "{version}" is not a valid version.')
        path, method = request.path, request.method
        if path == MESSAGES_PATH and method == "POST":
            betas = request.headers.get("anthropic-beta", "")
            return read_messages(request.body, scenario, version=version, betas=betas)
        if path == MODELS_PATH and method == "GET":
            names = scenario.known_models or DEFAULT_MODELS
            told = [{"type": "model", "id": name, "display_name": name} for name in names]
            return Reply(200, msgspec.json.encode({"data": told, "has_more": False}))
        if path in {MESSAGES_PATH, MODELS_PATH}:
            wording = {"type": "invalid_request_error", "message": "Method Not Allowed"}
            return Reply(405, msgspec.json.encode({"type": "error", "error": wording}))
        wording = {"type": "not_found_error", "message": "Not Found"}
        return Reply(404, msgspec.json.encode({"type": "error", "error": wording}))

    def reply(self, trouble: Trouble) -> Reply:
        """See Dialect."""
        return error_answer(trouble, self.named(trouble))

    def error_body(self, trouble: Trouble) -> bytes:
        """See Dialect."""
        return error_object(trouble, self.named(trouble))

    def headers(self, number: int) -> Headers:
        """See Dialect."""
        return [("request-id", f"req_sim{number:020d}"), ("anthropic-organization-id", "org-sim")]

    def limit_headers(self, readings: Sequence[Reading]) -> Headers:
        """See Dialect: resets are times of day, measured from the `date` beside them."""
        now = datetime.now(UTC)
        found: Headers = [("date", format_datetime(now, usegmt=True))]
        for reading in readings:
            reset = (now + timedelta(seconds=reading.reset_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
            found += (
                (f"anthropic-ratelimit-{reading.kind}-limit", str(reading.limit)),
                (f"anthropic-ratelimit-{reading.kind}-remaining", str(reading.remaining)),
                (f"anthropic-ratelimit-{reading.kind}-reset", reset),
            )
        return found
