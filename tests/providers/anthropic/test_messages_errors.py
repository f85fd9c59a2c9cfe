"""Errors of the Messages API: each row of the table with a golden body, its source, and what of it is shown."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from trunkline_server.providers.anthropic import AnthropicAdapter
from trunkline_server.providers.anthropic.classify import parse_error
from trunkline_server.providers.anthropic.errors import CODES, STATUS_OF_TYPE, TEXTS
from trunkline_server.providers.base import AttemptError
from trunkline_server.routing.failures import Failure, FailureClass

C = FailureClass

DOCS: Final = "https://platform.claude.com/docs/en/api/errors (2026-11-23)"
LIBRARY: Final = "anthropic 2.12.0, types and _error_classes.py (2026-11-23)"
ISSUES: Final = "https://github.com/anthropics/claude-code/issues/"


def error(kind: str, message: str, code: str | None = None) -> dict[str, Any]:
    """Return a body as the service sends it."""
    details = None if code is None else {"error_code": code}
    return {
        "type": "error",
        "error": {"type": kind, "message": message, "details": details},
        "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy",
    }


def classify(status: int, body: object, headers: dict[str, str] | None = None) -> Failure:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return AnthropicAdapter().classify(status, headers or {}, raw)


BAD, RATE = "invalid_request_error", "rate_limit_error"
GOLDEN: dict[str, tuple[FailureClass, int, object, str]] = {
    # The documented list.
    "400 invalid": (C.CALLER_INVALID, 400, error(BAD, "max_tokens: Field required"), DOCS),
    "401 key": (C.KEY_REJECTED, 401, error("authentication_error", "invalid x-api-key"), DOCS),
    "402 billing": (
        C.KEY_EXHAUSTED,
        402,
        error("billing_error", "There's an issue with your billing or payment information."),
        DOCS,
    ),
    "403 permission": (
        C.KEY_REJECTED,
        403,
        error("permission_error", "Your API key does not have permission to use the specified resource."),
        DOCS,
    ),
    "404 model": (C.MODEL_UNAVAILABLE, 404, error("not_found_error", "model: claude-opus-9"), DOCS),
    "409 conflict": (C.SERVER_ERROR, 409, error("conflict_error", "The request conflicts with another."), DOCS),
    "413 too large": (
        C.CONTEXT_LENGTH,
        413,
        error("request_too_large", "Request exceeds the maximum allowed number of bytes."),
        DOCS,
    ),
    "413 page": (C.CONTEXT_LENGTH, 413, b"<html><title>413 Request Entity Too Large</title></html>", DOCS),
    "429 rate": (
        C.RATE_LIMITED,
        429,
        error(
            RATE,
            "This request would exceed your organization's rate limit of 30,000 input tokens per minute (org: "
            "9d50ef40-6cc8-4ca6-9d35-1dc9cf26235c, model: claude-sonnet-4-6).",
        ),
        f"{ISSUES}55132",
    ),
    "429 account's": (
        C.RATE_LIMITED,
        429,
        error(RATE, "This request would exceed your account's rate limit. Please try again later."),
        f"{ISSUES}55789",
    ),
    "500 internal": (C.SERVER_ERROR, 500, error("api_error", "Internal server error"), DOCS),
    "504 timeout": (C.SERVER_ERROR, 504, error("timeout_error", "The request timed out while processing."), DOCS),
    "529 overloaded": (C.OVERLOADED, 529, error("overloaded_error", "Overloaded"), DOCS),
    # Texts of 400 that mean something else than a bad request.
    "400 prefill": (
        C.CALLER_INVALID,
        400,
        error(BAD, "This model does not support assistant message prefill."),
        DOCS,
    ),
    "400 quotes the caller": (
        C.CALLER_INVALID,
        400,
        error(BAD, "tools.0.custom.name: 'Your credit balance is too low' does not match the pattern"),
        "made up",
    ),
    "400 prompt too long": (
        C.CONTEXT_LENGTH,
        400,
        error(BAD, "prompt is too long: 200251 tokens > 200000 maximum"),
        "https://github.com/boldsoftware/exe.dev/issues/62",
    ),
    "400 input too long": (
        C.CONTEXT_LENGTH,
        400,
        error(BAD, "Input is too long for requested model."),
        "AWS's words, which gateways in front of Bedrock pass on",
    ),
    "400 prompt and answer": (
        C.CONTEXT_LENGTH,
        400,
        error(
            BAD, "input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000, decrease input length"
        ),
        "https://github.com/docker/docker-agent/issues/569",
    ),
    "429 long context": (
        C.CONTEXT_LENGTH,
        429,
        error(RATE, "Extra usage is required for long context requests."),
        f"{ISSUES}44863",
    ),
    "400 filtered": (
        C.CONTENT_FILTERED,
        400,
        error(BAD, "Output blocked by content filtering policy"),
        f"{ISSUES}58367",
    ),
    "400 credit": (
        C.KEY_EXHAUSTED,
        400,
        error(
            BAD,
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or "
            "purchase credits.",
        ),
        f"{ISSUES}66314",
    ),
    "400 spend limit": (
        C.KEY_EXHAUSTED,
        400,
        error(BAD, "You have reached your specified API usage limits. You will regain access on 2026-04-01 at 00:00."),
        f"{ISSUES}38035",
    ),
    "400 workspace's spend limit": (
        C.KEY_EXHAUSTED,
        400,
        error(BAD, "You have reached your specified workspace API usage limits. You will regain access on 2026-04-01."),
        DOCS,
    ),
    "400 disabled": (
        C.KEY_REJECTED,
        400,
        error(BAD, "This organization has been disabled."),
        "https://github.com/CherryHQ/cherry-studio/issues/3340",
    ),
    "403 region": (
        C.MODEL_UNAVAILABLE,
        403,
        {"error": {"type": "forbidden", "message": "Request not allowed"}},
        f"{ISSUES}1613",
    ),
    "403 no access to the model": (
        C.MODEL_UNAVAILABLE,
        403,
        error("permission_error", "You don't have access to the model with the specified model ID."),
        f"{ISSUES}536",
    ),
    # Codes of their own.
    "429 tier's spend": (C.KEY_EXHAUSTED, 429, error(RATE, "Later.", "enforced_spend_limit_reached"), LIBRARY),
    "429 contract's spend": (C.KEY_EXHAUSTED, 429, error(RATE, "Later.", "contract_spend_limit_reached"), LIBRARY),
    "429 ramp": (C.RATE_LIMITED, 429, error(RATE, "Later.", "ramp_limit_exceeded"), LIBRARY),
    "402 linked spend": (
        C.KEY_EXHAUSTED,
        402,
        error("billing_error", "No.", "linked_organization_spend_limit_reached"),
        LIBRARY,
    ),
    "402 linked billing": (
        C.KEY_EXHAUSTED,
        402,
        error("billing_error", "No.", "linked_organization_billing_unavailable"),
        LIBRARY,
    ),
    "400 on hold": (C.KEY_REJECTED, 400, error(BAD, "No.", "organization_on_hold"), LIBRARY),
    "400 key's maker is gone": (C.KEY_REJECTED, 400, error(BAD, "No.", "claude_code_key_creator_not_member"), LIBRARY),
    "400 encryption key disabled": (C.KEY_REJECTED, 400, error(BAD, "No.", "cmek_key_disabled"), LIBRARY),
    "400 encryption key blocked": (C.KEY_REJECTED, 400, error(BAD, "No.", "cmek_key_network_blocked"), LIBRARY),
    "403 sandbox": (C.KEY_REJECTED, 403, error("permission_error", "No.", "sandbox_egress_restricted"), LIBRARY),
    "503 encryption key unreachable": (C.SERVER_ERROR, 503, error("api_error", "No.", "cmek_key_unreachable"), LIBRARY),
    "503 encryption unknown": (C.SERVER_ERROR, 503, error("api_error", "No.", "cmek_context_unavailable"), LIBRARY),
    "529 compaction": (C.OVERLOADED, 529, error("overloaded_error", "No.", "compaction_unavailable"), LIBRARY),
    "400 picture too large": (C.CALLER_INVALID, 400, error(BAD, "No.", "image_dimensions_too_large"), LIBRARY),
    "400 names of tools": (C.CALLER_INVALID, 400, error(BAD, "No.", "tool_name_conflict"), LIBRARY),
    "400 profile": (C.CALLER_INVALID, 400, error(BAD, "No.", "user_profile_required"), LIBRARY),
    "403 profile's billing": (
        C.CALLER_INVALID,
        403,
        error("permission_error", "No.", "user_profile_billing_not_authorized"),
        LIBRARY,
    ),
    "403 profile not billable": (
        C.CALLER_INVALID,
        403,
        error("permission_error", "No.", "user_profile_not_billable"),
        LIBRARY,
    ),
    "404 file expired": (C.CALLER_INVALID, 404, error("not_found_error", "No.", "file_expired"), LIBRARY),
    "400 file not to be had": (C.CALLER_INVALID, 400, error(BAD, "No.", "file_not_downloadable"), LIBRARY),
    "404 thread": (C.CALLER_INVALID, 404, error("not_found_error", "No.", "thread_not_found"), LIBRARY),
    "413 unpacked": (
        C.CONTEXT_LENGTH,
        413,
        error("request_too_large", "No.", "request_body_too_large_after_decoding"),
        LIBRARY,
    ),
    "413 with a code unheard of": (C.CALLER_INVALID, 413, error(BAD, "No.", "too_many_pictures"), LIBRARY),
    # What stands in front of the service, and bare statuses.
    "401 without a body": (C.KEY_REJECTED, 401, b"", DOCS),
    "404 page": (C.MODEL_UNAVAILABLE, 404, b"404 page not found", DOCS),
    "422": (C.CALLER_INVALID, 422, error(BAD, "No."), LIBRARY),
    "429 without a body": (C.RATE_LIMITED, 429, b"", DOCS),
    "499": (C.CALLER_INVALID, 499, b"", LIBRARY),
    "502 page": (C.SERVER_ERROR, 502, b"<html>Bad Gateway</html>", DOCS),
    "503 page": (C.SERVER_ERROR, 503, b"<html>Service Unavailable</html>", DOCS),
    "307 with an error's body": (C.PROTOCOL, 307, error("authentication_error", "no"), DOCS),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_each_error_has_its_class(case: str) -> None:
    """The table decides by code, then by text, then by status."""
    expected, status, body, source = GOLDEN[case]
    assert source
    failure = classify(status, body)
    assert failure.failure_class is expected
    assert failure.http_status == status


def test_every_code_and_every_text_has_a_golden_body() -> None:
    """No row stands in the table without an example; of a row of codes each has one."""
    codes: set[str] = set()
    texts: set[int | None] = set()
    for _, status, body, _ in GOLDEN.values():
        found = parse_error(body if isinstance(body, bytes) else json.dumps(body).encode())
        codes |= found.codes
        if not any(status in row.statuses and row.codes & found.codes for row in CODES):
            rows = (number for number, row in enumerate(TEXTS) if status in row.statuses)
            texts.add(next((number for number in rows if TEXTS[number].pattern.match(found.message)), None))
    assert {code for row in CODES for code in row.codes} <= codes
    assert texts - {None} == set(range(len(TEXTS)))


def test_no_code_is_claimed_by_two_rows() -> None:
    """The order of the rows of codes decides nothing."""
    claimed = [code for row in CODES for code in row.codes]
    assert len(claimed) == len(set(claimed))


STREAMED: dict[str, tuple[FailureClass, str, str]] = {
    "overloaded": (C.OVERLOADED, "overloaded_error", "Overloaded"),
    "internal": (C.SERVER_ERROR, "api_error", "Internal server error"),
    "timeout": (C.SERVER_ERROR, "timeout_error", "Timed out"),
    "rate": (C.RATE_LIMITED, "rate_limit_error", "This request would exceed your account's rate limit."),
    "invalid": (C.CALLER_INVALID, "invalid_request_error", "No."),
    "filtered": (C.CONTENT_FILTERED, "invalid_request_error", "Output blocked by content filtering policy"),
    "too long": (C.CONTEXT_LENGTH, "invalid_request_error", "prompt is too long: 2 tokens > 1 maximum"),
    "too large": (C.CONTEXT_LENGTH, "request_too_large", "No."),
    "credit": (C.KEY_EXHAUSTED, "invalid_request_error", "Your credit balance is too low to access the API."),
    "billing": (C.KEY_EXHAUSTED, "billing_error", "No."),
    "key": (C.KEY_REJECTED, "authentication_error", "No."),
    "permission": (C.KEY_REJECTED, "permission_error", "No."),
    "region": (C.MODEL_UNAVAILABLE, "forbidden", "Request not allowed"),
    "model": (C.MODEL_UNAVAILABLE, "not_found_error", "model: x"),
    "conflict": (C.SERVER_ERROR, "conflict_error", "No."),
    "unheard of": (C.SERVER_ERROR, "brand_new_error", "No."),
}


@pytest.mark.parametrize("case", STREAMED)
def test_inside_an_answer_the_type_stands_for_the_status(case: str) -> None:
    """An event of a stream and the body of a 200 have the class of their type, and no status that never was."""
    expected, kind, message = STREAMED[case]
    data = json.dumps(error(kind, message)).encode()
    adapter = AnthropicAdapter()
    with pytest.raises(AttemptError) as whole:
        adapter.decode_answer(200, {"request-id": "req_1"}, data)
    assert whole.value.failure.failure_class is expected
    assert whole.value.failure.http_status is None
    assert whole.value.failure.upstream_request_id == "req_1"


def test_every_type_has_been_seen_inside_an_answer() -> None:
    """No type is without its example."""
    assert {kind for _, kind, _ in STREAMED.values()} - {"brand_new_error"} == set(STATUS_OF_TYPE)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"error":null}',
        b'{"error":7}',
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"error":{"type":7}}',
    ],
)
def test_a_body_of_any_shape_is_only_a_body(body: bytes) -> None:
    """The status decides when nothing can be read."""
    assert classify(500, body).failure_class is C.SERVER_ERROR
    assert classify(400, body).failure_class is C.CALLER_INVALID


def test_a_failure_is_filled_in() -> None:
    """Type, path of the field, request id and text of the provider are kept; the message is ours."""
    body = error(BAD, "metadata.user_id: Input should be a valid string")
    failure = classify(400, body, {"request-id": "req_011CSHoEeqs5C35K2UUqR7Fy", "retry-after": "7"})
    assert failure == Failure(
        C.CALLER_INVALID,
        "the provider refused the request as invalid (HTTP 400, code invalid_request_error, "
        "parameter metadata.user_id)",
        retry_after_s=7.0,
        http_status=400,
        upstream_code="invalid_request_error",
        upstream_param="metadata.user_id",
        upstream_request_id="req_011CSHoEeqs5C35K2UUqR7Fy",
        upstream_text="metadata.user_id: Input should be a valid string",
    )


def test_a_code_of_its_own_goes_before_the_type() -> None:
    """It is what programs are told to look at."""
    assert classify(429, error(RATE, "No.", "ramp_limit_exceeded")).upstream_code == "ramp_limit_exceeded"


@pytest.mark.parametrize("message", ["No such thing", "a b: c", "x" * 80 + ": y", "note: this"])
def test_only_a_path_is_a_parameter(message: str) -> None:
    """Words in front of a colon are none, and other types of errors have none."""
    expected = "note" if message.startswith("note") else None
    assert classify(400, error(BAD, message)).upstream_param == expected
    assert classify(404, error("not_found_error", "model: claude-x")).upstream_param is None


@pytest.mark.parametrize("status", [401, 402, 429])
def test_words_about_accounts_are_not_kept(status: int) -> None:
    """For KEY_* and RATE_LIMITED the provider names accounts."""
    assert classify(status, error(RATE, "(org: 9d50ef40-6cc8-4ca6-9d35-1dc9cf26235c)")).upstream_text is None
