"""Azure OpenAI, and the token endpoint of Entra ID: OpenAI's jobs at deployments, with Azure's words around them."""
