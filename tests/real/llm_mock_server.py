"""Serves `llm_mock_api` on a free port with the answers that the tests ask for; prints its URL when it serves.

A child process runs this file by its path: the package brings a web framework that has no business in the tests' own.
"""

from __future__ import annotations

import asyncio
from typing import Any

from llm_mock_api import (  # type: ignore[import-untyped]  # ships no types
    ErrorReply,
    MockServer,
    MockServerOptions,
    ReplyObject,
    ToolCall,
)


def _has_result(request: Any) -> bool:
    """Return whether the request brings what the tool said of the weather, and says to which call it belongs."""
    last = request.messages[-1]
    return bool(request.last_tool_call_id) and "sunny" in last.content


async def main() -> None:
    """Serve until the process is ended."""
    server = MockServer(MockServerOptions(default_latency=1, default_chunk_size=4))
    server.when(_has_result).reply("It is sunny in Paris.")
    server.when("weather").reply(ReplyObject(tools=[ToolCall(name="get_weather", args={"city": "Paris"})]))
    server.when("think").reply(ReplyObject(text="42", reasoning="six times seven"))
    for status, kind in ((400, "invalid_request_error"), (401, "authentication_error"), (429, "rate_limit_error")):
        server.when(f"fail {status}").reply(ReplyObject(error=ErrorReply(status, "as asked for", kind)))
    server.when("fail 500").reply(ReplyObject(error=ErrorReply(500, "as asked for")))
    server.fallback("Hello from somebody else.")
    async with server:
        print(server.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
