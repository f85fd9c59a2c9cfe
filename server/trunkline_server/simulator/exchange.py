"""One request's life: from its head to a played answer, in whatever dialect it is."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from trunkline_server.simulator.answer import make_answer
from trunkline_server.simulator.capacity import OverCapacity
from trunkline_server.simulator.delays import draw_delay_s
from trunkline_server.simulator.dialect import Mark, Received
from trunkline_server.simulator.dialects import dialect_of
from trunkline_server.simulator.errors import ScenarioError
from trunkline_server.simulator.failure import JSON_TYPE, RefusedError, Reply, Trouble, Wording
from trunkline_server.simulator.output import Output, Written, head
from trunkline_server.simulator.player import Player
from trunkline_server.simulator.scenario import Fault, parse_fault_header

if TYPE_CHECKING:
    from aiohttp import web

    from trunkline_server.simulator.answer import Answer
    from trunkline_server.simulator.dialect import Dialect, Headers, Job
    from trunkline_server.simulator.state import State
    from trunkline_server.simulator.stats import RecordedRequest

_NO_FAULT = Fault()


class Exchange:
    """One request of one client. `broken` tells afterwards whether a fault ended its answer early."""

    def __init__(self, state: State, request: web.BaseRequest, record: RecordedRequest, body: bytes) -> None:
        self._state = state
        self._request = request
        self._record = record
        self._received = Received(
            method=request.method,
            path=request.path,
            raw_path=request.raw_path,
            query=request.query,
            headers=request.headers,
            body=body,
        )
        self._dialect: Dialect = dialect_of(self._received)
        self._headers: Headers = self._dialect.headers(record.number)
        self.broken = False
        record.protocol = self._dialect.name

    async def answer(self) -> Written:
        """Answer the request and return what aiohttp is to do with the connection."""
        state, dialect = self._state, self._dialect
        try:
            key = dialect.key(self._received)
            state.stats.identified(self._record, key=key)
            if state.scenario.accept_keys is not None and key not in state.scenario.accept_keys:
                return await self._refuse(Trouble(name="invalid_api_key"), _NO_FAULT)
            job = dialect.read(self._received, state.scenario)
        except RefusedError as refused:
            return await self._tell(refused.reply, _NO_FAULT)
        if isinstance(job, Reply):
            return await self._tell(job, _NO_FAULT)
        own_text = self._request.headers.get("x-sim-fault")
        try:
            own = None if own_text is None else parse_fault_header(own_text)
        except ScenarioError as failure:
            return await self._refuse_fault(str(failure))
        return await self._do(job, own)

    async def _do(self, job: Job, own: Fault | None) -> Written:
        state, record, ask = self._state, self._record, job.ask
        state.stats.identified(record, model=ask.model)
        known = state.scenario.known_models
        if known is not None and ask.model not in known:
            return await self._refuse(Trouble(name="model_not_found", model=ask.model), _NO_FAULT)
        fault = state.rules.behaviour(record.key, ask.model, stream=ask.stream, own=own)
        if isinstance(fault.error, str) and fault.error not in self._dialect.errors:
            known_here = ", ".join(sorted(self._dialect.errors))
            return await self._refuse_fault(f"{self._dialect.name} has no error {fault.error!r}; it has {known_here}")
        if fault.first_byte_s is not None:
            await asyncio.sleep(draw_delay_s(fault.first_byte_s, state.random))
        if fault.body is not None:
            reply = Reply(fault.status or 200, fault.body.encode(), fault.content_type or JSON_TYPE)
            return await self._tell(reply, fault, fault.retry_after_s)
        if (trouble := _asked_trouble(fault, job)) is not None:
            return await self._refuse(trouble, fault)
        return await self._within_capacity(job, fault)

    async def _within_capacity(self, job: Job, fault: Fault) -> Written:
        state, ask = self._state, job.ask
        prefill = ask.model in state.scenario.prefill_models
        answer = make_answer(ask, fault, self._record.number, prefill=prefill)
        self._record.went_on_after_bytes = answer.went_on_after_bytes
        limits = state.limits(self._record.key)
        if limits is None:
            return await self._play(job, fault, answer)
        now_s = time.monotonic()
        over = limits.admit(answer.prompt_tokens + (ask.most_tokens or answer.completion_tokens), now_s)
        self._headers = self._headers + self._dialect.limit_headers(limits.readings(now_s))
        if over is not None:
            name = "tokens_rate_limit_exceeded" if over.kind == "tokens" else "rate_limit_exceeded"
            retry_s = over.wait_s if fault.retry_after_s is None else fault.retry_after_s
            return await self._refuse(Trouble(name=name, model=ask.model, retry_s=retry_s, over=over), fault)
        try:
            return await self._play(job, fault, answer)
        finally:
            limits.leave()

    async def _play(self, job: Job, fault: Fault, answer: Answer) -> Written:
        record, stream = self._record, job.ask.stream
        if fault.no_finish_reason:
            answer.finish_reason = None
        mark = Mark(record.number, time.time())
        trouble = _trouble_inside(fault, job.ask.model)
        output = Output(self._request, body_budget=fault.cut_after_bytes if stream else None)
        headers = self._all_headers(fault, job.stream_type if stream else JSON_TYPE, output)
        player = Player(output, fault, self._state.stats, record, self._state.random)
        try:
            if stream:
                return await player.stream(job.events(answer, mark), trouble, headers)
            errs = fault.error_after_chunks is not None
            return await player.unary(self._dialect.error_body(trouble) if errs else job.body(answer, mark), headers)
        finally:
            self.broken = player.broken

    async def _refuse_fault(self, problem: str) -> Written:
        """Refuse a request whose fault makes no sense: never ignored, and never taken for a failure of the model."""
        own = Wording(problem, code="x_sim_fault")
        return await self._refuse(Trouble(own=own, status=400), _NO_FAULT)

    async def _refuse(self, trouble: Trouble, fault: Fault) -> Written:
        return await self._tell(self._dialect.reply(trouble), fault, trouble.retry_s)

    async def _tell(self, reply: Reply, fault: Fault, retry_s: float | None = None) -> Written:
        """Write a whole answer that is no completion."""
        output = Output(self._request)
        headers = self._all_headers(fault, reply.content_type, output)
        headers += reply.headers
        if retry_s is not None:
            headers += self._dialect.retry_headers(retry_s)
        headers.append(("content-length", str(len(reply.body))))
        self._state.stats.answered(self._record, reply.status)
        output.write(head(reply.status, headers) + reply.body)
        await output.drain()
        return output.finished()

    def _all_headers(self, fault: Fault, content_type: str, output: Output) -> Headers:
        headers = [("content-type", content_type), *self._headers]
        if output.connection is not None:
            headers.append(("connection", output.connection))
        if fault.headers:
            own = {name.lower() for name in fault.headers}
            headers = [entry for entry in headers if entry[0] not in own] + list(fault.headers.items())
        return headers


def _asked_trouble(fault: Fault, job: Job) -> Trouble | None:
    """Return the refusal that the fault asks for, or that its context window makes necessary."""
    model = job.ask.model
    failing = fault.error is not None and fault.error_after_chunks is None
    if (fault.status or 200) != 200 or (failing and fault.status is None):  # noqa: PLR2004 - OK
        return _trouble(fault.error if failing else None, model, fault.status, fault.retry_after_s)
    if fault.context_tokens is not None and (prompt := job.ask.prompt_tokens()) > fault.context_tokens:
        over = OverCapacity("context", fault.context_tokens, 0, prompt, 0.0)
        return Trouble(name="context_length_exceeded", model=model, over=over)
    return None


def _trouble_inside(fault: Fault, model: str) -> Trouble:
    """Return what an error event inside an answer tells; its answer has a status of its own."""
    return _trouble(fault.error or "server_error", model, None, None)


def _trouble(error: str | Wording | None, model: str, status: int | None, retry_s: float | None) -> Trouble:
    if isinstance(error, Wording):
        return Trouble(own=error, model=model, status=status, retry_s=retry_s)
    return Trouble(name=error, model=model, status=status, retry_s=retry_s)
