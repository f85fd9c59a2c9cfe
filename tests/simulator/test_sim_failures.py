"""Failures on demand, as the official client sees them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import openai
import pytest
from openai import APIConnectionError, APIError, APIStatusError, AsyncOpenAI

from trunkline_server.simulator.openai.errors import ERRORS

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam

    from trunkline_server.simulator.server import Simulator

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "one two three"}]
EXCEPTIONS: dict[int, type[APIStatusError]] = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    402: openai.APIStatusError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    408: openai.APIStatusError,
    409: openai.ConflictError,
    413: openai.APIStatusError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
}


async def _ask(client: AsyncOpenAI, fault: str) -> str | None:
    answer = await client.chat.completions.create(model="m", messages=HELLO, extra_headers={"x-sim-fault": fault})
    return answer.choices[0].message.content


async def _stream(client: AsyncOpenAI, fault: str, got: list[str]) -> None:
    stream = await client.chat.completions.create(
        model="m", messages=HELLO, stream=True, extra_headers={"x-sim-fault": fault}
    )
    async for chunk in stream:
        got.extend(choice.delta.content for choice in chunk.choices if choice.delta.content)


@pytest.mark.parametrize("error", sorted(ERRORS))
async def test_every_named_error_raises_its_exception(client: AsyncOpenAI, error: str) -> None:
    """Each named error has its status, the code of its body, and the official client's exception for it."""
    kind = ERRORS[error]
    with pytest.raises(EXCEPTIONS.get(kind.status, openai.InternalServerError)) as failed:
        await _ask(client, f"error={error}")
    assert failed.value.status_code == kind.status
    assert failed.value.code == (None if kind.html else kind.body.code)
    if kind.html:
        assert failed.value.response.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 429, 500, 502, 503, 504, 529, 418])
@pytest.mark.parametrize("stream", [False, True])
async def test_bare_status_is_answered(simulator: Simulator, client: AsyncOpenAI, status: int, *, stream: bool) -> None:
    """A bare status is answered to streams and unary calls alike, and counted."""
    with pytest.raises(APIStatusError) as failed:
        await client.chat.completions.create(
            model="m", messages=HELLO, stream=stream, extra_headers={"x-sim-fault": f"status={status}"}
        )
    assert failed.value.status_code == status
    assert simulator.stats.by_status == {status: 1}


async def test_retry_after_is_told_in_seconds_and_milliseconds(client: AsyncOpenAI) -> None:
    """`retry_after_s` becomes whole seconds, rounded up, and exact milliseconds."""
    with pytest.raises(openai.RateLimitError) as failed:
        await _ask(client, "status=429, retry_after_s=1.2")
    headers = failed.value.response.headers
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("2", "1200")


async def test_own_body_and_headers_replace_ours(client: AsyncOpenAI) -> None:
    """`body`, `content_type` and `headers` go out as they were given."""
    with pytest.raises(APIStatusError) as failed:
        await _ask(client, '{"status": 307, "body": "x", "content_type": "text/plain", "headers": {"x-Own": "1"}}')
    response = failed.value.response
    assert (response.status_code, response.text, response.headers["x-own"]) == (307, "x", "1")
    assert response.headers["content-type"] == "text/plain"


@pytest.mark.parametrize(
    "fault",
    [
        "reset_after_chunks=0",
        "reset_after_chunks=1",
        "cut_after_chunks=0",
        "cut_after_chunks=1",
        "cut_after_bytes=0",
        "cut_after_bytes=50",
        "cut_after_bytes=50, framing=chunked",
    ],
)
async def test_unary_breaks_are_connection_errors(simulator: Simulator, client: AsyncOpenAI, fault: str) -> None:
    """A reset, a closed connection and half a body are connection errors, and count as broken, not as cancelled."""
    with pytest.raises(APIConnectionError):
        await _ask(client, fault)
    await simulator.until(lambda stats: stats.in_flight == 0)
    assert (simulator.stats.broken, simulator.stats.cancelled) == (1, 0)


async def test_reset_and_close_differ(client: AsyncOpenAI) -> None:
    """A reset is a read error, a close without an answer a protocol error."""
    with pytest.raises(APIConnectionError) as reset:
        await _ask(client, "reset_after_chunks=0")
    assert isinstance(reset.value.__cause__, httpx.ReadError)
    with pytest.raises(APIConnectionError) as closed:
        await _ask(client, "cut_after_chunks=0")
    assert isinstance(closed.value.__cause__, httpx.RemoteProtocolError)


@pytest.mark.parametrize("kind", ["reset", "cut", "error", "malformed"])
@pytest.mark.parametrize("after", [1, 2, 4])
@pytest.mark.parametrize("segment", ["", ", same_segment"])
async def test_stream_breaks_after_its_chunks(
    simulator: Simulator, client: AsyncOpenAI, kind: str, after: int, segment: str
) -> None:
    """A stream delivers exactly n chunks before its break, in the same write or in one of its own."""
    got: list[str] = []
    expected = {"reset": httpx.ReadError, "cut": httpx.RemoteProtocolError, "error": APIError, "malformed": ValueError}
    with pytest.raises(expected[kind]):
        await _stream(client, f"chunks=4, chunk_text=ab, {kind}_after_chunks={after}{segment}", got)
    assert got == ["ab"] * after
    await simulator.until(lambda stats: stats.in_flight == 0)
    assert simulator.stats.last_requests[-1].status == 200


async def test_error_event_can_be_first(client: AsyncOpenAI) -> None:
    """With n = 0 the error is the first event of the stream."""
    got: list[str] = []
    with pytest.raises(APIError, match="current quota"):
        await _stream(client, "error_after_chunks=0, error=insufficient_quota", got)
    assert got == []


async def test_missing_terminal_signs_are_separate(client: AsyncOpenAI, simulator: Simulator) -> None:
    """`no_finish_reason` and `no_done` leave out one sign each."""
    async with httpx.AsyncClient() as http:
        seen = {}
        for fault in ("", "no_finish_reason", "no_done", "no_done,no_finish_reason"):
            answer = await http.post(
                f"{simulator.base_url}/chat/completions",
                json={"model": "m", "messages": HELLO, "stream": True},
                headers={"authorization": "Bearer k", "x-sim-fault": fault},
            )
            seen[fault] = ('"finish_reason":"stop"' in answer.text, "[DONE]" in answer.text)
    assert seen == {
        "": (True, True),
        "no_finish_reason": (False, True),
        "no_done": (True, False),
        "no_done,no_finish_reason": (False, False),
    }
    assert await _ask(client, "no_done") is not None


async def test_empty_answers(client: AsyncOpenAI) -> None:
    """`empty` answers 200 without text, or without choices."""
    assert await _ask(client, "empty=content") == ""
    answer = await client.chat.completions.create(
        model="m", messages=HELLO, extra_headers={"x-sim-fault": "empty=choices"}
    )
    assert answer.choices == []


async def test_heartbeats_are_no_events(client: AsyncOpenAI, simulator: Simulator) -> None:
    """Comment lines come between chunks and during a stall, and the client sees only the chunks."""
    fault = "chunks=3, chunk_text=x, heartbeat_s=0.01, stall_after_chunks=1, stall_s=0.05"
    got: list[str] = []
    await _stream(client, fault, got)
    assert got == ["x", "x", "x"]
    async with httpx.AsyncClient() as http:
        answer = await http.post(
            f"{simulator.base_url}/chat/completions",
            json={"model": "m", "messages": HELLO, "stream": True},
            headers={"authorization": "Bearer k", "x-sim-fault": fault},
        )
    assert answer.text.count(": ping\n\n") >= 4


async def test_stall_without_end_lasts_until_the_client_goes(simulator: Simulator, client: AsyncOpenAI) -> None:
    """A stall without `stall_s` is silent until the client gives up, which is counted as a cancellation."""
    got: list[str] = []
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await _stream(client, "stall_after_chunks=2", got)
    await simulator.until(lambda stats: stats.cancelled == 1)
    assert len(got) == 2
    assert simulator.stats.cancels[0].chunks_sent == 2


async def test_pace_is_kept(client: AsyncOpenAI) -> None:
    """First byte and gaps take at least the time they were given."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    got: list[str] = []
    await _stream(client, "first_byte_s=0.05, chunk_gap_s=0.01, chunks=4", got)
    assert loop.time() - began_s >= 0.079


async def test_refused_connections_come_back_on_the_same_port(simulator: Simulator, client: AsyncOpenAI) -> None:
    """While it refuses, nobody can connect, not even over a kept connection; afterwards the same port serves again."""
    assert await _ask(client, "") is not None
    port = simulator.port
    await simulator.refuse()
    for _ in range(2):
        with pytest.raises(APIConnectionError) as failed:
            await _ask(client, "")
    assert isinstance(failed.value.__cause__, httpx.ConnectError)
    await simulator.refuse(on=False)
    assert simulator.port == port
    assert await _ask(client, "") is not None


async def test_missing_and_unknown_keys(simulator: Simulator, client: AsyncOpenAI) -> None:
    """Without a bearer token, or with one that the scenario does not accept, the answer is 401."""
    simulator.configure({"accept_keys": ["sk-other"], "known_models": ["m"]})
    with pytest.raises(openai.AuthenticationError) as failed:
        await _ask(client, "")
    assert failed.value.code == "invalid_api_key"
    async with httpx.AsyncClient() as http:
        assert (await http.get(f"{simulator.base_url}/models")).status_code == 401
    other = client.with_options(api_key="sk-other")
    with pytest.raises(openai.NotFoundError) as unknown:
        await other.chat.completions.create(model="zzz", messages=HELLO)
    assert unknown.value.code == "model_not_found"


async def test_context_window_refuses_long_prompts(simulator: Simulator, client: AsyncOpenAI) -> None:
    """A prompt above `context_tokens` is refused with OpenAI's code."""
    simulator.configure({"models": {"m": {"context_tokens": 20}}})
    assert await _ask(client, "") is not None
    with pytest.raises(openai.BadRequestError) as failed:
        await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "long " * 100}])
    assert failed.value.code == "context_length_exceeded"


async def test_wrong_fault_header_is_refused(client: AsyncOpenAI) -> None:
    """A fault that the simulator does not know is a 400 that names it, never ignored."""
    with pytest.raises(openai.BadRequestError, match="unknown field `nonsense`"):
        await _ask(client, "nonsense=1")


@pytest.mark.parametrize("fault", ["error_after_chunks=1", "malformed_after_chunks=1"])
async def test_same_segment_is_one_write(simulator: Simulator, fault: str) -> None:
    """With `same_segment` the response head, the first content and its fault arrive in one piece."""
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    body = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}'
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nX-Sim-Fault: %b, same_segment\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (fault.encode(), len(body), body)
    )
    first = await reader.read(65536)
    assert first.startswith(b"HTTP/1.1 200 OK")
    assert b'"content":"You "' in first
    assert (b'{"error":' if "error" in fault else b'"conte\n\n') in first
    writer.close()
    await writer.wait_closed()
