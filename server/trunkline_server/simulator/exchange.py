"""OpenAI's endpoints: from a request to a played answer."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING

import msgspec

from trunkline_server.simulator.delays import draw_delay_s
from trunkline_server.simulator.errors import ScenarioError
from trunkline_server.simulator.openai import wire
from trunkline_server.simulator.openai.answer import make_answer, prompt_tokens
from trunkline_server.simulator.openai.checks import RequestRefusedError
from trunkline_server.simulator.openai.errors import ERRORS, JSON_TYPE, ErrorBody, error_answer
from trunkline_server.simulator.openai.player import Player
from trunkline_server.simulator.openai.request import read_request
from trunkline_server.simulator.output import Output, Written, head
from trunkline_server.simulator.scenario import Fault, parse_fault_header

if TYPE_CHECKING:
    from aiohttp import web

    from trunkline_server.simulator.capacity import OverCapacity
    from trunkline_server.simulator.openai.answer import Answer
    from trunkline_server.simulator.openai.request import ChatRequest
    from trunkline_server.simulator.state import State
    from trunkline_server.simulator.stats import RecordedRequest

CHAT_PATH = "/v1/chat/completions"
MODELS_PATH = "/v1/models"
STREAM_TYPE = "text/event-stream; charset=utf-8"
DEFAULT_MODELS = ("gpt-4o", "gpt-4o-mini")
"""Told by `GET /v1/models` when the scenario knows no models of its own."""

_NO_FAULT = Fault()


class Refusal(msgspec.Struct, frozen=True):
    """An answer that is no completion: status, body, and the headers that go with it."""

    status: int
    body: bytes
    content_type: str = JSON_TYPE
    headers: tuple[tuple[str, str], ...] = ()


class Exchange:
    """One request of one client, from its head to the last byte of its answer."""

    def __init__(self, state: State, request: web.BaseRequest, record: RecordedRequest) -> None:
        self._state = state
        self._request = request
        self._record = record
        self._headers: list[tuple[str, str]] = [
            ("x-request-id", f"req_sim_{record.number:016x}"),
            ("openai-version", "2020-10-01"),
            ("openai-organization", "org-sim"),
        ]
        self.broken = False

    async def answer(self, body: bytes) -> Written:
        """Answer the request and return what aiohttp is to do with the connection."""
        path, method = self._request.path, self._request.method
        refused = self._identify()
        if refused is None:
            if path == CHAT_PATH and method == "POST":
                return await self._chat(body)
            refused = self._other(path, method)
        return await self._refuse(refused, _NO_FAULT)

    def _identify(self) -> Refusal | None:
        kind, _, key = self._request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not key:
            return _named("missing_api_key", "")
        self._state.stats.identified(self._record, key=key)
        accepted = self._state.scenario.accept_keys
        return _named("invalid_api_key", "") if accepted is not None and key not in accepted else None

    def _other(self, path: str, method: str) -> Refusal:
        models = self._state.scenario.known_models or DEFAULT_MODELS
        told = [{"id": model, "object": "model", "created": 1_700_000_000, "owned_by": "simulator"} for model in models]
        if path == CHAT_PATH or (path.startswith(MODELS_PATH) and method != "GET"):
            message = f"Not allowed to {method} on {path}. (HINT: Perhaps you meant to use a different HTTP method?)"
            return Refusal(405, ErrorBody(message, code="method_not_supported").encoded())
        if path == MODELS_PATH:
            return Refusal(200, msgspec.json.encode({"object": "list", "data": told}))
        if path.startswith(f"{MODELS_PATH}/"):
            name = path.removeprefix(f"{MODELS_PATH}/")
            found = next((model for model in told if model["id"] == name), None)
            return Refusal(200, msgspec.json.encode(found)) if found else _named("model_not_found", name)
        return Refusal(404, ErrorBody(f"Invalid URL ({method} {path})").encoded())

    async def _chat(self, body: bytes) -> Written:
        state, record = self._state, self._record
        try:
            chat = read_request(body, strict=state.scenario.strict_parameters)
            own_text = self._request.headers.get("x-sim-fault")
            own = None if own_text is None else parse_fault_header(own_text)
        except RequestRefusedError as failure:
            return await self._refuse(Refusal(400, failure.body.encoded()), _NO_FAULT)
        except ScenarioError as failure:
            return await self._refuse(Refusal(400, ErrorBody(str(failure), code="x_sim_fault").encoded()), _NO_FAULT)
        state.stats.identified(record, model=chat.model)
        known = state.scenario.known_models
        if known is not None and chat.model not in known:
            return await self._refuse(_named("model_not_found", chat.model), _NO_FAULT)
        fault = state.rules.behaviour(record.key, chat.model, stream=bool(chat.stream), own=own)
        if fault.first_byte_s is not None:
            await asyncio.sleep(draw_delay_s(fault.first_byte_s, state.random))
        prompt = prompt_tokens(chat)
        if (refused := _asked_refusal(fault, chat, prompt)) is not None:
            return await self._refuse(refused, fault)
        return await self._within_capacity(chat, fault, prompt)

    async def _within_capacity(self, chat: ChatRequest, fault: Fault, prompt: int) -> Written:
        state = self._state
        prefill = chat.model in state.scenario.prefill_models
        answer = make_answer(chat, fault, prompt, self._record.number, prefill=prefill)
        self._record.went_on_after_bytes = answer.went_on_after_bytes
        limits = state.limits(self._record.key)
        if limits is None:
            return await self._play(chat, fault, answer)
        now_s = time.monotonic()
        over = limits.admit(prompt + (chat.most_tokens() or answer.completion_tokens), now_s)
        self._headers += limits.headers(now_s)
        if over is not None:
            return await self._refuse(_over_capacity(over, chat.model), fault, over.wait_s)
        try:
            return await self._play(chat, fault, answer)
        finally:
            limits.leave()

    async def _play(self, chat: ChatRequest, fault: Fault, answer: Answer) -> Written:
        record = self._record
        stream = bool(chat.stream)
        envelope = wire.Envelope(
            id=f"chatcmpl-sim-{record.number:08d}",
            created=int(time.time()),
            model=chat.model,
            logprobs=(chat.top_logprobs or 0) if chat.logprobs else None,
            include_usage=bool(chat.stream_options and chat.stream_options.include_usage),
        )
        output = Output(self._request, body_budget=fault.cut_after_bytes if stream else None)
        headers = self._all_headers(fault, STREAM_TYPE if stream else JSON_TYPE, output)
        player = Player(output, fault, self._state.stats, record, self._state.random)
        try:
            if stream:
                return await player.stream(wire.StreamEvents(answer, envelope), answer, headers)
            reason = None if fault.no_finish_reason else answer.finish_reason
            return await player.unary(wire.unary_body(answer, envelope, finish_reason=reason), headers)
        finally:
            self.broken = player.broken

    async def _refuse(self, refusal: Refusal, fault: Fault, wait_s: float | None = None) -> Written:
        """Write a whole answer that is no completion; `wait_s` is told as retry-after unless the fault has its own."""
        output = Output(self._request)
        headers = self._all_headers(fault, refusal.content_type, output)
        headers += refusal.headers
        if (retry_s := fault.retry_after_s if fault.retry_after_s is not None else wait_s) is not None:
            headers += (("retry-after", str(math.ceil(retry_s))), ("retry-after-ms", str(math.ceil(retry_s * 1000))))
        headers.append(("content-length", str(len(refusal.body))))
        self._state.stats.answered(self._record, refusal.status)
        output.write(head(refusal.status, headers) + refusal.body)
        await output.drain()
        return output.finished()

    def _all_headers(self, fault: Fault, content_type: str, output: Output) -> list[tuple[str, str]]:
        headers = [("content-type", content_type), *self._headers]
        if output.connection is not None:
            headers.append(("connection", output.connection))
        if fault.headers:
            own = {name.lower() for name in fault.headers}
            headers = [entry for entry in headers if entry[0] not in own] + list(fault.headers.items())
        return headers


def _named(error: str, model: str) -> Refusal:
    return Refusal(ERRORS[error].status, *ERRORS[error].encoded(model))


def _asked_refusal(fault: Fault, chat: ChatRequest, prompt: int) -> Refusal | None:
    """Return the refusal that the fault asks for, or that its context window makes necessary."""
    if fault.body is not None:
        return Refusal(fault.status or 200, fault.body.encode(), fault.content_type or JSON_TYPE)
    failing = fault.error is not None and fault.error_after_chunks is None
    if (fault.status or 200) != 200 or (failing and fault.status is None):  # noqa: PLR2004 - OK
        error = fault.error if failing else None
        return Refusal(*error_answer(fault.status, error, chat.model))
    if fault.context_tokens is not None and prompt > fault.context_tokens:
        message = (
            f"This model's maximum context length is {fault.context_tokens} tokens. However, your messages resulted in "
            f"{prompt} tokens. Please reduce the length of the messages."
        )
        return Refusal(400, ErrorBody(message, param="messages", code="context_length_exceeded").encoded())
    return None


def _over_capacity(over: OverCapacity, model: str) -> Refusal:
    unit = {"requests": "requests per min (RPM)", "tokens": "tokens per min (TPM)"}.get(
        over.kind, "concurrent requests"
    )
    wait = f"{over.wait_s:.3f}".rstrip("0").rstrip(".") + "s"
    message = (
        f"Rate limit reached for {model} in organization org-sim on {unit}: Limit {over.limit}, Used {over.used}, "
        f"Requested {over.requested}. Please try again in {wait}. "
        "Visit https://platform.openai.com/account/rate-limits to learn more."
    )
    kind = "tokens" if over.kind == "tokens" else "requests"
    return Refusal(429, ErrorBody(message, kind, code="rate_limit_exceeded").encoded())
