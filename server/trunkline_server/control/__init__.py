"""What operators do with a running server: change its routes, look at it, and take things out of service."""
