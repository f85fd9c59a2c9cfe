"""Google's token endpoint: secrets in, access tokens out."""
