"""The lists of errors on the pages of vendors that speak chat completions: statuses alone, as far as they go.

Bodies with words of their own stand in `compatible_errors.py`.
"""

from __future__ import annotations

from trunkline_server.routing.failures import FailureClass

C = FailureClass
READ = "2026-11-23"
"""The day on which the pages were read."""

USUAL = {
    400: C.CALLER_INVALID,
    401: C.KEY_REJECTED,
    402: C.KEY_EXHAUSTED,
    404: C.MODEL_UNAVAILABLE,
    413: C.CONTEXT_LENGTH,
    422: C.CALLER_INVALID,
    429: C.RATE_LIMITED,
    500: C.SERVER_ERROR,
    502: C.SERVER_ERROR,
}
"""What these mean at all of them."""

DOCUMENTED: dict[str, tuple[str, dict[int, FailureClass]]] = {
    "groq": (
        "https://console.groq.com/docs/errors",
        {**USUAL, 403: C.KEY_REJECTED, 424: C.SERVER_ERROR, 498: C.OVERLOADED, 503: C.SERVER_ERROR},
    ),
    "together": (
        "https://support.together.ai/articles/1067567273-error-codes-explanations-and-solutions",
        {**USUAL, 403: C.CONTEXT_LENGTH, 503: C.OVERLOADED},
    ),
    "fireworks": (
        "https://docs.fireworks.ai/guides/inference-error-codes",
        {**USUAL, 403: C.KEY_REJECTED, 405: C.CALLER_INVALID, 408: C.SERVER_ERROR, 412: C.MODEL_UNAVAILABLE,
         503: C.OVERLOADED},
    ),
    "deepseek": ("https://api-docs.deepseek.com/quick_start/error_codes", {**USUAL, 503: C.OVERLOADED}),
    "openrouter": (
        "https://openrouter.ai/docs/api/reference/errors-and-debugging",
        {**USUAL, 403: C.KEY_REJECTED, 408: C.SERVER_ERROR, 503: C.OVERLOADED},
    ),
    "xai": ("https://docs.x.ai/developers/debugging", {**USUAL, 403: C.KEY_REJECTED, 405: C.CALLER_INVALID}),
    "cerebras": (
        "https://inference-docs.cerebras.ai/support/error",
        {**USUAL, 403: C.KEY_REJECTED, 503: C.SERVER_ERROR},
    ),
}  # fmt: skip
"""By preset: the page, and what each of its statuses means when the body says no more."""
