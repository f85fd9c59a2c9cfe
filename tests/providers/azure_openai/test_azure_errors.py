"""Errors of Azure OpenAI: each row of its own with a golden body and its source, and what of it is shown."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trunkline_server.providers.azure_openai import AzureOpenAIAdapter, AzureResponsesAdapter
from trunkline_server.providers.azure_openai.errors import CODES, RESPONSES_TABLE, TABLE, TEXTS
from trunkline_server.providers.failure_table import FailureTable
from trunkline_server.providers.openai.classify import parse_error
from trunkline_server.routing.failures import Failure, FailureClass

C = FailureClass


def error(code: str | None, message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, **fields}}


def classify(status: int, body: object, headers: dict[str, str] | None = None) -> Failure:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return AzureOpenAIAdapter().classify(status, headers or {}, raw)


FILTERED = {
    "error": {
        "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. "
        "Please modify your prompt and retry. To learn more about our content filtering policies please read our "
        "documentation: https://go.microsoft.com/fwlink/?linkid=2198766",
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {
            "code": "ResponsibleAIPolicyViolation",
            "content_filter_result": {
                "hate": {"filtered": False, "severity": "safe"},
                "jailbreak": {"filtered": True, "detected": True},
                "self_harm": {"filtered": False, "severity": "safe"},
                "sexual": {"filtered": False, "severity": "safe"},
                "violence": {"filtered": True, "severity": "medium"},
            },
        },
    }
}
"""https://github.com/microsoft/TinyTroupe/issues/85, 2025-01-02, and https://github.com/compl-ai/compl-ai/issues/20"""

FILTERED_BY_SCHEMA = error(
    None,
    "no",
    inner_error={
        "code": "ResponsibleAIPolicyViolation",
        "content_filter_results": {"jailbreak": {"filtered": True, "detected": True}},
    },
)
"""The API's schema has other names: https://github.com/browser-use/browser-use/issues/262, 2025-01-14"""

OVER_TOKENS = (
    "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-08-01-preview have exceeded "
    "token rate limit of your current OpenAI S0 pricing tier. Please retry after 9 seconds. Please go here: "
    "https://aka.ms/oai/quotaincrease if you would like to further increase the default rate limit."
)
"""https://github.com/vanderschaarlab/climb/issues/1, 2025-01-18"""

GOLDEN: dict[str, tuple[FailureClass, int, object, str]] = {
    "404 deployment": (
        C.MODEL_UNAVAILABLE,
        404,
        error(
            "DeploymentNotFound",
            "The API deployment for this resource does not exist. If you created the deployment within the last 5 "
            "minutes, please wait a moment and try again.",
        ),
        "https://github.com/chatboxai/chatbox/issues/646, 2023-05-16",
    ),
    "404 resource": (
        C.MODEL_UNAVAILABLE,
        404,
        error("404", "Resource not found"),
        "https://github.com/openai/openai-python/issues/2184, 2025-03-12",
    ),
    "404 of an old gateway": (
        C.MODEL_UNAVAILABLE,
        404,
        {"statusCode": 404, "message": "Resource not found"},
        "https://github.com/MicrosoftDocs/azure-docs/issues/114602, 2023-09-12",
    ),
    "400 operation": (
        C.MODEL_UNAVAILABLE,
        400,
        error(
            "OperationNotSupported",
            "The chatCompletion operation does not work with the specified model, o3-pro. Please choose different "
            "model and try again.",
        ),
        "https://github.com/egoist/chatwise-releases/issues/942, 2025-08-05",
    ),
    "400 api version": (
        C.MODEL_UNAVAILABLE,
        400,
        error("BadRequest", "API version not supported"),
        "https://github.com/openai/codex/issues/3725, 2025-09-16",
    ),
    "400 api version of a model": (
        C.MODEL_UNAVAILABLE,
        400,
        error("BadRequest", "Model {modelName} is enabled only for api versions 2024-12-01-preview and later"),
        "https://github.com/langchain4j/langchain4j/issues/2636, 2025-03-04",
    ),
    "400 api version of responses": (
        C.MODEL_UNAVAILABLE,
        400,
        error("BadRequest", "Azure OpenAI Responses API is enabled only for api-version 2025-03-01-preview and later"),
        "https://github.com/Aider-AI/aider/issues/4029, 2025-05-16",
    ),
    "401 key": (
        C.KEY_REJECTED,
        401,
        error(
            "401",
            "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key "
            "for an active subscription and use a correct regional API endpoint for your resource.",
        ),
        "https://github.com/SciSharp/BotSharp/issues/386, 2024-04-02",
    ),
    "401 role": (
        C.KEY_REJECTED,
        401,
        error(
            "PermissionDenied",
            "The principal `0f26baa4` lacks the required data action "
            "`Microsoft.CognitiveServices/accounts/OpenAI/responses/write` to perform `POST /openai/responses`.",
        ),
        "https://github.com/microsoft/vscode/issues/283763, 2025-12-16",
    ),
    "401 token": (
        C.KEY_REJECTED,
        401,
        {"statusCode": 401, "message": "Unauthorized. Access token is missing, invalid, audience is incorrect"},
        "https://github.com/microsoft/vscode/issues/283763, 2025-12-16",
    ),
    "403 network": (
        C.MODEL_UNAVAILABLE,
        403,
        error("403", "Access denied due to Virtual Network/Firewall rules."),
        "https://github.com/Azure-Samples/azure-sql-db-chatbot/issues/3, 2025-04-23",
    ),
    "403 private endpoint": (
        C.MODEL_UNAVAILABLE,
        403,
        error("403", "Public access is disabled. Please configure private endpoint."),
        "https://github.com/TabularEditor/TabularEditor3/issues/1557, 2026-03-26",
    ),
    "403 another endpoint": (
        C.MODEL_UNAVAILABLE,
        403,
        error("403", "A Virtual Network is configured for this resource. Please use the correct endpoint."),
        "https://github.com/continuedev/continue/issues/12547, 2026-06-04",
    ),
    "403 quota": (
        C.KEY_EXHAUSTED,
        403,
        {"statusCode": 403, "message": "Out of call volume quota. Quota will be replenished in 2.12 days."},
        "https://learn.microsoft.com/azure/ai-services/luis (quotas of its gateway), 2026-11-23",
    ),
    "429 tokens": (
        C.RATE_LIMITED,
        429,
        error("429", OVER_TOKENS),
        "https://github.com/vanderschaarlab/climb/issues/1, 2025-01-18",
    ),
    "429 high demand": (
        C.OVERLOADED,
        429,
        error(
            "429",
            "The system is currently experiencing high demand and cannot process your request. Your request exceeds "
            "the maximum usage size allowed during peak load. Please retry after 20 seconds.",
        ),
        "https://github.com/pollinations/pollinations/issues/6260, 2025-12-21",
    ),
    "400 content filter": (
        C.CONTENT_FILTERED,
        400,
        FILTERED,
        "https://github.com/microsoft/TinyTroupe/issues/85, 2025-01-02",
    ),
    "400 content filter by its inner code": (
        C.CONTENT_FILTERED,
        400,
        FILTERED_BY_SCHEMA,
        "https://github.com/browser-use/browser-use/issues/262, 2025-01-14",
    ),
    "400 argument": (
        C.CALLER_INVALID,
        400,
        {
            "error": {
                "message": "Unrecognized request argument supplied: max_completion_tokens",
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            }
        },
        "https://github.com/openai/openai-python/issues/1724, 2024-09-19",
    ),
    "503 page": (C.SERVER_ERROR, 503, b"<html>Service Unavailable</html>", "any proxy"),
}


@pytest.mark.parametrize("case", GOLDEN)
@pytest.mark.parametrize("adapter", [AzureOpenAIAdapter(), AzureResponsesAdapter()], ids=["chat", "responses"])
def test_each_error_has_its_class(adapter: AzureOpenAIAdapter | AzureResponsesAdapter, case: str) -> None:
    """The same for both wires: by code, then by text, then by status."""
    expected, status, body, _ = GOLDEN[case]
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    failure = adapter.classify(status, {}, raw)
    assert failure.failure_class is expected
    assert failure.http_status == status


def test_every_text_pattern_has_a_golden_body() -> None:
    """No pattern stands in the table without an example that no code and no earlier pattern decides."""
    shown = set()
    for _, status, body, _ in GOLDEN.values():
        found = parse_error(body if isinstance(body, bytes) else json.dumps(body).encode())
        if any(status in row.statuses and row.codes & found.codes for row in TABLE.codes):
            continue
        rows = (number for number, row in enumerate(TEXTS) if status in row.statuses)
        shown.add(next((number for number in rows if TEXTS[number].pattern.match(found.message)), None))
    assert shown - {None} == set(range(len(TEXTS)))


@pytest.mark.parametrize("table", [TABLE, RESPONSES_TABLE], ids=["chat", "responses"])
def test_no_code_is_claimed_by_two_rows_for_one_status(table: FailureTable) -> None:
    """The order of the rows of codes decides nothing, those of OpenAI included."""
    seen: set[tuple[str, int]] = set()
    for row in table.codes:
        for claim in {(code, status) for code in row.codes for status in row.statuses}:
            assert claim not in seen
            seen.add(claim)
    assert set(CODES) < set(table.codes)


@pytest.mark.parametrize(
    ("message", "headers", "seconds"),
    [
        (OVER_TOKENS, {}, 9.0),
        (OVER_TOKENS, {"retry-after": "3"}, 3.0),
        (OVER_TOKENS, {"retry-after": "3", "retry-after-ms": "2500"}, 2.5),
        ("Too many. Please retry after 86400 seconds.", {}, 86400.0),
        ("Too many. Please try again in 120 milliseconds.", {}, 0.12),
        ("Please retry after a while.", {}, None),
        ("x" * 1000 + " Please retry after 9 seconds.", {}, None),
    ],
)
def test_how_long_to_stay_away(message: str, headers: dict[str, str], seconds: float | None) -> None:
    """The headers say it; where there are none, the text does."""
    assert classify(429, error("429", message), headers).retry_after_s == seconds


def test_only_a_limit_s_text_says_how_long_to_stay_away() -> None:
    """A text that echoes a caller's words pauses no key."""
    assert classify(400, error("400", "Invalid: 'Please retry after 9 seconds'")).retry_after_s is None


def test_a_filtered_prompt_says_what_was_found() -> None:
    """By category, in our words, and bounded."""
    assert classify(400, FILTERED).message == (
        "the provider's content filter blocked the request (HTTP 400, code content_filter, parameter prompt): "
        "jailbreak, violence (medium)"
    )
    assert classify(400, FILTERED_BY_SCHEMA).message.endswith(": jailbreak")
    many = {f"category <{number}> {'x' * 100}": {"filtered": True} for number in range(100)}
    told = classify(400, error("content_filter", "no", innererror={"content_filter_result": many})).message
    assert told.count(",") <= 20
    assert "<" not in told
    assert "x" * 60 not in told


@pytest.mark.parametrize("inner", [None, 7, {}, {"content_filter_result": 7}, {"content_filter_result": {"hate": 7}}])
def test_a_filter_of_any_shape_is_only_a_filter(inner: object) -> None:
    """Nothing is added when nothing can be read."""
    failure = classify(400, error("content_filter", "no", innererror=inner))
    assert failure.failure_class is C.CONTENT_FILTERED
    assert failure.message.endswith("(HTTP 400, code content_filter)")


def test_the_gateway_s_own_id_is_kept() -> None:
    """It stands in another header where no model was reached."""
    assert classify(401, b"", {"apim-request-id": "a-1"}).upstream_request_id == "a-1"
    both = {"apim-request-id": "a-1", "x-request-id": "m-1"}
    assert classify(500, b"", both).upstream_request_id == "m-1"


def test_words_about_subscriptions_are_not_kept() -> None:
    """For KEY_* and RATE_LIMITED the provider names accounts."""
    assert classify(429, error("429", OVER_TOKENS)).upstream_text is None
    assert classify(401, error("401", "Access denied")).upstream_text is None
