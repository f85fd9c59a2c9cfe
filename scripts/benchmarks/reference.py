"""A bare grpc.aio server, as an ordinary service is written: generated servicer, generated messages, nothing around.

    python -m scripts.benchmarks.reference echo
    python -m scripts.benchmarks.reference CLIENT --upstream http://HOST:PORT/v1 [--merged]

`echo` answers by itself; with a client it makes one upstream call for each of its own. Prints `ready listen=…`.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from typing import TYPE_CHECKING, Any

import grpc
import msgspec
from scripts.benchmarks.clients import CLIENTS, open_client
from scripts.benchmarks.workload import ANSWER, CHUNK_GAP_S, CHUNK_TEXT, CHUNKS, PACED

from trunkline.v1 import (
    FINISH_REASON_STOP,
    ROLE_ASSISTANT,
    CompleteRequest,
    CompleteResponse,
    CompletionServiceServicer,
    Delta,
    Deltas,
    End,
    Message,
    Part,
    StreamFrame,
    Usage,
    add_CompletionServiceServicer_to_server,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scripts.benchmarks.clients import Client

_ROLES = {ROLE_ASSISTANT: "assistant"}


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message = msgspec.field(default_factory=_Message)
    delta: _Message = msgspec.field(default_factory=_Message)


class _Answer(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


_decode = msgspec.json.Decoder(_Answer).decode


def _body(request: CompleteRequest, *, stream: bool) -> bytes:
    messages = [
        {"role": _ROLES.get(message.role, "user"), "content": "".join(part.text for part in message.parts)}
        for message in request.messages
    ]
    body: dict[str, Any] = {"model": request.model, "messages": messages}
    if stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    return msgspec.json.encode(body)


def _response(request: CompleteRequest, text: str, usage: _Usage) -> CompleteResponse:
    return CompleteResponse(
        request_id=request.request_id,
        message=Message(role=ROLE_ASSISTANT, parts=[Part(text=text)]),
        finish_reason=FINISH_REASON_STOP,
        usage=Usage(input_tokens=usage.prompt_tokens, output_tokens=usage.completion_tokens),
    )


def _content(seq: int, offset: int, text: str) -> StreamFrame:
    return StreamFrame(seq=seq, attempt=1, deltas=Deltas(items=[Delta(part=0, offset=offset, text=text)]))


def _end(seq: int) -> StreamFrame:
    return StreamFrame(seq=seq, end=End(outcome=End.OUTCOME_COMPLETE, finish_reason=FINISH_REASON_STOP))


class Echo(CompletionServiceServicer):
    """Answers by itself: what grpc.aio and protobuf cost alone."""

    async def Complete(self, request: CompleteRequest, _: object) -> CompleteResponse:  # noqa: N802  the RPC's name
        """Return one answer."""
        return _response(request, ANSWER, _Usage(5, 40))

    async def StreamComplete(self, request: CompleteRequest, _: object) -> AsyncIterator[StreamFrame]:  # noqa: N802  the RPC's name
        """Yield as many frames as the upstream would send chunks, at the same pace."""
        gap_s = CHUNK_GAP_S if request.model == PACED else 0.0
        for index in range(CHUNKS):
            if gap_s:
                await asyncio.sleep(gap_s)
            yield _content(index + 1, index * len(CHUNK_TEXT), CHUNK_TEXT)
        yield _end(CHUNKS + 1)


class Forward(CompletionServiceServicer):
    """Makes one upstream call for each of its own."""

    def __init__(self, client: Client, upstream: str, *, merged: bool) -> None:
        self._client = client
        self._url = f"{upstream}/chat/completions"
        self._merged = merged

    async def Complete(self, request: CompleteRequest, _: object) -> CompleteResponse:  # noqa: N802  the RPC's name
        """Return the upstream's answer."""
        answer = _decode(await self._client.ask(self._url, _body(request, stream=False)))
        return _response(request, answer.choices[0].message.content or "", answer.usage or _Usage(0, 0))

    async def StreamComplete(self, request: CompleteRequest, _: object) -> AsyncIterator[StreamFrame]:  # noqa: N802  the RPC's name
        """Yield a frame for each chunk; merged: one for all chunks that one read brought."""
        seq = offset = 0
        async for texts in self._texts(_body(request, stream=True)):
            for text in ["".join(texts)] if self._merged else texts:
                seq += 1
                yield _content(seq, offset, text)
                offset += len(text)
        yield _end(seq + 1)

    async def _texts(self, body: bytes) -> AsyncIterator[list[str]]:
        pending = b""
        async for piece in self._client.stream(self._url, body):
            *events, pending = (pending + piece).split(b"\n\n")
            texts = [text for event in events if (text := _text(event))]
            if texts:
                yield texts


def _text(event: bytes) -> str:
    data = event.removeprefix(b"data: ")
    if data == b"[DONE]":
        return ""
    choices = _decode(data).choices
    return (choices[0].delta.content or "") if choices else ""


async def serve(name: str, upstream: str, *, merged: bool) -> None:
    """Serve until SIGTERM or SIGINT."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    if name == "echo":
        await _serve(Echo(), ended)  # type: ignore[abstract]  # the base answers the other RPCs
        return
    async with open_client(name) as client:
        servicer = Forward(client, upstream, merged=merged)  # type: ignore[abstract]  # likewise
        await _serve(servicer, ended)


async def _serve(servicer: CompletionServiceServicer, ended: asyncio.Event) -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    add_CompletionServiceServicer_to_server(servicer, server)  # type: ignore[no-untyped-call,unused-ignore]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"ready listen=127.0.0.1:{port}", flush=True)
    await ended.wait()
    await server.stop(None)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=["echo", *CLIENTS])
    parser.add_argument("--upstream", default="")
    parser.add_argument("--merged", action="store_true")
    chosen = parser.parse_args()
    asyncio.run(serve(chosen.name, chosen.upstream, merged=chosen.merged))
