"""Amazon Bedrock's Converse protocol: one API for the models of many makers."""

from trunkline_server.providers.bedrock.adapter import BedrockAdapter
from trunkline_server.providers.bedrock.stream import BedrockStreamDecoder

__all__ = ["BedrockAdapter", "BedrockStreamDecoder"]
