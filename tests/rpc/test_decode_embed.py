"""`EmbedRequest` decoded: what comes out is well formed, or everything that is wrong is told by its path."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import example, given
from hypothesis import strategies as st

from trunkline import v1 as pb
from trunkline_server.chat.embedding import EmbedInputType, EmbedRequest
from trunkline_server.chat.request import RoutingOptions
from trunkline_server.engine.frames import FieldViolation
from trunkline_server.routing.types import Criticality
from trunkline_server.rpc.decode_embed import MAX_INPUTS, decode_embed
from trunkline_server.rpc.status import status_of
from trunkline_server.rpc.violations import InvalidRequestError, failure_of_invalid

RICH = pb.EmbedRequest(
    model="search",
    inputs=["a", "b"],
    dimensions=256,
    input_type=pb.EmbedRequest.INPUT_TYPE_QUERY,
    routing=pb.RoutingOptions(
        max_attempts=2,
        exclude_targets=["p"],
        fallback_models=["m"],
        sticky_key="k",
        criticality=pb.CRITICALITY_CRITICAL,
        max_cost_nanousd=5,
        require_capabilities=["x"],
        allow_regions=["eu"],
        allow_fallback=False,
        allow_hedge=True,
    ),
    request_id="r1",
    labels={"team": "x"},
    provider_options_json={"openai": '{"user":"u"}'},
    allow_other_models=True,
)


def decoded(request: pb.EmbedRequest) -> EmbedRequest:
    return decode_embed(request.SerializeToString(), lambda _: ())


def refused(request: pb.EmbedRequest) -> list[str]:
    with pytest.raises(InvalidRequestError) as caught:
        decoded(request)
    return [each.path for each in caught.value.violations]


def test_every_field_is_taken() -> None:
    """Each as the engine knows it."""
    assert decoded(RICH) == EmbedRequest(
        model="search",
        inputs=("a", "b"),
        request_id="r1",
        dimensions=256,
        input_type=EmbedInputType.QUERY,
        allow_other_models=True,
        routing=RoutingOptions(
            max_attempts=2,
            exclude_targets=frozenset({"p"}),
            fallback_models=("m",),
            sticky_key="k",
            criticality=Criticality.CRITICAL,
            max_cost_nanousd=5,
            require_capabilities=frozenset({"x"}),
            allow_regions=frozenset({"eu"}),
            allow_fallback=False,
            allow_hedge=True,
        ),
        labels={"team": "x"},
        provider_options={"openai": {"user": "u"}},
    )


def test_the_shortest_request_is_whole() -> None:
    """A model and one input; it gets an id, and asks for nothing else."""
    request = decoded(pb.EmbedRequest(model="m", inputs=["hi"]))
    assert request == EmbedRequest("m", ("hi",), request.request_id)
    assert request.request_id.startswith("req_")


@pytest.mark.parametrize("name", pb.EmbedRequest.InputType.keys())
def test_every_input_type_has_its_word(name: str) -> None:
    """The names of our words are those of the contract; the unspecified one says nothing."""
    asked = pb.EmbedRequest(model="m", inputs=["a"], input_type=pb.EmbedRequest.InputType.Value(name))
    word = name.removeprefix("INPUT_TYPE_")
    assert decoded(asked).input_type is (None if word == "UNSPECIFIED" else EmbedInputType[word])


@pytest.mark.parametrize(
    ("changed", "paths"),
    [
        (pb.EmbedRequest(), ["model", "inputs"]),
        (pb.EmbedRequest(model="m" * 257, inputs=["a"]), ["model"]),
        (pb.EmbedRequest(model="m", inputs=["a", "", "b", ""]), ["inputs[1]", "inputs[3]"]),
        (pb.EmbedRequest(model="m", inputs=["a"] * (MAX_INPUTS + 1)), ["inputs"]),
        (pb.EmbedRequest(model="m", inputs=["a"], dimensions=0), ["dimensions"]),
        (pb.EmbedRequest(model="m", inputs=["a"], input_type=99), ["input_type"]),  # type: ignore[arg-type]  # as a newer client sends it
        (pb.EmbedRequest(model="m", inputs=["a"], request_id="é"), ["request_id"]),
        (pb.EmbedRequest(model="m", inputs=["a"], labels={"": "x"}), ['labels[""]']),
        (
            pb.EmbedRequest(model="m", inputs=["a"], provider_options_json={"openai": "["}),
            ['provider_options_json["openai"]'],
        ),
    ],
)
def test_what_is_wrong_is_told_by_its_path(changed: pb.EmbedRequest, paths: list[str]) -> None:
    """All of it at once."""
    assert refused(changed) == paths


@pytest.mark.parametrize(
    ("name", "routing"),
    [
        ("on_break", pb.RoutingOptions(on_break=pb.ON_BREAK_FAIL)),
        ("max_first_token", pb.RoutingOptions(max_first_token=Duration(seconds=1))),
        ("max_token_gap", pb.RoutingOptions(max_token_gap=Duration(seconds=1))),
        ("detachable", pb.RoutingOptions(detachable=True)),
        ("heartbeat", pb.RoutingOptions(heartbeat=Duration(seconds=1))),
        ("announce_early", pb.RoutingOptions(announce_early=True)),
        ("usage_every", pb.RoutingOptions(usage_every=Duration(seconds=1))),
        ("may_drop", pb.RoutingOptions(may_drop=["*"])),
    ],
)
def test_wishes_without_meaning_are_refused(name: str, routing: pb.RoutingOptions) -> None:
    """Vectors do not stream: whoever asks for something of a stream has something else in mind."""
    with pytest.raises(InvalidRequestError) as caught:
        decoded(pb.EmbedRequest(model="m", inputs=["a"], routing=routing))
    assert caught.value.violations == (FieldViolation(f"routing.{name}", "has no meaning for Embed"),)


def test_options_are_judged_with_everything_else() -> None:
    """Whoever knows the providers says which options are not to be passed."""
    request = pb.EmbedRequest(model="m", inputs=[""], provider_options_json={"openai": '{"input":1}'})
    with pytest.raises(InvalidRequestError) as caught:
        decode_embed(request.SerializeToString(), lambda _: [FieldViolation("x", "no")])
    assert [each.path for each in caught.value.violations] == ["inputs[0]", "x"]


def test_bytes_that_are_no_message_are_refused() -> None:
    """Without a path: there is none."""
    with pytest.raises(InvalidRequestError, match="not a valid EmbedRequest message"):
        decode_embed(b"\xff", lambda _: ())


@given(st.binary(max_size=64))
@example(RICH.SerializeToString()[:-1])
def test_any_bytes_are_a_request_or_a_refusal(raw: bytes) -> None:
    """And the refusal is one that can be sent."""
    try:
        request = decode_embed(raw, lambda _: ())
    except InvalidRequestError as error:
        status_of(failure_of_invalid(error))
    else:
        assert request.inputs
        assert all(request.inputs)
