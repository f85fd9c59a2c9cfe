"""The OpenAI chat-completions protocol: OpenAI itself and the many servers that speak it."""

from trunkline_server.providers.openai.adapter import OpenAIAdapter
from trunkline_server.providers.openai.limits import read_limits
from trunkline_server.providers.openai.stream import OpenAIStreamDecoder

__all__ = ["OpenAIAdapter", "OpenAIStreamDecoder", "read_limits"]
