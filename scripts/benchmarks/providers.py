"""What a piece of a streamed answer costs in each adapter: bytes as the vendor sends them, to deltas."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from trunkline_server.chat.answer import TextDelta
from trunkline_server.chat.message import Message, Role, TextPart
from trunkline_server.chat.request import ChatRequest
from trunkline_server.compile import ADAPTERS, CREDENTIALS, WIRES
from trunkline_server.providers.base import Adapter, AdapterTerms, WireCall
from trunkline_server.providers.credentials.base import Signer, StaticHeaders
from trunkline_server.providers.transport.base import Transport, UpstreamRequest
from trunkline_server.providers.transport.choose import make_transport
from trunkline_server.simulator.bedrock.sigv4 import SECRET
from trunkline_server.simulator.dialects import DIALECTS
from trunkline_server.simulator.server import Simulator

CHUNKS: Final = 400
BAR: Final = 1.5
"""What a chunk may cost at most, in chunks of the OpenAI adapter."""
ROUNDS: Final = (9, 5, 1)
"""Full, quick, smallest."""
REPEATS: Final = 20
"""Streams decoded in one measurement."""
_REQUEST: Final = ChatRequest("bench", (Message(Role.USER, (TextPart("Say something long."),)),), "bench")
_SCENARIO: Final = {"default": {"chunks": CHUNKS, "chunk_text": "token "}}


@dataclass(frozen=True, slots=True)
class Subject:
    """One adapter with a stream for it."""

    name: str
    adapter: Adapter
    events: tuple[bytes, ...]
    """Each in the bytes that a vendor flushes at once."""


@dataclass(frozen=True, slots=True)
class _Spoken:
    """A wire as the simulator speaks it."""

    name: str
    protocol: str
    model: str
    secret: str
    dialect: str = ""
    path: str = ""
    adapter: Callable[[AdapterTerms], Adapter] | None = None
    region: str | None = None

    def terms(self, root_url: str) -> AdapterTerms:
        base = DIALECTS[self.dialect or self.protocol].base_path + self.path
        return AdapterTerms(self.name, root_url + base, region=self.region)


SPOKEN: Final = (
    _Spoken("openai", "openai", "gpt-4o", "sk-sim"),
    _Spoken("openai responses", "openai", "gpt-5-pro", "sk-sim", adapter=WIRES["openai", "responses"]),
    _Spoken("azure_openai", "azure_openai", "gpt-4o", "azure-sim"),
    _Spoken("anthropic", "anthropic", "claude-haiku-4-5", "sk-ant-sim"),
    _Spoken("gemini", "gemini", "gemini-2.5-flash", "AIza-sim"),
    _Spoken("bedrock", "bedrock", "amazon.nova-lite-v1:0", f"AKIASIM:{SECRET}", region="us-east-1"),
    _Spoken("cohere", "cohere", "command-a-03-2025", "co-sim"),
)


async def subjects() -> list[Subject]:
    """Return every adapter with a stream that the simulator sent it. Raises ValueError if one does not arrive whole."""
    transport = make_transport("aiohttp")
    try:
        async with Simulator(_SCENARIO) as simulator:
            return [await _subject(spoken, simulator.root_url, transport) for spoken in SPOKEN]
    finally:
        await transport.aclose()


async def _subject(spoken: _Spoken, root_url: str, transport: Transport) -> Subject:
    terms = spoken.terms(root_url)
    adapter = (spoken.adapter or ADAPTERS[spoken.protocol])(terms)
    call = adapter.encode(_REQUEST, spoken.name, spoken.model, stream=True)
    request = await _authorized(spoken, terms, call, transport)
    response = await transport.send(request, connect_timeout_s=5)
    body = await response.read(16 * 1024 * 1024)
    binary = "eventstream" in response.headers.get("content-type", "")
    events = tuple(_frames(body) if binary else _blocks(body))
    text = sum(len(delta.text) for delta in _decoded(adapter, events) if isinstance(delta, TextDelta))
    if text != CHUNKS * len("token "):
        raise ValueError(f"{spoken.name}: HTTP {response.status}, {text} characters: {body[:300]!r}")
    return Subject(spoken.name, adapter, events)


async def _authorized(spoken: _Spoken, terms: AdapterTerms, call: WireCall, transport: Transport) -> UpstreamRequest:
    credential = CREDENTIALS[spoken.protocol](spoken.secret, terms)
    own = credential.headers if isinstance(credential, StaticHeaders) else {}
    request = UpstreamRequest(terms.base_url + call.path, {**call.headers, **own}, call.body)
    if isinstance(credential, StaticHeaders):
        return request
    signer: Signer = credential
    return await signer.sign(request, transport)


def _blocks(body: bytes) -> Iterator[bytes]:
    """Yield the events of server-sent events, each with its blank line."""
    end = b"\r\n\r\n" if b"\r\n\r\n" in body else b"\n\n"
    yield from (block + end for block in body.split(end) if block.strip())


def _frames(body: bytes) -> Iterator[bytes]:
    """Yield the frames of AWS's event stream, whose first four bytes are their length."""
    at = 0
    while at < len(body):
        size = int.from_bytes(body[at : at + 4])
        yield body[at : at + size]
        at += size


def _decoded(adapter: Adapter, events: Sequence[bytes]) -> list[object]:
    decoder = adapter.stream_decoder(_REQUEST)
    deltas: list[object] = []
    for event in events:
        deltas += decoder.feed(event)
    deltas += decoder.close()
    return deltas


def measure(found: Sequence[Subject], rounds: int) -> dict[str, list[float]]:
    """Return the CPU microseconds of a chunk, by adapter, a figure a round; all adapters in turns."""
    figures: dict[str, list[float]] = {subject.name: [] for subject in found}
    for _ in range(rounds):
        for subject in found:
            began_s = time.process_time()
            for _ in range(REPEATS):
                _decoded(subject.adapter, subject.events)
            figures[subject.name].append((time.process_time() - began_s) / (REPEATS * CHUNKS) * 1e6)
    return figures


def measure_providers(level: int) -> dict[str, Any]:
    """Measure and print every adapter; `level`: 0 full, 1 quick, 2 smallest."""
    figures = measure(asyncio.run(subjects()), ROUNDS[level])
    reference = figures[SPOKEN[0].name]
    print(f"\na chunk of a stream in each adapter (CPU µs, median of {len(reference)}), bar {BAR} x openai")
    ratios = {}
    for name, values in figures.items():
        # Side by side in each round: the machine's speed falls out of the ratio.
        ratios[name] = statistics.median(value / base for value, base in zip(values, reference, strict=True))
        print(f"{name:<20}{statistics.median(values):>8.2f}   {ratios[name]:.2f} x")
    return {"chunk_us": figures, "chunk_ratio": ratios}
