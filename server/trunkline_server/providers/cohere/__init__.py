"""Cohere's v2 protocol: chat and embeddings."""

from trunkline_server.providers.cohere.adapter import CohereAdapter
from trunkline_server.providers.cohere.stream import CohereStreamDecoder

__all__ = ["CohereAdapter", "CohereStreamDecoder"]
