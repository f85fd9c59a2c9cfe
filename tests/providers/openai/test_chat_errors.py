"""Error responses: each row of the table with a golden body, and what of it is shown."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.providers.openai.compatible_errors import COMPATIBLE

from trunkline_server.providers.openai import OpenAIAdapter
from trunkline_server.providers.openai.classify import parse_error
from trunkline_server.providers.openai.errors import CODES, STATUSES, TEXTS
from trunkline_server.routing.failures import Failure, FailureClass

C = FailureClass


def classify(status: int, body: object, headers: dict[str, str] | None = None) -> Failure:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return OpenAIAdapter().classify(status, headers or {}, raw)


def error(message: str = "", **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": None, "param": None, "code": None, **fields}}


GOLDEN: dict[str, tuple[FailureClass, int, object]] = {
    "400 invalid value": (
        C.CALLER_INVALID,
        400,
        error("Invalid 'n'.", type="invalid_request_error", param="n", code="invalid_value"),
    ),
    "400 that quotes the caller about quota": (
        C.CALLER_INVALID,
        400,
        error(
            "Invalid 'tools[0].function.name': 'You exceeded your current quota'.",
            type="invalid_request_error",
            param="tools[0].function.name",
        ),
    ),
    "400 with 429 in a price": (C.CALLER_INVALID, 400, error("The price 429 of req_429 is not a number.")),
    "405": (C.CALLER_INVALID, 405, error("Method not allowed.")),
    "413 with a code of its own": (C.CALLER_INVALID, 413, error("Too many pictures.", code="too_many_images")),
    "422 of a Python framework": (
        C.CALLER_INVALID,
        422,
        {"detail": [{"loc": ["body", "messages"], "msg": "field required", "type": "value_error.missing"}]},
    ),
    "451": (C.CALLER_INVALID, 451, b""),
    "400 context code": (
        C.CONTEXT_LENGTH,
        400,
        error(
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
            type="invalid_request_error",
            param="messages",
            code="context_length_exceeded",
        ),
    ),
    "400 context text, vLLM": (
        C.CONTEXT_LENGTH,
        400,
        {
            "object": "error",
            "message": "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
    ),
    "400 context text, prompt": (C.CONTEXT_LENGTH, 400, error("The input is too long for the requested model.")),
    # https://github.com/neo4j-labs/agent-memory/issues/104, 2026-04-13
    "400 context text, embeddings": (
        C.CONTEXT_LENGTH,
        400,
        error("Invalid 'input': maximum context length is 8192 tokens.", type="invalid_request_error"),
    ),
    # https://github.com/OpenDataBox/CrackSQL/pull/27, 2025-06-13: all inputs together, which a larger window helps not
    "400 tokens of all inputs, embeddings": (
        C.CALLER_INVALID,
        400,
        error(
            "Requested 453357 tokens, max 300000 tokens per request",
            type="max_tokens_per_request",
            code="max_tokens_per_request",
        ),
    ),
    "400 context code, llama.cpp": (
        C.CONTEXT_LENGTH,
        400,
        {"error": {"code": 400, "message": "the request exceeds the context", "type": "exceed_context_size_error"}},
    ),
    "413 rate limit code, Groq": (
        C.CONTEXT_LENGTH,
        413,
        error("Request too large for model: Limit 6000", type="tokens", code="rate_limit_exceeded"),
    ),
    "413 without a code": (C.CONTEXT_LENGTH, 413, b"<html><h1>413 Request Entity Too Large</h1></html>"),
    "413 with a numeric code": (C.CONTEXT_LENGTH, 413, {"error": {"code": "413", "message": "Too large"}}),
    "413 with its code": (C.CONTEXT_LENGTH, 413, error("Too large.", code="request_too_large")),
    "400 content filter": (
        C.CONTENT_FILTERED,
        400,
        error("The response was filtered due to the prompt.", param="prompt", code="content_filter"),
    ),
    "400 content filter text, Azure": (
        C.CONTENT_FILTERED,
        400,
        error("The response was filtered due to the prompt triggering Azure OpenAI's content management policy."),
    ),
    "400 content filter one level down, Azure": (
        C.CONTENT_FILTERED,
        400,
        {"error": {"message": "no", "code": None, "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
    ),
    "400 policy": (C.CONTENT_FILTERED, 400, error("no", code="content_policy_violation")),
    "400 flagged prompt": (C.CONTENT_FILTERED, 400, error("Invalid prompt: flagged.", code="invalid_prompt")),
    "404 model": (C.MODEL_UNAVAILABLE, 404, error("The model `x` does not exist", code="model_not_found")),
    "404 page": (C.MODEL_UNAVAILABLE, 404, b"404 page not found"),
    "403 model code": (
        C.MODEL_UNAVAILABLE,
        403,
        error("Project `proj_a1` does not have access to model `gpt-5`", code="model_not_found"),
    ),
    "403 model text": (C.MODEL_UNAVAILABLE, 403, error("Project `proj_a1` does not have access to model `gpt-5`")),
    "403 access text": (C.MODEL_UNAVAILABLE, 403, error("You do not have access to this model.")),
    "403 sample text": (C.MODEL_UNAVAILABLE, 403, error("You are not allowed to sample from this model")),
    "403 region code": (
        C.MODEL_UNAVAILABLE,
        403,
        error("Country, region, or territory not supported", code="unsupported_country_region_territory"),
    ),
    "403 region text": (C.MODEL_UNAVAILABLE, 403, error("Country, region, or territory not supported")),
    "400 decommissioned": (C.MODEL_UNAVAILABLE, 400, error("gone", code="model_decommissioned")),
    "400 model text": (C.MODEL_UNAVAILABLE, 400, error("The model `gpt-2` has been deprecated, learn more here")),
    "401": (
        C.KEY_REJECTED,
        401,
        error(
            "Incorrect API key provided: sk-abc****wxyz.",
            type="invalid_request_error",
            code="invalid_api_key",
        ),
    ),
    "401 without a body": (C.KEY_REJECTED, 401, b""),
    "403 other": (C.KEY_REJECTED, 403, error("You may not do that.")),
    "400 key code": (C.KEY_REJECTED, 400, error("no", code="invalid_api_key")),
    "400 key text": (C.KEY_REJECTED, 400, error("Invalid API key provided")),
    "400 key text, Gemini": (
        C.KEY_REJECTED,
        400,
        [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.", "status": "INVALID"}}],
    ),
    "401 deactivated": (C.KEY_REJECTED, 401, error("The OpenAI account is gone", code="account_deactivated")),
    "402": (C.KEY_EXHAUSTED, 402, b"Payment required"),
    "402 with a text": (C.KEY_EXHAUSTED, 402, error("Insufficient Balance", code="invalid_request_error")),
    "429 quota": (
        C.KEY_EXHAUSTED,
        429,
        error("You exceeded your current quota.", type="insufficient_quota", code="insufficient_quota"),
    ),
    "429 quota by type": (C.KEY_EXHAUSTED, 429, error("no", type="insufficient_quota")),
    "429 quota by text": (
        C.KEY_EXHAUSTED,
        429,
        error("You exceeded your current quota, please check your plan and billing details."),
    ),
    "400 billing code": (C.KEY_EXHAUSTED, 400, error("no", code="billing_hard_limit_reached")),
    "400 billing text": (C.KEY_EXHAUSTED, 400, error("Billing hard limit has been reached")),
    "429 billing text": (
        C.KEY_EXHAUSTED,
        429,
        error("Your account is not active, please check your billing details."),
    ),
    "400 credit text": (C.KEY_EXHAUSTED, 400, error("Your credit balance is too low to access the API.")),
    "403 balance text": (C.KEY_EXHAUSTED, 403, error("Insufficient balance in your account")),
    "500 quota code": (C.KEY_EXHAUSTED, 500, error("no", code="insufficient_quota")),
    "429": (
        C.RATE_LIMITED,
        429,
        error("Rate limit reached for gpt-4o in organization org-a1b2c3.", type="tokens", code="rate_limit_exceeded"),
    ),
    "429 without a body": (C.RATE_LIMITED, 429, b""),
    "529": (C.OVERLOADED, 529, b""),
    "503 overload code": (C.OVERLOADED, 503, error("no", code="engine_overloaded")),
    "503 slow down code": (C.OVERLOADED, 503, error("Slow down.", code="slow_down")),
    "503 overload text": (
        C.OVERLOADED,
        503,
        error("The engine is currently overloaded, please try again later", type="server_error"),
    ),
    "503 slow down text": (C.OVERLOADED, 503, error("Slow Down")),
    "500 overload text": (C.OVERLOADED, 500, error("The server is overloaded or not ready yet.")),
    "429 overload text": (
        C.OVERLOADED,
        429,
        error("That model is currently overloaded with other requests.", type="server_error"),
    ),
    "503 other": (C.SERVER_ERROR, 503, b"<html>Service Unavailable</html>"),
    "500": (C.SERVER_ERROR, 500, error("The server had an error.", type="server_error")),
    "502": (C.SERVER_ERROR, 502, b"<html>Bad Gateway</html>"),
    "504": (C.SERVER_ERROR, 504, b""),
    "599": (C.SERVER_ERROR, 599, b""),
    "408": (C.SERVER_ERROR, 408, b""),
    "409": (C.SERVER_ERROR, 409, b""),
    "424": (C.SERVER_ERROR, 424, b""),
    "425": (C.SERVER_ERROR, 425, b""),
    "301": (C.PROTOCOL, 301, b""),
    "307 with an error's body": (C.PROTOCOL, 307, error("no", code="invalid_api_key")),
    "101": (C.PROTOCOL, 101, b""),
    "999": (C.PROTOCOL, 999, b""),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_each_error_has_its_class(case: str) -> None:
    """The table decides by code, then by text, then by status."""
    expected, status, body = GOLDEN[case]
    failure = classify(status, body)
    assert failure.failure_class is expected
    assert failure.http_status == status


def test_every_text_pattern_has_a_golden_body() -> None:
    """No pattern stands in the table without an example that no code and no earlier pattern decides."""
    shown = set()
    for _, status, body in (*GOLDEN.values(), *((None, row.status, row.body) for row in COMPATIBLE)):
        found = parse_error(body if isinstance(body, bytes) else json.dumps(body).encode())
        if any(status in row.statuses and row.codes & found.codes for row in CODES):
            continue
        rows = (number for number, row in enumerate(TEXTS) if status in row.statuses)
        shown.add(next((number for number in rows if TEXTS[number].pattern.match(found.message)), None))
    assert shown - {None} == set(range(len(TEXTS)))


def test_every_status_has_a_row_or_is_no_error() -> None:
    """From 400 to 599 a bare status has a class other than PROTOCOL."""
    for status in range(400, 600):
        assert any(status in row.statuses for row in STATUSES)
        assert classify(status, b"").failure_class is not C.PROTOCOL


def test_no_code_is_claimed_by_two_rows_for_one_status() -> None:
    """The order of the rows of codes decides nothing."""
    seen: set[tuple[str, int]] = set()
    for row in CODES:
        for claim in {(code, status) for code in row.codes for status in row.statuses}:
            assert claim not in seen
            seen.add(claim)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"[[[]]]",
        b"{}",
        b'{"error":null}',
        b'{"error":7}',
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"error":',
    ],
)
def test_a_body_of_any_shape_is_only_a_body(body: bytes) -> None:
    """The status decides when nothing can be read."""
    assert classify(500, body).failure_class is C.SERVER_ERROR
    assert classify(400, body).failure_class is C.CALLER_INVALID


def test_a_failure_is_filled_in() -> None:
    """Code, parameter, request id and text of the provider are kept; the message is ours."""
    failure = classify(
        400,
        error("Unsupported value: 'x'.", type="invalid_request_error", param="verbosity", code="unsupported_value"),
        {"x-request-id": "req_0123456789abcdef0123456789abcdef", "retry-after": "7"},
    )
    assert failure == Failure(
        C.CALLER_INVALID,
        "the provider refused the request as invalid (HTTP 400, code unsupported_value, parameter verbosity)",
        retry_after_s=7.0,
        http_status=400,
        upstream_code="unsupported_value",
        upstream_param="verbosity",
        upstream_request_id="req_0123456789abcdef0123456789abcdef",
        upstream_text="Unsupported value: 'x'.",
    )


@pytest.mark.parametrize("status", [401, 402, 429])
def test_words_about_accounts_are_not_kept(status: int) -> None:
    """For KEY_* and RATE_LIMITED the provider names accounts."""
    assert classify(status, error("Limit reached in organization org-a1b2c3")).upstream_text is None


def test_upstream_text_is_bounded_at_a_character() -> None:
    """At most 500 bytes are kept, and no half character."""
    text = classify(500, error("é" * 1000)).upstream_text
    assert text == "é" * 250


def test_html_is_text_on_one_line() -> None:
    """A proxy's page is kept as it is, on one line."""
    assert classify(502, b"<html>\n  <h1>Bad\tGateway</h1>\n</html>").upstream_text == (
        "<html> <h1>Bad Gateway</h1> </html>"
    )


def test_a_request_id_cannot_carry_control_characters() -> None:
    """What a header says is cut to its printable part and to a length."""
    failure = classify(500, b"", {"x-request-id": "a\x00b\u00e9" + "c" * 500})
    assert failure.upstream_request_id == "ab" + "c" * 124
