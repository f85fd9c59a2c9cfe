"""What is wrong with a request, a model, or the provider."""

from __future__ import annotations

from tests.providers.gemini.seen_errors import (
    DOCS,
    KNOWN,
    REASONS,
    Seen,
    error,
    info,
)

from trunkline_server.routing.failures import FailureClass

C = FailureClass

OTHER_ERRORS: Seen = {
    "400 malformed": (
        C.CALLER_INVALID,
        400,
        error(
            400,
            "INVALID_ARGUMENT",
            "Invalid JSON payload received. Unknown name \"frequency\" at 'generation_config': Cannot find field.",
            {
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [{"field": "generation_config", "description": "Unknown name"}],
            },
        ),
        DOCS,
    ),
    "400 that quotes the caller about quota": (
        C.CALLER_INVALID,
        400,
        error(400, "INVALID_ARGUMENT", "Invalid function name: API key not valid."),
        "made: a caller may not talk a key away",
    ),
    "400 no signature": (
        C.CALLER_INVALID,
        400,
        error(
            400,
            "INVALID_ARGUMENT",
            "Function call is missing a thought_signature in functionCall parts. This is required for tools to work "
            "correctly, and missing thought_signature may lead to degraded model performance.",
        ),
        "https://github.com/block/goose/issues/5792",
    ),
    "400 precondition": (
        C.CALLER_INVALID,
        400,
        error(400, "FAILED_PRECONDITION", "Precondition check failed."),
        KNOWN,
    ),
    "400 too many tokens": (
        C.CONTEXT_LENGTH,
        400,
        error(
            400,
            "INVALID_ARGUMENT",
            "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576).",
        ),
        "https://github.com/google-gemini/gemini-cli/issues/6678",
    ),
    "400 too many tokens, in a list": (
        C.CONTEXT_LENGTH,
        400,
        [
            error(
                400,
                "INVALID_ARGUMENT",
                "The input token count exceeds the maximum number of tokens allowed 1048576.",
            )
        ],
        "https://github.com/warpdotdev/warp/issues/15662, in a list as in gemini-cli/issues/6678",
    ),
    "400 too many tokens, Vertex": (
        C.CONTEXT_LENGTH,
        400,
        error(
            400,
            "INVALID_ARGUMENT",
            "Unable to submit request because the input token count is 1048577 but model only supports up to 1048576. "
            "Reduce the input token count and try again.",
        ),
        "https://github.com/google-gemini/gemini-cli/issues/19727",
    ),
    "400 too many bytes": (
        C.CONTEXT_LENGTH,
        400,
        error(400, "INVALID_ARGUMENT", "Request payload size exceeds the limit: 4194304 bytes."),
        "https://github.com/google-gemini/deprecated-generative-ai-android/issues/26",
    ),
    "413 of the front end": (
        C.CONTEXT_LENGTH,
        413,
        b"<html><title>Error 413 (Request Entity Too Large)!!1</title>",
        "made: the page of a front end",
    ),
    "400 filter": (
        C.CONTENT_FILTERED,
        400,
        error(
            400,
            "INVALID_ARGUMENT",
            "Image generation failed with the following error: The response is blocked, as it may violate our"
            " policies.",
        ),
        "https://github.com/epam/ai-dial-adapter-vertexai/issues/66",
    ),
    "403 a caller's file": (
        C.CALLER_INVALID,
        403,
        error(403, "PERMISSION_DENIED", "You do not have permission to access the File abc or it may not exist."),
        "https://github.com/langgenius/dify-plugin-daemon/issues/192",
    ),
    "403 a caller's cache": (
        C.CALLER_INVALID,
        403,
        error(403, "PERMISSION_DENIED", "CachedContent not found (or permission denied)"),
        KNOWN,
    ),
    "403 a caller's object": (
        C.CALLER_INVALID,
        403,
        error(
            403,
            "PERMISSION_DENIED",
            "Permission 'storage.objects.get' denied on resource (or it may not exist).",
        ),
        KNOWN,
    ),
    "403 tuned model": (
        C.MODEL_UNAVAILABLE,
        403,
        error(403, "PERMISSION_DENIED", "You do not have permission to access tuned model tunedModels/x."),
        KNOWN,
    ),
    "403 model on Vertex": (
        C.MODEL_UNAVAILABLE,
        403,
        error(
            403,
            "PERMISSION_DENIED",
            "Permission 'aiplatform.endpoints.predict' denied on resource '//aiplatform.googleapis.com/projects/p/"
            "locations/us-east4/publishers/google/models/gemini-pro' (or it may not exist).",
            info("IAM_PERMISSION_DENIED"),
        ),
        "https://github.com/rpurinton/gemini-php/issues/4",
    ),
    "403 place": (
        C.MODEL_UNAVAILABLE,
        403,
        error(403, "PERMISSION_DENIED", "Location denied.", info("LOCATION_POLICY_VIOLATED")),
        REASONS,
    ),
    "400 place": (
        C.MODEL_UNAVAILABLE,
        400,
        error(400, "FAILED_PRECONDITION", "User location is not supported for the API use."),
        "https://github.com/poenl/gemini-api/issues/4",
    ),
    "404 model": (
        C.MODEL_UNAVAILABLE,
        404,
        error(
            404,
            "NOT_FOUND",
            "models/gemini-9 is not found for API version v1beta, or is not supported for generateContent. Call "
            "ListModels to see the list of available models and their supported methods.",
        ),
        KNOWN,
    ),
    "404 model on Vertex": (
        C.MODEL_UNAVAILABLE,
        404,
        error(
            404,
            "NOT_FOUND",
            "Publisher Model `projects/740989871600/locations/us-central1/publishers/google/models/x` was not found or "
            "your project does not have access to it.",
        ),
        "https://github.com/genkit-ai/genkit/issues/4688",
    ),
    "503": (
        C.OVERLOADED,
        503,
        error(503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
        KNOWN,
    ),
    "503 demand": (
        C.OVERLOADED,
        503,
        error(
            503,
            "UNAVAILABLE",
            "This model is currently experiencing high demand. Spikes in demand are usually temporary. Please try "
            "again later.",
        ),
        "https://github.com/theopenco/llmgateway/pull/3616",
    ),
    "500 overloaded": (
        C.OVERLOADED,
        500,
        {"error": {"code": 500, "message": "The model is overloaded. Please try again later."}},
        "made: the text alone",
    ),
    "500 demand": (
        C.OVERLOADED,
        500,
        {"error": {"code": 500, "message": "This model is currently experiencing high demand."}},
        "made: the text alone",
    ),
    "503 of the front end": (
        C.SERVER_ERROR,
        503,
        b"<html><title>Error 503 (Service Unavailable)!!1</title>",
        "made: the page of a front end",
    ),
    "500": (
        C.SERVER_ERROR,
        500,
        error(
            500,
            "INTERNAL",
            "An internal error has occurred. Please retry or report in "
            "https://developers.generativeai.google/guide/troubleshooting",
        ),
        KNOWN,
    ),
    "504": (
        C.SERVER_ERROR,
        504,
        error(504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
        KNOWN,
    ),
    "499": (C.SERVER_ERROR, 499, error(499, "CANCELLED", "The operation was cancelled."), "google/rpc/code.proto"),
    "409": (C.SERVER_ERROR, 409, error(409, "ABORTED", "The operation was aborted."), "google/rpc/code.proto"),
    "501": (C.SERVER_ERROR, 501, error(501, "UNIMPLEMENTED", "not implemented"), "google/rpc/code.proto"),
    "302 to a sign-in": (C.PROTOCOL, 302, b"", "made"),
}
