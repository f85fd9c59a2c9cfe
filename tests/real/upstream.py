"""What tests of servers of others ask, and how they look at the answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from trunkline import failure_of, read_stream_aio
from trunkline.v1 import ROLE_USER, CompleteRequest, FailureClass, FunctionTool, Message, Part, Tool

if TYPE_CHECKING:
    from trunkline import Answer
    from trunkline.v1 import CompleteResponse, CompletionServiceAsyncStub

READY_S = 60.0
"""How long a program may take until it serves."""

STOP_S = 10.0
"""How long a program may take to end before it is killed."""

CALL_S = 60.0
"""The deadline of each call."""

WEATHER = Tool(
    function=FunctionTool(
        name="get_weather",
        description="the weather of a city",
        parameters_json_schema='{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}',
    )
)


def ask(model: str, text: str, **fields: Any) -> CompleteRequest:
    """Return a request with one message of the user."""
    return CompleteRequest(model=model, messages=[Message(role=ROLE_USER, parts=[Part(text=text)])], **fields)


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a call ended: its status, its reason, and what is told of the upstream."""

    status: str
    reason: str
    failure_class: str
    http_status: int


@dataclass(slots=True)
class Gateway:
    """A client of a running server."""

    stub: CompletionServiceAsyncStub

    async def complete(self, request: CompleteRequest) -> CompleteResponse:
        """Return a whole answer."""
        return await self.stub.Complete(request, timeout=CALL_S)

    async def streamed(self, request: CompleteRequest) -> tuple[Answer, int]:
        """Return what a stream adds up to, proved whole, and the number of events that it came in."""
        events = 0
        async with read_stream_aio(self.stub.StreamComplete(request, timeout=CALL_S)) as stream:
            async for _ in stream:
                events += 1
            return await stream.answer(), events

    async def refused(self, request: CompleteRequest) -> Refusal:
        """Return how a call ends that must not end well."""
        try:
            await self.complete(request)
        except grpc.aio.AioRpcError as error:
            failure = failure_of(error)
            route = failure.route_failure
            assert route is not None, failure
            name = FailureClass.Name(route.failure_class).removeprefix("FAILURE_CLASS_")
            return Refusal(failure.code.name, failure.reason, name, route.last_upstream_http_status)
        raise AssertionError("the call ended well")


def texts(message: Message) -> str:
    """Return the text of a message."""
    return "".join(part.text for part in message.parts)


def thinking(message: Message) -> str:
    """Return the reasoning of a message."""
    return "".join(part.thinking.text for part in message.parts)
