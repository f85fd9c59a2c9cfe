"""The OpenAI Responses API: the second wire of `openai`, for models that chat completions do not serve."""

from trunkline_server.providers.openai_responses.adapter import ResponsesAdapter
from trunkline_server.providers.openai_responses.stream import ResponsesStreamDecoder

__all__ = ["ResponsesAdapter", "ResponsesStreamDecoder"]
