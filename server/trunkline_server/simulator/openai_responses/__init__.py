"""OpenAI's Responses API, as the second of the jobs of OpenAI's dialect."""
