from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trunkline import v1 as pb
from trunkline_server.rpc.decode import decode_request, decode_resume
from trunkline_server.rpc.status import status_of
from trunkline_server.rpc.violations import InvalidRequestError, failure_of_invalid

RICH = pb.CompleteRequest(
    model="default",
    messages=[
        pb.Message(
            role=pb.ROLE_USER, parts=[pb.Part(text="u"), pb.Part(media=pb.MediaPart(mime_type="image/png", data=b"x"))]
        ),
        pb.Message(
            role=pb.ROLE_ASSISTANT,
            parts=[
                pb.Part(thinking=pb.ThinkingPart(text="t", signature="s")),
                pb.Part(tool_call=pb.ToolCallPart(id="c", name="f", arguments_json='{"a":[1,{"b":null}]}')),
                pb.Part(refusal="r"),
            ],
        ),
        pb.Message(
            role=pb.ROLE_TOOL,
            parts=[pb.Part(tool_result=pb.ToolResultPart(tool_call_id="c", parts=[pb.Part(text="r")]))],
        ),
    ],
    sampling=pb.Sampling(temperature=1, top_k=3, stop=["x"], seed=1, reasoning_effort=pb.REASONING_EFFORT_LOW),
    tools=[
        pb.Tool(function=pb.FunctionTool(name="f", parameters_json_schema='{"type":"object"}')),
        pb.Tool(provider=pb.ProviderTool(provider="p", tool_json="{}")),
    ],
    tool_choice=pb.ToolChoice(mode=pb.ToolChoice.MODE_AUTO, parallel=True),
    output=pb.OutputFormat(json_schema=pb.JsonSchemaFormat(name="n", schema_json="{}")),
    routing=pb.RoutingOptions(
        max_attempts=2,
        exclude_targets=["p"],
        max_first_token=Duration(),
        fallback_models=["m"],
        sticky_key="k",
        criticality=pb.CRITICALITY_CRITICAL,
    ),
    request_id="r1",
    labels={"team": "x"},
    provider_options_json={"openai": '{"user":"u"}'},
).SerializeToString()


def decode_or_refuse(raw: bytes) -> None:
    """Decode `raw`; a refusal must be the one that the boundary knows, with a status that can be sent."""
    try:
        decode_request(raw)
    except InvalidRequestError as error:
        status_of(failure_of_invalid(error))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw a rich request with some of its bytes changed, taken out or put in."""
    raw = bytearray(RICH)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(raw) - 1))
        raw[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(raw)


def test_the_rich_request_is_well_formed() -> None:
    """What the next test damages decodes while it is whole."""
    assert decode_request(RICH).request_id == "r1"


@settings(deadline=None)  # the machine may be busy
@given(raw=st.one_of(damaged(), st.binary(max_size=200)))
@example(raw=b"")
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    """Whatever comes is decoded or refused, never an exception that grpc would show to the caller."""
    decode_or_refuse(raw)


@settings(deadline=None)
@given(raw=st.one_of(st.binary(max_size=80), st.builds(bytes.__add__, st.just(b"\x0a\x42" + b"s" * 66), st.binary())))
def test_no_bytes_raise_anything_else_where_a_stream_is_resumed(raw: bytes) -> None:
    """Ids that are too long, numbers out of range and broken text alike; what is decoded is in bounds."""
    try:
        asked = decode_resume(raw)
    except InvalidRequestError as error:
        status_of(failure_of_invalid(error))
    else:
        assert 1 <= len(asked.stream_id.encode()) <= 64
        assert 0 <= asked.after_seq < 2**64


@settings(deadline=None)
@given(text=st.one_of(st.text(), st.text('{}[]",:\\u01 truefalsn.eE+-', max_size=60)))
def test_no_json_text_raises_anything_else(text: str) -> None:
    """Each field that holds JSON takes any text there is."""
    request = pb.CompleteRequest.FromString(RICH)
    request.messages[1].parts[1].tool_call.arguments_json = text
    request.tools[0].function.parameters_json_schema = text
    request.tools[1].provider.tool_json = text
    request.output.json_schema.schema_json = text
    request.provider_options_json["openai"] = text
    decode_or_refuse(request.SerializeToString())
