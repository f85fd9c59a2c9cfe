"""Google's Gemini API, and Vertex AI, which speaks it at other paths."""
