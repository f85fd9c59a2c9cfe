"""The Trunkline server: a gRPC routing service in front of LLM providers."""
