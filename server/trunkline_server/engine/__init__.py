"""The engine asks the routing core what to do, does it, and tells it what happened. It knows asyncio, not gRPC."""
