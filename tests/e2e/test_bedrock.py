"""Bedrock all the way: signed requests, keys that walk, event streams that break, large bodies, embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest
from tests.e2e.conftest import ask
from tests.e2e.stream_books import read

from trunkline import failure_of
from trunkline.v1 import (
    FAILURE_CLASS_KEY_REJECTED,
    FAILURE_CLASS_RATE_LIMITED,
    FAILURE_CLASS_TRUNCATED,
    REASONING_EFFORT_HIGH,
    ROLE_USER,
    CompleteRequest,
    EmbedRequest,
    MediaPart,
    Message,
    Part,
    RoutingOptions,
    Sampling,
)
from trunkline_server.config.findings import InvalidRoutesError
from trunkline_server.simulator.bedrock.sigv4 import SECRET
from trunkline_server.simulator.vectors import vector

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateways

ARN: Final = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-3-7-sonnet-20250219-v1:0"
ROUTES: Final = f"""
version: 1
providers:
  aws:
    protocol: bedrock
    base_url: {{root}}
    region: us-east-1
    keys: [{{{{id: first, secret: env:FIRST_API_KEY}}}}, {{{{id: second, secret: env:SECOND_API_KEY, weight: 0}}}}]
aliases:
  default: {{{{tiers: [[aws/{ARN}]], on_break: FAIL}}}}
  plain: {{{{tiers: [[aws/meta.llama3-3-70b-instruct-v1:0]]}}}}
  titan: {{{{tiers: [[aws/amazon.titan-embed-text-v2:0]]}}}}
  cohere: {{{{tiers: [[aws/cohere.embed-v4:0]]}}}}
"""
KEYS: Final = {"FIRST_API_KEY": f"AKIAFIRST000:{SECRET}", "SECOND_API_KEY": f"AKIASECOND00:{SECRET}:session-token"}


def keys(**changes: str) -> dict[str, str]:
    return {**KEYS, **changes}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_signed_call(gateway: Gateways, *, stream: bool) -> None:
    """A model that is an ARN, a signature that holds, and an answer with usage."""
    async with gateway(routes=ROUTES, environ=keys()) as running:
        if stream:
            reading = await read(running.stub.StreamComplete(ask("good morning"), timeout=30))
            assert reading.error is None
            text, usage = reading.answer.text, reading.answer.usage
        else:
            response = await running.stub.Complete(ask("good morning"), timeout=30)
            text, usage = response.message.parts[0].text, response.usage
        assert text == "You said: good morning"
        assert usage is not None
        assert usage.input_tokens > 0
        record = running.simulator.stats.last_requests[-1]
        assert (record.protocol, record.key, record.model, record.status) == ("bedrock", "AKIAFIRST000", ARN, 200)


async def test_an_api_key(gateway: Gateways) -> None:
    """A key of Bedrock's own is sent as a bearer token."""
    async with gateway(routes=ROUTES, environ=keys(FIRST_API_KEY="bedrock-api-key-abc")) as running:
        await running.stub.Complete(ask(), timeout=30)
        assert running.simulator.stats.last_requests[-1].key == "bedrock-api-key-abc"


async def test_a_wrong_secret_walks_to_the_next_key(gateway: Gateways) -> None:
    """A signature that is refused rejects the key and shows nothing of it; temporary keys sign with their token."""
    wrong = "AKIAFIRST000:quite-another-secret"
    async with gateway(routes=ROUTES, environ=keys(FIRST_API_KEY=wrong)) as running:
        response = await running.stub.Complete(ask(), timeout=30)
        assert [attempt.target.key_id for attempt in response.attempts] == ["first", "second"]
        error = response.attempts[0].error
        assert error.failure_class == FAILURE_CLASS_KEY_REJECTED
        assert error.upstream_code == "InvalidSignatureException"
        assert "AKIAFIRST000" not in str(response)
        assert "quite-another-secret" not in str(response)


async def test_a_large_body_is_signed(gateway: Gateways) -> None:
    """Pictures of several hundred KiB are hashed beside the loop, and the signature holds."""
    picture = Part(media=MediaPart(mime_type="image/png", data=b"\x89PNG" + bytes(600_000)))
    request = CompleteRequest(model="default", messages=[Message(role=ROLE_USER, parts=[Part(text="see"), picture])])
    async with gateway(routes=ROUTES, environ=keys()) as running:
        response = await running.stub.Complete(request, timeout=30)
        assert response.message.parts[0].text == "You said: see"
        assert running.simulator.stats.last_requests[-1].status == 200


async def test_an_exception_inside_a_stream(gateway: Gateways) -> None:
    """Throttling after content is told with its class, behind what had come."""
    fault = {"error": "rate_limit_exceeded", "error_after_chunks": 2}
    async with gateway({"default": fault}, routes=ROUTES, environ=keys()) as running:
        frames, error = await running.frames(ask("good morning"), timeout=30)
        assert error is not None
        assert error.code() is grpc.StatusCode.ABORTED
        failed = next(frame.attempt_failed for frame in frames if frame.HasField("attempt_failed"))
        assert failed.error.failure_class == FAILURE_CLASS_RATE_LIMITED
        assert failed.error.upstream_code == "ThrottlingException"
        assert failed.bytes_emitted == len("You said: ")


async def test_a_stream_without_its_stop_reason(gateway: Gateways) -> None:
    """A stream that ends in good order, usage and all, and without the stop reason is not whole."""
    async with gateway({"default": {"no_finish_reason": True}}, routes=ROUTES, environ=keys()) as running:
        frames, error = await running.frames(ask("good morning"), timeout=30)
        assert error is not None
        failed = next(frame.attempt_failed for frame in frames if frame.HasField("attempt_failed"))
        assert failed.error.failure_class == FAILURE_CLASS_TRUNCATED


async def test_throttling_is_tried_again_with_another_key(gateway: Gateways) -> None:
    """The key that was throttled cools, the other one serves."""
    rule: dict[str, Any] = {"key": "AKIAFIRST000", "fault": {"error": "rate_limit_exceeded"}}
    async with gateway({"rules": [rule]}, routes=ROUTES, environ=keys()) as running:
        response = await running.stub.Complete(ask(), timeout=30)
        assert [attempt.target.key_id for attempt in response.attempts] == ["first", "second"]
        assert response.attempts[0].error.failure_class == FAILURE_CLASS_RATE_LIMITED


async def test_what_a_family_cannot_carry_rules_it_out(gateway: Gateways) -> None:
    """Reasoning goes to the family that has it; another one is left out by name, or goes without it if it may."""
    sampling = Sampling(reasoning_effort=REASONING_EFFORT_HIGH)
    async with gateway(routes=ROUTES, environ=keys()) as running:
        response = await running.stub.Complete(ask(sampling=sampling), timeout=30)
        assert not response.warnings
        sent = running.simulator.stats.last_requests[-1].json
        assert sent["additionalModelRequestFields"]["thinking"] == {"type": "enabled", "budget_tokens": 16_384}
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await running.stub.Complete(ask(model="plain", sampling=sampling), timeout=30)
        assert failure_of(refused.value).reason == "NO_ELIGIBLE_TARGET"
        may_drop = RoutingOptions(may_drop=["reasoning_effort"])
        response = await running.stub.Complete(ask(model="plain", sampling=sampling, routing=may_drop), timeout=30)
        assert [warning.field for warning in response.warnings] == ["sampling.reasoning_effort"]


async def test_embeddings(gateway: Gateways) -> None:
    """Cohere's model takes many texts in one call, Titan's one; more are refused before anything is sent."""
    async with gateway(routes=ROUTES, environ=keys()) as running:
        cohere = await running.stub.Embed(EmbedRequest(model="cohere", inputs=["a", "b"], dimensions=256), timeout=30)
        for each, text in zip(cohere.embeddings, ("a", "b"), strict=True):
            assert list(each.values) == list(vector("cohere.embed-v4:0", text, 256))
        titan = await running.stub.Embed(EmbedRequest(model="titan", inputs=["a"]), timeout=30)
        assert len(titan.embeddings[0].values) == 1024
        assert titan.usage.input_tokens > 0
        asked = running.simulator.stats.requests
        with pytest.raises(grpc.aio.AioRpcError):
            await running.stub.Embed(EmbedRequest(model="titan", inputs=["a", "b"]), timeout=30)
        assert running.simulator.stats.requests == asked


async def test_keys_that_cannot_be_are_found_with_the_routes(gateway: Gateways) -> None:
    """A secret that is none, and a region that nobody names, are errors of the document."""
    for routes, environ in ((ROUTES, keys(FIRST_API_KEY="AKIAFIRST000")), (ROUTES.replace("region:", "#"), keys())):
        with pytest.raises(InvalidRoutesError) as raised:
            async with gateway(routes=routes, environ=environ):
                raise AssertionError("the gateway started")
        findings = raised.value.findings
        assert {finding.code for finding in findings} == {"bad_credential"}
        assert SECRET not in str(findings)
