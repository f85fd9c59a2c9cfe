"""The OpenAI chat-completions protocol, as its server side speaks it."""
