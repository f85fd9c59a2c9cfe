"""Error responses: each row of the table with a golden body, and what of it is shown."""

from __future__ import annotations

import json

import pytest
from tests.providers.cohere.cohere_golden import ERRORS, REPORTED, SPEC, adapter

from trunkline_server.providers.cohere.errors import TABLE, parse_error
from trunkline_server.providers.failure_table import HTTP_STATUSES
from trunkline_server.routing.failures import Failure, FailureClass

C = FailureClass


def classify(status: int, body: object, headers: dict[str, str] | None = None) -> Failure:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return adapter().classify(status, headers or {}, raw)


def said(message: str, **more: str) -> dict[str, str]:
    return {"id": "0a1b", "message": message, **more}


# Class, status, body, and where it was read.
GOLDEN: dict[str, tuple[FailureClass, int, object, str]] = {
    "400 documents": (C.CALLER_INVALID, 400, said("invalid request: list of documents must not be empty"), ERRORS),
    "400 system turn": (C.CALLER_INVALID, 400, said("system turn must be the first in the list"), ERRORS),
    "400 temperature": (
        C.CALLER_INVALID,
        400,
        said("invalid request: temperature must be between 0 and 1.0 inclusive."),
        ERRORS,
    ),
    "400 tool name": (
        C.CALLER_INVALID,
        400,
        said(
            "invalid request: tool names can only contain certain characters (A-Za-z0-9_) and can't begin with a digit "
            "(provided name: 'xyz')."
        ),
        ERRORS,
    ),
    "400 tool call id": (C.CALLER_INVALID, 400, said("tool call id not found in previous tool calls"), ERRORS),
    "400 JSON": (
        C.CALLER_INVALID,
        400,
        said("invalid json syntax: invalid character '\\a' in string literal"),
        ERRORS,
    ),
    "400 RAG": (C.CALLER_INVALID, 400, said("invalid request: RAG is not supported for this model."), ERRORS),
    "400 that quotes the caller": (
        C.CALLER_INVALID,
        400,
        said("invalid request: document 'too many tokens: total' cannot be empty"),
        ERRORS,
    ),
    "400 output limit": (
        C.CALLER_INVALID,
        400,
        said(
            "too many tokens: max tokens must be less than or equal to 4096, the maximum output for this model - "
            "received 8192."
        ),
        ERRORS,
    ),
    "400 prompt": (
        C.CONTEXT_LENGTH,
        400,
        said(
            "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 4292. Try using a "
            "shorter prompt, or enabling prompt truncating."
        ),
        ERRORS,
    ),
    "400 size": (
        C.CONTEXT_LENGTH,
        400,
        said("too many tokens: size limit exceeded by 11326 tokens. Try using shorter or fewer inputs"),
        ERRORS,
    ),
    "400 multi-hop": (
        C.CONTEXT_LENGTH,
        400,
        said("too many tokens: multi-hop prompt is too long even after truncation"),
        ERRORS,
    ),
    "413": (C.CONTEXT_LENGTH, 413, b"<html>Request Entity Too Large</html>", "any proxy"),
    "400 model": (
        C.MODEL_UNAVAILABLE,
        400,
        said("invalid request: model 'command-r' is not supported by the generate API"),
        ERRORS,
    ),
    "400 finetuned model": (
        C.MODEL_UNAVAILABLE,
        400,
        said("finetuned model with name xyz is not ready for serving"),
        ERRORS,
    ),
    "404 model": (
        C.MODEL_UNAVAILABLE,
        404,
        said("model 'xyz' not found, make sure the correct model ID was used and that you have access to the model."),
        ERRORS,
    ),
    "404 page": (C.MODEL_UNAVAILABLE, 404, b"404 page not found", ERRORS),
    "401 no key": (C.KEY_REJECTED, 401, said("no api key supplied"), ERRORS),
    "401 invalid": (C.KEY_REJECTED, 401, said("invalid api token"), ERRORS),
    "401 expired": (
        C.KEY_REJECTED,
        401,
        said("Your API key has expired. Please create a production key at dashboard.cohere.com"),
        ERRORS,
    ),
    "403": (C.KEY_REJECTED, 403, said("the user does not have the necessary permissions"), SPEC),
    "402 payment": (
        C.KEY_EXHAUSTED,
        402,
        said(
            "Please add or update your payment method at https://dashboard.cohere.com/billing?tab=payment to continue"
        ),
        ERRORS,
    ),
    "402 maximum": (
        C.KEY_EXHAUSTED,
        402,
        said("Maximum billing reached for this API key as set in your dashboard"),
        ERRORS,
    ),
    "429 month, trial key": (
        C.KEY_EXHAUSTED,
        429,
        said(
            "You are using a Trial key, which is limited to 1000 API calls / month. You can continue to use the Trial "
            "key for free or upgrade to a Production key with higher rate limits"
        ),
        REPORTED,
    ),
    "429 month, model": (
        C.KEY_EXHAUSTED,
        429,
        said("You are past the per-month request limit for this model, please wait and try again later."),
        REPORTED,
    ),
    "429 minute": (
        C.RATE_LIMITED,
        429,
        said("You are past the per minute request limit, please wait and try again later."),
        ERRORS,
    ),
    "429 minute, trial key": (
        C.RATE_LIMITED,
        429,
        said("You are using a Trial key, which is limited to 40 API calls / minute."),
        ERRORS,
    ),
    "429 tokens": (
        C.RATE_LIMITED,
        429,
        said("trial token rate limit exceeded, limit is 100000 tokens per minute"),
        ERRORS,
    ),
    "429 wait": (C.RATE_LIMITED, 429, said("Please wait and try again later"), ERRORS),
    "498": (C.CONTENT_FILTERED, 498, said("the request contains a deny-listed token"), SPEC),
    "422": (C.CALLER_INVALID, 422, said("the request is missing required fields"), SPEC),
    "422 nothing generated": (
        C.CALLER_INVALID,
        422,
        said("no valid response generated", error_type="NO_VALID_RESPONSE_GENERATED"),
        REPORTED,
    ),
    "422 nothing generated, by its text": (C.CALLER_INVALID, 422, said("No valid response generated"), REPORTED),
    "422 tool generation": (C.CALLER_INVALID, 422, said("invalid tool generation"), REPORTED),
    "499": (C.SERVER_ERROR, 499, said("request cancelled"), ERRORS),
    "500": (C.SERVER_ERROR, 500, said("internal server error"), ERRORS),
    "501": (C.SERVER_ERROR, 501, said("the requested feature is not implemented"), SPEC),
    "503": (C.OVERLOADED, 503, said("the service is unavailable"), SPEC),
    "in a stream, month": (
        C.KEY_EXHAUSTED,
        0,
        said("You are past the per-month request limit for this model"),
        REPORTED,
    ),
    "in a stream, minute": (C.RATE_LIMITED, 0, said("You are past the per minute request limit"), ERRORS),
    "in a stream, trial key": (
        C.RATE_LIMITED,
        0,
        said("You are using a Trial key, which is limited to 40 API"),
        ERRORS,
    ),
    "in a stream, tokens": (C.RATE_LIMITED, 0, said("trial token rate limit exceeded, limit is 100000"), ERRORS),
    "in a stream, prompt": (C.CONTEXT_LENGTH, 0, said("too many tokens: total number of tokens"), ERRORS),
    "in a stream, anything": (C.SERVER_ERROR, 0, said("it broke"), SPEC),
    "504": (C.SERVER_ERROR, 504, said("gateway timeout"), SPEC),
    "502 page": (C.SERVER_ERROR, 502, b"<html>Bad Gateway</html>", "any proxy"),
    "301": (C.PROTOCOL, 301, b"", "any proxy"),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_each_error_has_its_class(case: str) -> None:
    """The table decides by code, then by text, then by status."""
    expected, status, body, _ = GOLDEN[case]
    failure = classify(status, body)
    assert failure.failure_class is expected
    assert failure.http_status == (status or None)


def test_every_row_has_a_golden_body() -> None:
    """No row stands in the table without an example that no row before it decides; the common statuses have theirs."""
    codes, texts, statuses = set(), set(), set()
    for _, status, body, _ in GOLDEN.values():
        found = parse_error(body if isinstance(body, bytes) else json.dumps(body).encode())
        numbered = enumerate(TABLE.codes)
        code = next((number for number, row in numbered if status in row.statuses and row.codes & found.codes), None)
        if code is not None:
            codes.add(code)
            continue
        rows = (number for number, row in enumerate(TABLE.texts) if status in row.statuses)
        text = next((number for number in rows if TABLE.texts[number].pattern.match(found.message)), None)
        if text is not None:
            texts.add(text)
        else:
            statuses |= {next((number for number, row in enumerate(TABLE.statuses) if status in row.statuses), -1)}
    assert codes == set(range(len(TABLE.codes)))
    assert texts == set(range(len(TABLE.texts)))
    assert set(range(len(TABLE.statuses) - len(HTTP_STATUSES))) <= statuses


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'"words"', b"{}", b'{"message":7}', b"\xff\xfe", b"[" * 60_000, b'{"message":']
)
def test_a_body_of_any_shape_is_only_a_body(body: bytes) -> None:
    """The status decides when nothing can be read."""
    assert classify(500, body).failure_class is C.SERVER_ERROR
    assert classify(400, body).failure_class is C.CALLER_INVALID


def test_a_failure_is_filled_in() -> None:
    """Code, trace id and text of the provider are kept; the message is ours."""
    headers = {"x-debug-trace-id": "d41d8cd98f00b204e9800998ecf8427e", "retry-after": "7"}
    body = said("no valid response generated", error_type="NO_VALID_RESPONSE_GENERATED")
    assert classify(422, body, headers) == Failure(
        C.CALLER_INVALID,
        "the provider refused the request as invalid (HTTP 422, code NO_VALID_RESPONSE_GENERATED)",
        retry_after_s=7.0,
        http_status=422,
        upstream_code="NO_VALID_RESPONSE_GENERATED",
        upstream_request_id="d41d8cd98f00b204e9800998ecf8427e",
        upstream_text="no valid response generated",
    )


@pytest.mark.parametrize("status", [401, 402, 429])
def test_words_about_accounts_are_not_kept(status: int) -> None:
    """For KEY_* and RATE_LIMITED the provider speaks of the key's owner."""
    assert classify(status, said("limit of organization org-a1b2c3")).upstream_text is None
