"""The Messages API: Anthropic itself, and servers that speak its protocol."""

from trunkline_server.providers.anthropic.adapter import AnthropicAdapter
from trunkline_server.providers.anthropic.stream import AnthropicStreamDecoder

__all__ = ["AnthropicAdapter", "AnthropicStreamDecoder"]
