from __future__ import annotations

import re

import pytest

from trunkline import v1 as pb
from trunkline_server.chat.message import Message, Role, TextPart
from trunkline_server.chat.request import ReasoningEffort, Sampling
from trunkline_server.routing.types import Reason
from trunkline_server.rpc.decode import decode_list_models, decode_request, decode_resume
from trunkline_server.rpc.violations import InvalidRequestError, failure_of_invalid

HELLO = pb.Message(role=pb.ROLE_USER, parts=[pb.Part(text="hi")])


def simplest() -> pb.CompleteRequest:
    return pb.CompleteRequest(model="default", messages=[HELLO])


def refused(request: pb.CompleteRequest) -> list[str]:
    with pytest.raises(InvalidRequestError) as caught:
        decode_request(request.SerializeToString())
    return [each.path for each in caught.value.violations]


def test_the_shortest_call_of_the_contract_decodes() -> None:
    """A model and one text message are a whole request."""
    request = decode_request(simplest().SerializeToString())
    assert request.model == "default"
    assert request.messages == (Message(Role.USER, (TextPart("hi"),)),)
    assert request.sampling == Sampling()
    assert request.routing.allow_fallback


def test_an_id_is_made_once_for_a_request_without_one() -> None:
    """The made id is `req_` and 24 hexadecimal digits, another one for each request."""
    raw = simplest().SerializeToString()
    first, second = decode_request(raw).request_id, decode_request(raw).request_id
    assert re.fullmatch(r"req_[0-9a-f]{24}", first)
    assert first != second


def test_a_callers_own_id_is_kept() -> None:
    """A request id of at most 128 printable bytes is taken as it is."""
    request = simplest()
    request.request_id = "job 7/" + "x" * 122
    assert decode_request(request.SerializeToString()).request_id == request.request_id


@pytest.mark.parametrize("request_id", ["x" * 129, "a\nb", "ü", "\x7f"])
def test_an_id_that_cannot_stand_in_a_log_or_header_is_refused(request_id: str) -> None:
    """Too long, control characters and anything beyond ASCII."""
    request = simplest()
    request.request_id = request_id
    assert refused(request) == ["request_id"]


@pytest.mark.parametrize("raw", [b"\xff", b"\x0a\xff", b"\x12\x05hello", b"\x0a\x02\xff\xfe", b"not protobuf"])
def test_bytes_that_are_no_message_are_a_bad_request_without_a_path(raw: bytes) -> None:
    """Truncated fields, wrong wire types and text that is no UTF-8 alike."""
    with pytest.raises(InvalidRequestError, match="not a valid CompleteRequest message") as caught:
        decode_request(raw)
    failure = failure_of_invalid(caught.value)
    assert failure.reason is Reason.BAD_REQUEST
    assert failure.violations == ()


def test_the_other_requests_are_no_messages_either() -> None:
    """Resuming and listing say which message they wanted."""
    with pytest.raises(InvalidRequestError, match="not a valid ResumeStreamRequest message"):
        decode_resume(b"\xff")
    with pytest.raises(InvalidRequestError, match="not a valid ListModelsRequest message"):
        decode_list_models(b"\xff")


@pytest.mark.parametrize("model", ["", "m" * 257, "é" * 129])
def test_a_model_has_1_to_256_bytes(model: str) -> None:
    """An empty name and one above the bound are refused, counted in bytes."""
    request = simplest()
    request.model = model
    assert refused(request) == ["model"]


def test_all_violations_are_told_at_once_in_the_order_of_the_fields() -> None:
    """One answer names everything that is wrong, from the model to the provider options."""
    request = pb.CompleteRequest(
        messages=[pb.Message(role=pb.ROLE_USER), pb.Message(parts=[pb.Part(text="x"), pb.Part()])],
        sampling=pb.Sampling(temperature=3, top_k=-1, max_output_tokens=0),
        tools=[pb.Tool(function=pb.FunctionTool(name="bad name", parameters_json_schema="{"))],
        tool_choice=pb.ToolChoice(function="other"),
        output=pb.OutputFormat(json_schema=pb.JsonSchemaFormat(name="n", schema_json="[]")),
        routing=pb.RoutingOptions(max_attempts=-1, exclude_targets=[""]),
        request_id="\n",
        labels={"": "x"},
        provider_options_json={"openai": "{]"},
    )
    assert refused(request) == [
        "model",
        "messages[0].parts",
        "messages[1].role",
        "messages[1].parts[1]",
        "sampling.temperature",
        "sampling.top_k",
        "sampling.max_output_tokens",
        "tools[0].function.name",
        "tools[0].function.parameters_json_schema",
        "tool_choice.function",
        "output.json_schema.schema_json",
        "routing.exclude_targets[0]",
        "routing.max_attempts",
        "request_id",
        'labels[""]',
        'provider_options_json["openai"]',
    ]


def test_violations_beyond_the_kept_ones_are_counted() -> None:
    """A request wrong in a thousand places costs neither memory nor the count."""
    request = pb.CompleteRequest(model="m", messages=[pb.Message(role=pb.ROLE_USER)] * 1000)
    with pytest.raises(InvalidRequestError) as caught:
        decode_request(request.SerializeToString())
    failure = failure_of_invalid(caught.value)
    assert len(failure.violations) + failure.violations_omitted == 1000
    assert failure.message == "messages[0].parts: must not be empty (and 999 more)"


def test_sampling_is_carried_over_and_zero_is_not_unset() -> None:
    """Each setting arrives, and a zero that was said stays a zero."""
    request = simplest()
    request.sampling.CopyFrom(
        pb.Sampling(
            temperature=0,
            top_p=0.5,
            top_k=1,
            max_output_tokens=10,
            stop=["a", "b"],
            seed=-5,
            frequency_penalty=-2,
            presence_penalty=2,
            top_logprobs=0,
            reasoning_effort=pb.REASONING_EFFORT_MAX,
            reasoning_max_tokens=0,
        )
    )
    assert decode_request(request.SerializeToString()).sampling == Sampling(
        temperature=0,
        top_p=0.5,
        top_k=1,
        max_output_tokens=10,
        stop=("a", "b"),
        seed=-5,
        frequency_penalty=-2,
        presence_penalty=2,
        top_logprobs=0,
        reasoning_effort=ReasoningEffort.MAX,
        reasoning_max_tokens=0,
    )


@pytest.mark.parametrize(
    ("sampling", "path"),
    [
        (pb.Sampling(temperature=float("nan")), "sampling.temperature"),
        (pb.Sampling(temperature=float("inf")), "sampling.temperature"),
        (pb.Sampling(temperature=-0.1), "sampling.temperature"),
        (pb.Sampling(top_p=1.01), "sampling.top_p"),
        (pb.Sampling(top_k=0), "sampling.top_k"),
        (pb.Sampling(max_output_tokens=0), "sampling.max_output_tokens"),
        (pb.Sampling(max_output_tokens=2**64 - 1), "sampling.max_output_tokens"),
        (pb.Sampling(reasoning_max_tokens=2**64 - 1), "sampling.reasoning_max_tokens"),
        (pb.Sampling(frequency_penalty=-2.1), "sampling.frequency_penalty"),
        (pb.Sampling(presence_penalty=2.1), "sampling.presence_penalty"),
        (pb.Sampling(top_logprobs=-1), "sampling.top_logprobs"),
        (pb.Sampling(top_logprobs=21), "sampling.top_logprobs"),
        (pb.Sampling(stop=["x"] * 17), "sampling.stop"),
        (pb.Sampling(stop=["x", ""]), "sampling.stop[1]"),
        (pb.Sampling(stop=["é" * 129]), "sampling.stop[0]"),
        (pb.Sampling.FromString(b"\x50\x63"), "sampling.reasoning_effort"),
    ],
)
def test_a_figure_outside_its_range_is_refused(sampling: pb.Sampling, path: str) -> None:
    """NaN, infinities, casts of negative numbers and unknown enum values among them."""
    request = simplest()
    request.sampling.CopyFrom(sampling)
    assert refused(request) == [path]


def test_a_resume_request_names_its_stream() -> None:
    """The stream's id is required and bounded; the rest is optional."""
    raw = pb.ResumeStreamRequest(stream_id="s1", after_seq=2**63, cancel=True).SerializeToString()
    resume = decode_resume(raw)
    assert (resume.stream_id, resume.after_seq, resume.cancel) == ("s1", 2**63, True)
    for stream_id in ("", "s" * 65, "é" * 33):
        with pytest.raises(InvalidRequestError) as caught:
            decode_resume(pb.ResumeStreamRequest(stream_id=stream_id).SerializeToString())
        assert [each.path for each in caught.value.violations] == ["stream_id"]


def test_a_list_models_request_needs_nothing() -> None:
    """The empty message is one, and unknown fields of a later contract are no error."""
    decode_list_models(b"")
    decode_list_models(b"\x08\x01")
