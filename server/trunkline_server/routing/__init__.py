"""The routing core: pure decisions.

It imports the standard library and itself, knows neither gRPC nor HTTP nor asyncio nor the wall clock, and never
waits: a clock and a seeded random source are handed in, and what is to be done is returned as data.
"""
