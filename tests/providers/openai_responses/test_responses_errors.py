"""Errors of the Responses API: each row that chat completions do not have, with a golden body."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.openai.classify import parse_error
from trunkline_server.providers.openai_responses import ResponsesAdapter, ResponsesStreamDecoder
from trunkline_server.providers.openai_responses.errors import CODES, TABLE, TEXTS
from trunkline_server.routing.failures import Failure, FailureClass

C = FailureClass


def error(message: str = "", **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None, **fields}}


def classify(status: int, body: object) -> Failure:
    return ResponsesAdapter().classify(status, {}, json.dumps(body).encode())


CODES_SOURCE = "package openai 2.54.0, types/responses/response_error.py (the API's own schema), 2026-11-23"
FAILED: dict[str, FailureClass] = {
    "server_error": C.SERVER_ERROR,
    "rate_limit_exceeded": C.RATE_LIMITED,
    "invalid_prompt": C.CONTENT_FILTERED,
    "data_residency_mismatch": C.MODEL_UNAVAILABLE,
    "bio_policy": C.CONTENT_FILTERED,
    "vector_store_timeout": C.SERVER_ERROR,
    "invalid_image": C.CALLER_INVALID,
    "invalid_image_format": C.CALLER_INVALID,
    "invalid_base64_image": C.CALLER_INVALID,
    "invalid_image_url": C.CALLER_INVALID,
    "image_too_large": C.CALLER_INVALID,
    "image_too_small": C.CALLER_INVALID,
    "image_parse_error": C.CALLER_INVALID,
    "image_content_policy_violation": C.CONTENT_FILTERED,
    "invalid_image_mode": C.CALLER_INVALID,
    "image_file_too_large": C.CALLER_INVALID,
    "unsupported_image_media_type": C.CALLER_INVALID,
    "empty_image_file": C.CALLER_INVALID,
    "failed_to_download_image": C.CALLER_INVALID,
    "image_file_not_found": C.CALLER_INVALID,
}


@pytest.mark.parametrize("code", FAILED)
def test_each_code_of_a_failed_response_has_its_class(code: str) -> None:
    """In a stream, where it comes without a status, as in an answer."""
    stream = ResponsesStreamDecoder()
    response = {"id": "resp_1", "status": "failed", "error": {"code": code, "message": "no"}, "output": []}
    event = {"type": "response.failed", "sequence_number": 3, "response": response}
    with pytest.raises(AttemptError) as caught:
        stream.feed(f"event: response.failed\ndata: {json.dumps(event)}\n\n".encode())
    assert caught.value.failure.failure_class is FAILED[code]
    with pytest.raises(AttemptError) as caught:
        ResponsesAdapter().decode_answer(200, {}, json.dumps(response).encode())
    assert caught.value.failure.failure_class is FAILED[code]
    assert caught.value.failure.upstream_code == code


def test_the_vendor_s_schema_has_no_other_codes() -> None:
    """The list is that of the official package."""
    responses = pytest.importorskip("openai.types.responses.response_error")
    assert set(responses.ResponseError.model_fields["code"].annotation.__args__) == set(FAILED)


ITEM_SOURCE = "https://github.com/Wei-Shaw/sub2api/issues/3138, 2026-06-08"
SEAL_SOURCE = "https://github.com/openai/openai-agents-python/issues/2063, 2025-11-10"
SEAL_OF_ITEM_SOURCE = "https://github.com/anomalyco/opencode/issues/5104, 2025-12-05"
CHAT_ONLY_SOURCE = "https://github.com/alvinunreal/tmuxai/issues/82, 2025-10-12"
VERIFIED_SOURCE = "https://platform.openai.com/docs/guides/reasoning (organization verification), 2026-11-23"

GOLDEN: dict[str, tuple[FailureClass, int, object]] = {
    "a seal of another account, by code": (
        C.MODEL_UNAVAILABLE,
        400,
        error("The encrypted content ... could not be verified.", code="invalid_encrypted_content"),
    ),
    "a seal of another account, by text": (
        C.MODEL_UNAVAILABLE,
        400,
        error("The encrypted content gAAA...wXBV could not be verified."),
    ),
    "a seal of another account, by text with its item": (
        C.MODEL_UNAVAILABLE,
        400,
        error("The encrypted content for item rs_0f26baa4a8bfec6b0169326d7c20a88194 could not be verified."),
    ),
    "an organization that is not verified": (
        C.MODEL_UNAVAILABLE,
        400,
        error(
            "Your organization must be verified to generate reasoning summaries.",
            param="reasoning.summary",
            code="unsupported_value",
        ),
    ),
    "an item that is not stored": (
        C.MODEL_UNAVAILABLE,
        404,
        error("Item with id 'rs_1' not found. Items are not persisted when `store` is set to false."),
    ),
    "a picture that is none": (C.CALLER_INVALID, 400, error("no", code="invalid_base64_image")),
    "rows of chat completions hold too": (C.KEY_EXHAUSTED, 429, error("no", code="insufficient_quota")),
    "an overloaded model is no plain error of the server": (
        C.OVERLOADED,
        503,
        error("That model is currently overloaded with other requests.", type="server_error", code="server_error"),
    ),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_each_error_has_its_class(case: str) -> None:
    """The table decides by code, then by text, then by status."""
    expected, status, body = GOLDEN[case]
    assert classify(status, body).failure_class is expected


def test_every_text_pattern_has_a_golden_body() -> None:
    """No pattern stands in the table without an example that no code and no earlier pattern decides."""
    shown = set()
    for _, status, body in GOLDEN.values():
        found = parse_error(json.dumps(body).encode())
        if any(status in row.statuses and row.codes & found.codes for row in TABLE.codes):
            continue
        rows = (number for number, row in enumerate(TEXTS) if status in row.statuses)
        shown.add(next((number for number in rows if TEXTS[number].pattern.match(found.message)), None))
    assert shown - {None} == set(range(len(TEXTS)))


def test_no_code_is_claimed_by_two_rows_for_one_status() -> None:
    """The order of the rows of codes decides nothing, those of chat completions included."""
    seen: set[tuple[str, int]] = set()
    for row in TABLE.codes:
        for claim in {(code, status) for code in row.codes for status in row.statuses}:
            assert claim not in seen
            seen.add(claim)
    assert set(CODES) < set(TABLE.codes)
