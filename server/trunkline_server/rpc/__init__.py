"""The gRPC side: it turns messages into calls and results into messages, and decides nothing."""
