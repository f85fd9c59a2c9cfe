"""Google's Gemini protocol, `generateContent`: of the Gemini API, and of Vertex AI, which speaks it at other URLs."""

from trunkline_server.providers.gemini.adapter import GeminiAdapter
from trunkline_server.providers.gemini.embeddings import GeminiEmbeddings
from trunkline_server.providers.gemini.stream import GeminiStreamDecoder

__all__ = ["GeminiAdapter", "GeminiEmbeddings", "GeminiStreamDecoder"]
