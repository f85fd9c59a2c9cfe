"""Bad input over the wire: every wrong field named at once, typed errors only, and a server that is none the worse."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from tests.e2e.conftest import ROUTES, ask
from tests.e2e.wire_fuzz import Mutator

from trunkline import failure_of
from trunkline.v1 import (
    CRITICALITY_UNSPECIFIED,
    FINISH_REASON_STOP,
    ON_BREAK_FAIL,
    ON_BREAK_UNSPECIFIED,
    ROLE_ASSISTANT,
    ROLE_USER,
    CompleteRequest,
    EmbedRequest,
    FunctionTool,
    JsonSchemaFormat,
    MediaPart,
    Message,
    OutputFormat,
    Part,
    ProviderTool,
    ResumeStreamRequest,
    RoutingOptions,
    Sampling,
    Tool,
    ToolCallPart,
)

if TYPE_CHECKING:
    import random

    from tests.conftest import Sized
    from tests.e2e.conftest import Gateway, Gateways

    from trunkline import CallFailure

SERVICE = "/trunkline.v1.CompletionService"
MAX_TRAILER_BYTES = 4096
MIB = 1024 * 1024

INSIDES = re.compile(
    rb"Traceback|\w(?:Error|Exception)\b\(|File \"|\.py\b|, line \d|trunkline_server|site-packages|0x[0-9a-f]{6}"
)
"""What only a program's own exceptions look like. Nothing that these tests send matches it."""


async def raw_call(running: Gateway, method: str, payload: bytes) -> grpc.aio.AioRpcError | None:
    """Send bytes to an RPC, and return the error that it ended with."""
    path = f"{SERVICE}/{method}"
    channel: Any = running.channel  # its types know no calls without a serializer
    try:
        if method in {"StreamComplete", "ResumeStream"}:
            async for _ in channel.unary_stream(path)(payload, timeout=30):
                pass
        else:
            await channel.unary_unary(path)(payload, timeout=30)
    except grpc.aio.AioRpcError as error:
        return error
    return None


async def refused(running: Gateway, request: CompleteRequest, method: str = "Complete") -> CallFailure:
    """Return how a request is refused, having looked at what a refusal may never show."""
    error = await raw_call(running, method, request.SerializeToString())
    assert error is not None
    return well_told(error)


def well_told(error: grpc.aio.AioRpcError) -> CallFailure:
    """Return what an error says; assert that it is one of ours, small, and shows nothing of the program's inside."""
    failure = failure_of(error)
    assert error.code() not in {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}, error
    assert failure.reason, error
    size = len((error.details() or "").encode())
    for key, value in error.trailing_metadata():
        data = value if isinstance(value, bytes) else value.encode()
        # A `-bin` value goes out as base64.
        size += len(key) + (-(-len(data) * 4 // 3) if key.endswith("-bin") else len(data)) + 32
        assert not INSIDES.search(data), (key, data)
    assert size <= MAX_TRAILER_BYTES
    assert not INSIDES.search((error.details() or "").encode()), error.details()
    return failure


def paths(failure: CallFailure) -> list[str]:
    return [violation.field for violation in failure.field_violations]


async def still_serves(running: Gateway) -> None:
    """Assert that the server answers an ordinary call."""
    assert (await running.stub.Complete(ask(), timeout=10)).finish_reason == FINISH_REASON_STOP


WRONG_EVERYWHERE = CompleteRequest(
    model="default",
    messages=[
        Message(role=99, parts=[Part(text="an unknown enum value")]),  # type: ignore[arg-type]  # on purpose
        Message(
            role=ROLE_ASSISTANT,
            parts=[Part(tool_call=ToolCallPart(id="c", name="f", arguments_json='{"half": '))],
        ),
        Message(role=ROLE_USER, parts=[Part(media=MediaPart(mime_type="image/png", uri="file:///etc/passwd"))]),
    ],
    sampling=Sampling(temperature=-1, top_k=-5, top_logprobs=-1, reasoning_effort=42),  # type: ignore[arg-type]
    tools=[
        Tool(function=FunctionTool(name="f", parameters_json_schema="{not json}")),
        Tool(provider=ProviderTool(provider="one", tool_json="[]")),
    ],
    output=OutputFormat(json_schema=JsonSchemaFormat(name="n", schema_json="]")),
    routing=RoutingOptions(max_attempts=-3, max_cost_nanousd=-1, criticality=77, on_break=66),  # type: ignore[arg-type]
    labels={"": "nameless"},
    provider_options_json={"one": '{"service_tier": "priority", "n": 4, "user": "fine"}', "two": "{"},
)

ALL_PATHS = {
    "messages[0].role",
    "messages[1].parts[0].tool_call.arguments_json",
    "messages[2].parts[0].media.uri",
    "sampling.reasoning_effort",
    "sampling.temperature",
    "sampling.top_k",
    "sampling.top_logprobs",
    "tools[0].function.parameters_json_schema",
    "tools[1].provider.tool_json",
    "output.json_schema.schema_json",
    "routing.max_attempts",
    "routing.max_cost_nanousd",
    "routing.criticality",
    "routing.on_break",
    'labels[""]',
    'provider_options_json["two"]',
    'provider_options_json["one"].service_tier',
    'provider_options_json["one"].n',
}


@pytest.mark.parametrize("method", ["Complete", "StreamComplete", "Explain"])
async def test_everything_that_is_wrong_is_told_at_once(gateway: Gateways, method: str) -> None:
    """Malformed JSON, unknown enum values, negative limits and forbidden options: one refusal names every path."""
    async with gateway() as running:
        failure = await refused(running, WRONG_EVERYWHERE, method)
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_REQUEST")
        assert set(paths(failure)) == ALL_PATHS
        assert len(paths(failure)) == len(ALL_PATHS)
        assert running.simulator.stats.requests == 0
        await still_serves(running)


async def test_what_does_not_fit_is_counted(gateway: Gateways) -> None:
    """Of a thousand wrong fields the first that fit are named, and the rest is a number: none is lost."""
    wrong = [Message(role=ROLE_USER, parts=[Part()]) for _ in range(1000)]
    async with gateway() as running:
        failure = await refused(running, CompleteRequest(model="default", messages=wrong))
        named = paths(failure)
        assert named[:2] == ["messages[0].parts[0]", "messages[1].parts[0]"]
        assert len(named) + int(failure.metadata["omitted"]) == 1000


async def test_unknown_aliases_are_not_found(gateway: Gateways) -> None:
    """A model that is not there is NOT_FOUND with near names, whatever its name looks like."""
    async with gateway() as running:
        for model in ("defualt", "one/", "/", "no/such", "*", "default\n", "%s{0}"):
            failure = await refused(running, ask(model=model))
            assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_MODEL"), model
        assert "default" in str(await refused(running, ask(model="defualt")))
        await still_serves(running)


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ('{"model": "x"}', ".model"),
        ('{"messages": []}', ".messages"),
        ('{"stream": true}', ".stream"),
        ('{"n": 2}', ".n"),
        ('{"temperature": 1}', ".temperature"),
        ('{"tools": []}', ".tools"),
        ('{"response_format": {}}', ".response_format"),
        ('{"service_tier": "flex"}', ".service_tier"),
        ('{"store": true}', ".store"),
        ('{"web_search_options": {}}', ".web_search_options"),
        ('{"user": "a", "user": "b"}', ""),
        ('{"a":' * 9 + "1" + "}" * 9, ""),
        (f'{{"a": "{"x" * 16 * 1024}"}}', ""),
        ("[1]", ""),
        ("", ""),
    ],
)
async def test_an_option_that_is_not_the_callers_to_pass(gateway: Gateways, options: str, path: str) -> None:
    """Keys that are ours, typed, costly, doubled, too deep or too large are BAD_REQUEST with their path."""
    async with gateway() as running:
        failure = await refused(running, ask(provider_options_json={"one": options}))
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_REQUEST")
        (named,) = paths(failure)
        assert named.removeprefix('provider_options_json["one"]') == path or not path
        assert running.simulator.stats.requests == 0


ALLOWED = (
    ROUTES
    + """
callers:
  - {{id: checkout, aliases: [default], provider_options: [service_tier, n],
      token_sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08}}
"""
)
"""The token is `test`."""


async def test_an_option_that_the_operator_allows(gateway: Gateways) -> None:
    """What the caller's provider_options names goes upstream; a key that would break routing never does."""
    metadata = (("authorization", "Bearer test"),)
    async with gateway(routes=ALLOWED) as running:
        paid = ask(provider_options_json={"one": '{"service_tier": "priority", "user": "u"}'})
        await running.stub.Complete(paid, metadata=metadata)
        sent = running.simulator.stats.last_requests[-1].json
        assert (sent["service_tier"], sent["user"]) == ("priority", "u")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await running.stub.Complete(ask(provider_options_json={"one": '{"n": 3}'}), metadata=metadata)
        assert paths(well_told(raised.value)) == ['provider_options_json["one"].n']


async def test_the_providers_own_refusal_of_an_option_has_its_name(gateway: Gateways) -> None:
    """An option that only the provider can judge comes back as BAD_REQUEST with the provider's parameter name."""
    async with gateway() as running:
        failure = await refused(running, ask(provider_options_json={"one": '{"no_such_option": 1}'}))
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_REQUEST")
        assert "no_such_option" in str(failure)


async def test_a_message_above_the_limit_is_refused_by_grpc_itself(gateway: Gateways) -> None:
    """33 MiB end as RESOURCE_EXHAUSTED without details; 31 MiB are taken; both leave the server as it was."""
    async with gateway() as running:
        for method in ("Complete", "StreamComplete", "ResumeStream", "ListModels"):
            error = await raw_call(running, method, bytes(33 * MIB))
            assert error is not None
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert failure_of(error).reason == ""
        large = ask("x" * (31 * MIB), model="no/such").SerializeToString()
        error = await raw_call(running, "Complete", large)
        assert error is not None
        assert failure_of(error).reason == "UNKNOWN_MODEL"
        await still_serves(running)


NO_MESSAGES = [b"\xff", b"\x0a\x05ab", bytes(1000), b"\x12\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"]
NO_UTF8 = b"\x0a\x02\xff\xfe"


@pytest.mark.parametrize(
    ("method", "payload"),
    [
        *(
            (method, payload)
            for method in ("Complete", "StreamComplete", "Explain", "Embed")
            for payload in (*NO_MESSAGES, NO_UTF8)
        ),
        *(("ListModels", payload) for payload in NO_MESSAGES),  # it has no text field that could be wrong
    ],
)
async def test_bytes_that_are_no_message(gateway: Gateways, method: str, payload: bytes) -> None:
    """What is no valid message is INVALID_ARGUMENT, BAD_REQUEST, without a path."""
    async with gateway() as running:
        error = await raw_call(running, method, payload)
        assert error is not None
        failure = well_told(error)
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_REQUEST")
        assert paths(failure) == []
        await still_serves(running)


async def test_options_that_ask_for_nothing_pass(gateway: Gateways) -> None:
    """Zero, false, empty, UNSPECIFIED and FAIL change nothing."""
    nothing = RoutingOptions(
        sticky_key="",
        criticality=CRITICALITY_UNSPECIFIED,
        max_first_token=Duration(),
        max_token_gap=Duration(),
        allow_hedge=False,
        detachable=False,
        heartbeat=Duration(),
        announce_early=False,
        usage_every=Duration(),
        max_attempts=0,
    )
    async with gateway() as running:
        for on_break in (ON_BREAK_UNSPECIFIED, ON_BREAK_FAIL):
            nothing.on_break = on_break
            response = await running.stub.Complete(ask(routing=nothing))
            assert response.finish_reason == FINISH_REASON_STOP
            _, error = await running.frames(ask(routing=nothing))
            assert error is None


async def test_resuming_a_stream_that_is_not_there_is_told(gateway: Gateways) -> None:
    """NOT_FOUND, whatever the id looks like and whether the stream is to be read or ended."""
    async with gateway() as running:
        for stream_id in ("s", "0-" + "f" * 32):
            for cancel in (False, True):
                request = ResumeStreamRequest(stream_id=stream_id, cancel=cancel)
                error = await raw_call(running, "ResumeStream", request.SerializeToString())
                assert error is not None
                failure = well_told(error)
                assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "STREAM_NOT_FOUND")


async def test_mutated_messages_end_in_typed_errors_only(gateway: Gateways, sized: Sized, rng: random.Random) -> None:
    """Flipped bytes, swapped fields, deep nesting, huge texts: OK or an error of ours, and the server serves on."""
    mutator = Mutator(rng)
    endings: dict[str, int] = {}
    async with gateway() as running:
        for number in range(sized(full=10_000, gate=500)):
            method = rng.choice(["Complete", "Complete", "StreamComplete", "Explain", "ListModels", "ResumeStream"])
            kind, payload = mutator.next()
            error = await raw_call(running, method, payload)
            ending = "OK" if error is None else well_told(error).reason
            endings[ending] = endings.get(ending, 0) + 1
            assert error is None or error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED, (number, kind, method)
            if number % 100 == 99:
                await still_serves(running)
        await running.quiet()
        await still_serves(running)
    print(endings)
    assert endings["OK"] > 20
    assert endings["BAD_REQUEST"] > 100


VECTORS = [
    EmbedRequest(model="default", inputs=["hi"]),
    EmbedRequest(
        model="two/fallback",
        inputs=["a", "b"],
        dimensions=8,
        input_type=EmbedRequest.INPUT_TYPE_QUERY,
        routing=RoutingOptions(max_attempts=2, exclude_targets=["one"], allow_fallback=True),
        request_id="fuzz-1",
        labels={"team": "checkout"},
        provider_options_json={"two": '{"user": "u"}'},
        allow_other_models=True,
    ),
]


async def test_mutated_requests_for_vectors_end_likewise(gateway: Gateways, sized: Sized, rng: random.Random) -> None:
    """Vectors, or an error of ours, and the server serves on."""
    mutator = Mutator(rng, VECTORS)
    endings: dict[str, int] = {}
    async with gateway() as running:
        for _ in range(sized(full=2_000, gate=200)):
            error = await raw_call(running, "Embed", mutator.next()[1])
            ending = "OK" if error is None else well_told(error).reason
            endings[ending] = endings.get(ending, 0) + 1
        await running.quiet()
        await still_serves(running)
    print(endings)
    assert endings["OK"] > 10
    assert endings["BAD_REQUEST"] > 50
