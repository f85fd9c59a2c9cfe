"""Azure OpenAI: OpenAI's two wires at deployments of one's own, with Azure's paths, versions, filters and errors."""

from trunkline_server.providers.azure_openai.adapter import AzureOpenAIAdapter, AzureResponsesAdapter

__all__ = ["AzureOpenAIAdapter", "AzureResponsesAdapter"]
