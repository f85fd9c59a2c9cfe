"""Cohere's v2 API, spoken by the simulator: chat, its stream, and embeddings."""
