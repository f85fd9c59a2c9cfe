from __future__ import annotations

import math

import pytest

from trunkline import v1 as pb
from trunkline_server.chat.answer import Answer, Finished, FinishReason, TokenLogprob, Usage, UsageSource, Warning_
from trunkline_server.chat.message import (
    MediaPart,
    Message,
    RefusalPart,
    Role,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from trunkline_server.engine.frames import (
    CompletedCall,
    ExplainedCandidate,
    Explanation,
    ModelInfo,
    ModelList,
    RouteInfo,
)
from trunkline_server.routing.types import TargetId
from trunkline_server.rpc.decode_message import decode_messages
from trunkline_server.rpc.encode import encode_completed, encode_explanation, encode_models
from trunkline_server.rpc.encode_message import message_pb
from trunkline_server.rpc.encode_route import MAX_DURATION_S, duration_pb, usage_pb
from trunkline_server.rpc.violations import Violations

ROUTE = RouteInfo("p/m", "", 1, "", None, ())


def completed(reason: FinishReason = FinishReason.STOP, usage: Usage | None = None) -> pb.CompleteResponse:
    answer = Answer(
        Message(Role.ASSISTANT, (TextPart("hi"),)),
        Finished(reason, "native"),
        usage,
        (TokenLogprob("hi", -0.5),),
        (Warning_("the attempt's own", "", ""),),
    )
    call = CompletedCall("r1", answer, ROUTE, (), 5.5, (Warning_("w", "f", "m"),))
    return pb.CompleteResponse.FromString(encode_completed(call))


def test_a_whole_answer_is_encoded() -> None:
    """Message, reasons, route, time, log-probabilities; warnings once, as the engine gathered them."""
    response = completed()
    assert (response.request_id, response.native_finish_reason) == ("r1", "native")
    assert response.message.role == pb.ROLE_ASSISTANT
    assert response.message.parts[0].text == "hi"
    assert not response.HasField("usage")
    assert not response.route.HasField("served_by")
    assert response.created.ToMilliseconds() == 5500
    assert response.logprobs[0].logprob == -0.5
    assert [each.code for each in response.warnings] == ["w"]


@pytest.mark.parametrize("reason", FinishReason, ids=lambda reason: reason.value)
def test_every_finish_reason_has_its_number(reason: FinishReason) -> None:
    """The names of our words are those of the contract."""
    assert pb.FinishReason.Name(completed(reason).finish_reason) == f"FINISH_REASON_{reason.value}"


def test_unknown_usage_is_unset_and_zero_is_told() -> None:
    """What no provider can have counted is unknown too."""
    response = completed(usage=Usage(0, None, source=UsageSource.PROVIDER, cost_nanousd=-5))
    assert response.usage.HasField("input_tokens")
    assert not response.usage.HasField("output_tokens")
    assert response.usage.source == pb.Usage.SOURCE_PROVIDER
    assert response.usage.cost_nanousd == -5
    assert not usage_pb(Usage(input_tokens=-1, output_tokens=2**70)).ListFields()


def test_messages_survive_the_way_out_and_in_again() -> None:
    """What we answer can be sent back as it is."""
    assistant = Message(
        Role.ASSISTANT,
        (
            TextPart("t"),
            ThinkingPart("why", "sig", provider="p"),
            ThinkingPart("", "sealed", redacted=True),
            ToolCallPart("c1", "f", '{"a": 1}'),
            RefusalPart("no"),
            MediaPart("image/png", data=b"x"),
            MediaPart("", uri="https://h/x"),
            MediaPart("", file_id="f", provider="p"),
        ),
        "name",
    )
    tool = Message(Role.TOOL, (ToolResultPart("c1", (TextPart("r"),), is_error=True),))
    found = Violations()
    assert decode_messages([message_pb(assistant), message_pb(tool)], found) == (assistant, tool)
    found.raise_if_any()


FIGURES = {"predicted_first_token", "predicted_cost_nanousd", "score", "in_flight"}


def told(candidate: pb.RouteExplanation.Candidate) -> set[str]:
    return {field.name for field, _ in candidate.ListFields()}


def explained(*candidates: ExplainedCandidate) -> list[pb.RouteExplanation.Candidate]:
    return list(pb.RouteExplanation.FromString(encode_explanation(Explanation(ROUTE, candidates))).candidates)


def test_an_explanation_shows_every_candidate() -> None:
    """Those that may serve with their order, the others with what removed them; what is not known stays unset."""
    first, second = explained(
        ExplainedCandidate(TargetId("a", "m"), 0, 1, eligible=True, removed_because=(), region="eu"),
        ExplainedCandidate(TargetId("b", "m"), 1, 0, eligible=False, removed_because=("capability:vision",)),
    )
    assert (first.target.provider, first.target.region, first.tier, first.order, first.eligible) == (
        "a",
        "eu",
        0,
        1,
        True,
    )
    assert (second.order, second.eligible, list(second.removed_because)) == (0, False, ["capability:vision"])
    assert told(first).isdisjoint(FIGURES)


def test_an_explanation_tells_what_is_known_of_a_candidate() -> None:
    """Figures, scores and states; a cost, a score and a load of zero are told; a long reason is cut."""
    busy, idle = explained(
        ExplainedCandidate(
            TargetId("a", "m"), 0, 1, eligible=True, removed_because=(), predicted_first_token_s=0.25,
            predicted_cost_nanousd=1_500, variant="b", weight=2.5, ordered_by="least_loaded", score=0.125, late=True,
            in_flight=3, circuit="HALF_OPEN", keys="all keys cool",
        ),
        ExplainedCandidate(
            TargetId("b", "m"), 1, 2, eligible=True, removed_because=("é" * 1000,), predicted_first_token_s=0.0,
            predicted_cost_nanousd=0, weight=0.0, score=0.0, in_flight=0,
        ),
    )  # fmt: skip
    assert busy.predicted_first_token.ToMilliseconds() == 250
    assert (busy.predicted_cost_nanousd, busy.variant, busy.weight) == (1_500, "b", 2.5)
    assert (busy.ordered_by, busy.score, busy.late, busy.in_flight) == ("least_loaded", 0.125, True, 3)
    assert (busy.circuit, busy.keys) == ("HALF_OPEN", "all keys cool")
    assert told(idle) >= FIGURES
    assert (idle.predicted_cost_nanousd, idle.score, idle.in_flight, idle.weight, idle.late) == (0, 0.0, 0, 0.0, False)
    assert 0 < len(idle.removed_because[0].encode()) <= 500
    (standby,) = explained(
        ExplainedCandidate(TargetId("c", "m"), 0, 3, eligible=True, removed_because=(), score=math.inf)
    )
    assert not standby.HasField("score")


def test_a_model_list_leaves_unknown_figures_unset() -> None:
    """A price of zero is a price."""
    models = ModelList(
        (
            ModelInfo(
                name="default",
                is_alias=True,
                targets=(TargetId("a", "m"),),
                capabilities=("tools",),
                context_tokens=None,
                max_output_tokens=None,
                input_nanousd_per_million=None,
                output_nanousd_per_million=None,
            ),
            ModelInfo(
                name="a/m",
                is_alias=False,
                targets=(),
                capabilities=(),
                context_tokens=128_000,
                max_output_tokens=4096,
                input_nanousd_per_million=0,
                output_nanousd_per_million=600_000_000,
            ),
        ),
        9,
    )
    response = pb.ListModelsResponse.FromString(encode_models(models))
    assert response.route_version == 9
    alias, model = response.models
    assert (alias.name, alias.is_alias, alias.targets[0].model, list(alias.capabilities)) == (
        "default",
        True,
        "m",
        ["tools"],
    )
    assert not alias.HasField("context_tokens")
    assert (model.context_tokens, model.max_output_tokens) == (128_000, 4096)
    assert model.HasField("input_nanousd_per_million")
    assert model.output_nanousd_per_million == 600_000_000


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [
        (0.0, 0),
        (0.25, 250_000_000),
        (1.5, 1_500_000_000),
        (-1.0, 0),
        (math.nan, 0),
        (math.inf, MAX_DURATION_S * 10**9),
        (5e-324, 0),
        (1 - 2**-53, 999_999_999),
    ],
)
def test_any_float_is_a_duration(seconds: float, nanos: int) -> None:
    """What no clock can have measured becomes the nearest that is possible."""
    duration = duration_pb(seconds)
    assert duration.seconds * 10**9 + duration.nanos == nanos
