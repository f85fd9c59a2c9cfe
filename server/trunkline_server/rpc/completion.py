"""The completion service: which RPCs there are, and what each asks of the engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from trunkline_server.chat.request import ChatRequest
from trunkline_server.engine.api import Engine
from trunkline_server.engine.frames import Frame
from trunkline_server.rpc import account
from trunkline_server.rpc.boundary import Method, StreamMethod, UnaryMethod
from trunkline_server.rpc.call import Work
from trunkline_server.rpc.decode import decode_list_models, decode_request, decode_resume
from trunkline_server.rpc.decode_embed import decode_embed
from trunkline_server.rpc.encode import encode_completed, encode_explanation, encode_models
from trunkline_server.rpc.encode_embed import encode_embedded
from trunkline_server.telemetry.canonical import CANCELLED

SERVICE = "trunkline.v1.CompletionService"


class CompletionService:
    """Turns each RPC's bytes into a call of the engine, and its result into bytes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def methods(self) -> tuple[Method, ...]:
        """Return every RPC of the service."""
        return (
            UnaryMethod(f"/{SERVICE}/Complete", self.complete),
            StreamMethod(f"/{SERVICE}/StreamComplete", self.stream_complete),
            StreamMethod(f"/{SERVICE}/ResumeStream", self.resume_stream, may_be_empty=True),
            UnaryMethod(f"/{SERVICE}/Explain", self.explain),
            UnaryMethod(f"/{SERVICE}/ListModels", self.list_models),
            UnaryMethod(f"/{SERVICE}/Embed", self.embed),
        )

    async def complete(self, raw: bytes, work: Work) -> bytes:
        """Return one answer."""
        done = await self._engine.complete(self._request(raw, work), work.scope)
        account.note_completed(work.record, done)
        return encode_completed(done)

    def stream_complete(self, raw: bytes, work: Work) -> AsyncGenerator[Frame, None]:
        """Return the answer's frames as they come."""
        return self._engine.stream(self._request(raw, work), work.scope)

    def resume_stream(self, raw: bytes, work: Work) -> AsyncGenerator[Frame, None]:
        """Return the frames of a detachable stream that the caller has not got yet; or end it, and return none."""
        asked = decode_resume(raw)
        work.record.resumed, work.record.stream_id = True, asked.stream_id
        work.detachable = True
        if asked.cancel:
            return self._cancel_stream(asked.stream_id, work)
        return self._engine.resume(asked.stream_id, asked.after_seq, work.scope)

    async def _cancel_stream(self, stream_id: str, work: Work) -> AsyncGenerator[Frame, None]:
        await self._engine.cancel_stream(stream_id, work.scope)
        work.record.outcome = CANCELLED
        no_frames: tuple[Frame, ...] = ()
        for frame in no_frames:
            yield frame

    async def explain(self, raw: bytes, work: Work) -> bytes:
        """Return the routing decision; nothing is sent upstream."""
        explanation = self._engine.explain(self._request(raw, work), work.scope)
        return encode_explanation(explanation)

    async def list_models(self, raw: bytes, work: Work) -> bytes:
        """Return what the caller may use."""
        decode_list_models(raw)
        return encode_models(self._engine.list_models(work.scope))

    async def embed(self, raw: bytes, work: Work) -> bytes:
        """Return texts as vectors."""
        request = decode_embed(raw, lambda decoded: self._engine.check_options(decoded, work.scope.caller))
        work.record.request_id, work.record.model = request.request_id, request.model
        done = await self._engine.embed(request, work.scope)
        account.note_embedded(work.record, done)
        return encode_embedded(done)

    def _request(self, raw: bytes, work: Work) -> ChatRequest:
        """Return the request, checked as far as it can be without routing it."""
        request = decode_request(raw, lambda decoded: self._engine.check_options(decoded, work.scope.caller))
        work.record.request_id = request.request_id
        work.record.model = request.model
        work.detachable = request.routing.detachable
        return request
