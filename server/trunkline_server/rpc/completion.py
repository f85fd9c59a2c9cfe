"""The completion service: which RPCs there are, and what each asks of the engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from google.protobuf.message import DecodeError

from trunkline import v1 as pb
from trunkline_server.chat.request import ChatRequest
from trunkline_server.engine.api import Engine
from trunkline_server.engine.frames import CallFailedError, CallFailure, Frame
from trunkline_server.routing.types import Reason
from trunkline_server.rpc import account
from trunkline_server.rpc.boundary import Method, StreamMethod, UnaryMethod
from trunkline_server.rpc.call import Work
from trunkline_server.rpc.decode import decode_request
from trunkline_server.rpc.encode import encode_completed, encode_explanation, encode_models
from trunkline_server.rpc.violations import InvalidRequestError

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
            StreamMethod(f"/{SERVICE}/ResumeStream", self.resume_stream),
            UnaryMethod(f"/{SERVICE}/Explain", self.explain),
            UnaryMethod(f"/{SERVICE}/ListModels", self.list_models),
        )

    async def complete(self, raw: bytes, work: Work) -> bytes:
        """Return one answer."""
        done = await self._engine.complete(self._request(raw, work), work.scope)
        account.note_completed(work.record, done)
        return encode_completed(done)

    def stream_complete(self, raw: bytes, work: Work) -> AsyncGenerator[Frame, None]:
        """Return the answer's frames as they come."""
        return self._engine.stream(self._request(raw, work), work.scope)

    @staticmethod
    def resume_stream(_raw: bytes, _work: Work) -> AsyncGenerator[Frame, None]:
        """Refuse: streams are not detachable in this release."""
        raise CallFailedError(CallFailure(Reason.NOT_BUILT, "not built yet: ResumeStream"))

    async def explain(self, raw: bytes, work: Work) -> bytes:
        """Return the routing decision; nothing is sent upstream."""
        explanation = self._engine.explain(self._request(raw, work), work.scope)
        return encode_explanation(explanation)

    async def list_models(self, raw: bytes, work: Work) -> bytes:
        """Return what the caller may use."""
        try:
            pb.ListModelsRequest.FromString(raw)
        except DecodeError:
            raise InvalidRequestError("not a valid ListModelsRequest message") from None
        return encode_models(self._engine.list_models(work.scope))

    def _request(self, raw: bytes, work: Work) -> ChatRequest:
        """Return the request, checked as far as it can be without routing it."""
        request = decode_request(raw, lambda decoded: self._engine.check_options(decoded, work.scope.caller))
        work.record.request_id = request.request_id
        work.record.model = request.model
        return request
