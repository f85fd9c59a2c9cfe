"""`grpcurl` against a running gateway: no files of ours in its hands, all it knows comes by reflection."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.outside import Ran, run

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateways

SHORTEST = '{"model":"default","messages":[{"role":"ROLE_USER","parts":[{"text":"hi"}]}]}'
"""The README's shortest call."""

SERVICE = "trunkline.v1.CompletionService"
CODE_OFFSET = 64
"""grpcurl exits with 64 + the status code."""

WITH_CALLERS = """
version: 1
providers:
  one:
    protocol: openai
    base_url: {base}
    keys: [{{id: a, secret: env:ONE_A_API_KEY}}]
aliases:
  default: {{tiers: [[{{target: one/primary}}]]}}
callers:
  - {{id: checkout, token_sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08, aliases: [default]}}
"""
"""The token is `test`."""
TOKEN = ("-H", "authorization: Bearer test")

Grpcurl = Callable[..., Awaitable[Ran]]


@pytest.fixture
def grpcurl(program: Callable[[str], str]) -> Grpcurl:
    """Return what runs grpcurl; `data` is the message of a call."""
    path = program("grpcurl")

    async def curl(address: str, *words: str, data: str | None = None, flags: tuple[str, ...] = ()) -> Ran:
        message = () if data is None else ("-d", data)
        return await run(path, "-plaintext", "-max-time", "30", *flags, *message, address, *words)

    return curl


async def test_services_and_methods_are_found(gateway: Gateways, grpcurl: Grpcurl) -> None:
    """List and describe work for everything that is mounted, by each version's name of reflection itself too."""
    async with gateway() as running:
        services = (await grpcurl(running.address, "list")).out.split()
        assert services == [
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
            SERVICE,
        ]
        methods = (await grpcurl(running.address, "list", SERVICE)).out.split()
        assert [name.rpartition(".")[2] for name in methods] == [
            "Complete",
            "Embed",
            "Explain",
            "ListModels",
            "ResumeStream",
            "StreamComplete",
        ]
        everything = await grpcurl(running.address, "describe")
        assert (everything.code, everything.err) == (0, "")
        for symbol in (f"{SERVICE}.StreamComplete", "trunkline.v1.Delta", "trunkline.v1.End.Outcome"):
            described = await grpcurl(running.address, "describe", symbol)
            assert described.code == 0, described
            assert f"{symbol} is a" in described.out
        unknown = await grpcurl(running.address, "describe", f"{SERVICE}.NoSuch")
        assert "not found" in unknown.err.lower()


async def test_the_shortest_call(gateway: Gateways, grpcurl: Grpcurl) -> None:
    """The README's line is answered, with the field names of the contract."""
    async with gateway() as running:
        answer = (await grpcurl(running.address, f"{SERVICE}/Complete", data=SHORTEST)).document()
        assert answer["message"] == {"role": "ROLE_ASSISTANT", "parts": [{"text": "You said: hi"}]}
        assert answer["finish_reason"] == "FINISH_REASON_STOP"
        assert answer["route"]["served_by"] == {"provider": "one", "model": "primary", "key_id": "a"}
        assert answer["attempts"][0]["why"] == "WHY_FIRST"


async def test_a_stream(gateway: Gateways, grpcurl: Grpcurl) -> None:
    """Every frame comes, in order, the last one being the end."""
    async with gateway({"default": {"chunks": 5, "chunk_text": "tok "}}) as running:
        ran = await grpcurl(running.address, f"{SERVICE}/StreamComplete", data=SHORTEST)
        assert ran.code == 0
        frames = ran.documents()
        assert [int(frame["seq"]) for frame in frames] == list(range(1, len(frames) + 1))
        assert "started" in frames[0]
        assert "attempt_started" in frames[1]
        texts = [item["text"] for frame in frames if "deltas" in frame for item in frame["deltas"]["items"]]
        assert "".join(texts) == "tok " * 5
        assert frames[-1]["end"]["outcome"] == "OUTCOME_COMPLETE"
        assert frames[-1]["end"]["content_bytes"] == "20"


async def test_a_broken_stream_shows_its_frames_and_its_status(gateway: Gateways, grpcurl: Grpcurl) -> None:
    """The partial-stream error frame and the end are printed before the status with its details."""
    async with gateway({"default": {"chunks": 5, "chunk_text": "tok ", "cut_after_chunks": 2}}) as running:
        ran = await grpcurl(running.address, f"{SERVICE}/StreamComplete", data=SHORTEST)
        frames = ran.documents()
        assert frames[-2]["attempt_failed"]["error"]["failure_class"] == "FAILURE_CLASS_TRUNCATED"
        assert frames[-1]["end"]["outcome"] == "OUTCOME_FAILED"
        assert ran.code == CODE_OFFSET + 10
        assert "STREAM_BROKEN" in ran.err
        assert "trunkline.v1.RouteFailure" in ran.err
        assert '"last_upstream_http_status"' in ran.err or "attempts" in ran.err


async def test_explain_and_list_models(gateway: Gateways, grpcurl: Grpcurl) -> None:
    """Explain shows the candidates in order, and ListModels what there is."""
    async with gateway() as running:
        explained = (await grpcurl(running.address, f"{SERVICE}/Explain", data=SHORTEST)).document()
        assert [candidate["target"]["model"] for candidate in explained["candidates"]] == ["primary", "fallback"]
        models = (await grpcurl(running.address, f"{SERVICE}/ListModels")).document()
        assert {model["name"] for model in models["models"]} == {"default", "one/primary", "two/fallback"}
        assert running.simulator.stats.requests == 0


async def test_a_violation_is_shown_with_its_field(gateway: Gateways, grpcurl: Grpcurl) -> None:
    """A refusal's details are readable: reason, domain, each field and what is wrong with it."""
    wrong: dict[str, Any] = json.loads(SHORTEST)
    wrong["sampling"] = {"temperature": -1}
    wrong["routing"] = {"max_attempts": -1}
    async with gateway() as running:
        ran = await grpcurl(running.address, f"{SERVICE}/Complete", data=json.dumps(wrong), flags=("-format-error",))
        assert ran.code == CODE_OFFSET + 3
        status = json.loads(ran.err)
        info, bad_request = status["details"]
        assert (info["reason"], info["domain"]) == ("BAD_REQUEST", "trunkline")
        assert [bad["field"] for bad in bad_request["field_violations"]] == [
            "sampling.temperature",
            "routing.max_attempts",
        ]


async def test_a_token_is_wanted_and_taken(gateway: Gateways, grpcurl: Grpcurl) -> None:
    """With callers configured, calls and reflection want the token as a header, and health does not."""
    async with gateway(routes=WITH_CALLERS) as running:
        assert "UNAUTHENTICATED" in (await grpcurl(running.address, "list")).err.upper()
        answered = await grpcurl(running.address, f"{SERVICE}/Complete", data=SHORTEST, flags=TOKEN)
        assert answered.document()["finish_reason"] == "FINISH_REASON_STOP"
        only_reflected = ("-reflect-header", "authorization: Bearer test")
        refused = await grpcurl(running.address, f"{SERVICE}/Complete", data=SHORTEST, flags=only_reflected)
        assert refused.code == CODE_OFFSET + 16
        assert "Bearer test" not in refused.err


async def test_health(gateway: Gateways, grpcurl: Grpcurl) -> None:
    """The whole server and the service are SERVING; a name that is not served is NOT_FOUND."""
    async with gateway() as running:
        for data in ("{}", f'{{"service": "{SERVICE}"}}'):
            checked = await grpcurl(running.address, "grpc.health.v1.Health/Check", data=data)
            assert checked.document() == {"status": "SERVING"}
        unknown = await grpcurl(running.address, "grpc.health.v1.Health/Check", data='{"service": "no.Such"}')
        assert unknown.code == CODE_OFFSET + 5


async def test_a_large_answer_needs_max_msg_sz(gateway: Gateways, grpcurl: Grpcurl) -> None:
    """An answer above the client's own limit of 4 MiB is the client's to refuse, and comes whole with -max-msg-sz."""
    async with gateway({"default": {"chunks": 5000, "chunk_text": "x" * 1000}}) as running:
        small = await grpcurl(running.address, f"{SERVICE}/Complete", data=SHORTEST)
        assert small.code == CODE_OFFSET + 8
        large = await grpcurl(
            running.address, f"{SERVICE}/Complete", data=SHORTEST, flags=("-max-msg-sz", str(8 * 1024 * 1024))
        )
        assert len(large.document()["message"]["parts"][0]["text"]) == 5_000_000
        streamed = await grpcurl(running.address, f"{SERVICE}/StreamComplete", data=SHORTEST)
        assert streamed.documents()[-1]["end"]["content_bytes"] == "5000000"
