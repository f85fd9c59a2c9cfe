"""Errors of Google's: each row of the table with a body as it was seen or documented, and where."""

from __future__ import annotations

import json

import pytest
from tests.providers.gemini.seen_errors import OVER_QUOTA, Seen, error, retry
from tests.providers.gemini.seen_key_errors import KEY_ERRORS
from tests.providers.gemini.seen_other_errors import OTHER_ERRORS

from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.gemini import GeminiAdapter, GeminiStreamDecoder
from trunkline_server.providers.gemini.classify import parse_error
from trunkline_server.providers.gemini.errors import CODES, TABLE, TEXTS
from trunkline_server.routing.failures import Failure, FailureClass

C = FailureClass
GOLDEN: Seen = {**KEY_ERRORS, **OTHER_ERRORS}


def classify(status: int, body: object, headers: dict[str, str] | None = None) -> Failure:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return GeminiAdapter().classify(status, headers or {}, raw)


@pytest.mark.parametrize("case", GOLDEN)
def test_each_error_has_its_class(case: str) -> None:
    """The table decides by code, then by text, then by status."""
    expected, status, body, source = GOLDEN[case]
    assert source
    failure = classify(status, body)
    assert failure.failure_class is expected
    assert failure.http_status == status


def raw(body: object) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def test_every_text_pattern_has_a_golden_body() -> None:
    """No pattern stands in the table without an example that no code and no earlier pattern decides."""
    shown = set()
    for _, status, body, _ in GOLDEN.values():
        found = parse_error(raw(body))
        if any(status in row.statuses and row.codes & found.codes for row in CODES):
            continue
        rows = (number for number, row in enumerate(TEXTS) if status in row.statuses)
        shown.add(next((number for number in rows if TEXTS[number].pattern.match(found.message)), None))
    assert shown - {None} == set(range(len(TEXTS)))


def test_every_status_is_a_class_of_its_own() -> None:
    """From 400 to 599 a bare status is never PROTOCOL."""
    assert all(classify(status, b"").failure_class is not C.PROTOCOL for status in range(400, 600))
    assert all(any(status in row.statuses for row in TABLE.statuses) for status in range(400, 600))


def test_no_code_is_claimed_by_two_rows_for_one_status() -> None:
    """The order of the rows of codes decides nothing."""
    seen: set[tuple[str, int]] = set()
    for row in CODES:
        for claim in {(code, status) for code in row.codes for status in row.statuses}:
            assert claim not in seen
            seen.add(claim)


STREAMED = {
    "RESOURCE_EXHAUSTED": C.RATE_LIMITED,
    "UNAVAILABLE": C.OVERLOADED,
    "INTERNAL": C.SERVER_ERROR,
    "DEADLINE_EXCEEDED": C.SERVER_ERROR,
    "CANCELLED": C.SERVER_ERROR,
    "UNAUTHENTICATED": C.KEY_REJECTED,
    "PERMISSION_DENIED": C.KEY_REJECTED,
    "NOT_FOUND": C.MODEL_UNAVAILABLE,
    "INVALID_ARGUMENT": C.CALLER_INVALID,
    "FAILED_PRECONDITION": C.CALLER_INVALID,
    "OUT_OF_RANGE": C.CALLER_INVALID,
}


@pytest.mark.parametrize("status", STREAMED)
def test_a_status_is_enough_where_there_is_no_other(status: str) -> None:
    """An error inside a stream that has a status of google.rpc and no number is classified by it."""
    decoder = GeminiStreamDecoder()
    with pytest.raises(AttemptError) as caught:
        decoder.feed(b"data: " + json.dumps({"error": {"message": "no", "status": status}}).encode() + b"\r\n\r\n")
    assert caught.value.failure.failure_class is STREAMED[status]


@pytest.mark.parametrize(
    ("delay", "expected"),
    [
        ("34.074824224s", 34.074824224),
        ("0s", 0.0),
        ({"seconds": 7, "nanos": 500_000_000}, 7.5),
        ({"seconds": "7"}, 7.0),
        ("soon", None),
        ("-3s", None),
        (7, None),
        (None, None),
    ],
)
def test_the_body_says_when_to_come_back(delay: object, expected: float | None) -> None:
    """In either of the forms that a duration has in JSON; nonsense is nothing."""
    failure = classify(429, error(429, "RESOURCE_EXHAUSTED", OVER_QUOTA, retry(delay)))
    assert failure.retry_after_s == (None if expected is None else pytest.approx(expected))


def test_a_header_says_it_where_the_body_does_not() -> None:
    """The body's own word goes first."""
    assert classify(429, b"", {"retry-after": "9"}).retry_after_s == 9.0
    body = error(429, "RESOURCE_EXHAUSTED", "no", retry("3s"))
    assert classify(429, body, {"retry-after": "9"}).retry_after_s == 3.0


def test_a_failure_is_filled_in() -> None:
    """The status is the code, or the reason if there is one; the field that was refused is told."""
    failure = classify(*GOLDEN["400 malformed"][1:3])
    assert failure.upstream_code == "INVALID_ARGUMENT"
    assert failure.upstream_param == "generation_config"
    assert "code INVALID_ARGUMENT, parameter generation_config" in failure.message
    assert failure.upstream_text is not None
    assert failure.upstream_text.startswith("Invalid JSON payload received.")
    assert classify(*GOLDEN["403 suspended"][1:3]).upstream_code == "CONSUMER_SUSPENDED"


@pytest.mark.parametrize("case", ["403 suspended", "429 of a day", "429"])
def test_words_about_accounts_are_not_kept(case: str) -> None:
    """For KEY_* and RATE_LIMITED the provider names keys and projects."""
    status, body = GOLDEN[case][1:3] if case in GOLDEN else (429, error(429, "", "project 178213"))
    assert classify(status, body).upstream_text is None


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
        b'{"error":{"details":7}}',
        b'{"error":{"details":[7,{"@type":7},{"@type":"x.QuotaFailure","violations":[7]}]}}',
        b'{"error":{"code":true,"message":7,"status":7}}',
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"error":',
    ],
)
def test_a_body_of_any_shape_is_only_a_body(body: bytes) -> None:
    """The status decides when nothing can be read."""
    assert classify(500, body).failure_class is C.SERVER_ERROR
    assert classify(400, body).failure_class is C.CALLER_INVALID
