"""Answers, explanations, model lists and frames as the bytes of their messages: what the boundary writes."""

from __future__ import annotations

import math

from trunkline import v1 as pb
from trunkline_server.engine.frames import CompletedCall, ExplainedCandidate, Explanation, ModelInfo, ModelList
from trunkline_server.rpc.bounded_text import MAX_NATIVE_REASON_BYTES, cut_utf8
from trunkline_server.rpc.encode_frames import encode_frame
from trunkline_server.rpc.encode_message import FINISH_REASON_PB, fill_message, logprob_pb
from trunkline_server.rpc.encode_route import (
    MAX_MESSAGE_BYTES,
    duration_pb,
    fill_attempt,
    fill_route,
    fill_timestamp,
    fill_usage,
    target_pb,
    warning_pb,
)

__all__ = ["encode_completed", "encode_explanation", "encode_frame", "encode_models"]


def encode_completed(call: CompletedCall) -> bytes:
    """Return the serialized CompleteResponse of a whole answer."""
    answer = call.answer
    response = pb.CompleteResponse(
        request_id=call.request_id,
        finish_reason=FINISH_REASON_PB[answer.finished.reason],
        native_finish_reason=cut_utf8(answer.finished.native_reason, MAX_NATIVE_REASON_BYTES),
    )
    fill_message(response.message, answer.message)
    if answer.usage is not None:
        fill_usage(response.usage, answer.usage)
    fill_route(response.route, call.route)
    for attempt in call.attempts:
        fill_attempt(response.attempts.add(), attempt)
    fill_timestamp(response.created, call.created_unix_s)
    if answer.logprobs:
        response.logprobs.extend(map(logprob_pb, answer.logprobs))
    if call.warnings:
        response.warnings.extend(map(warning_pb, call.warnings))
    return response.SerializeToString()


def encode_explanation(explanation: Explanation) -> bytes:
    """Return the serialized RouteExplanation."""
    message = pb.RouteExplanation(candidates=map(_candidate_pb, explanation.candidates))
    fill_route(message.route, explanation.route)
    return message.SerializeToString()


def encode_models(models: ModelList) -> bytes:
    """Return the serialized ListModelsResponse."""
    return pb.ListModelsResponse(
        models=map(_model_pb, models.models), route_version=models.route_version
    ).SerializeToString()


def _candidate_pb(candidate: ExplainedCandidate) -> pb.RouteExplanation.Candidate:
    """Return one candidate of a plan."""
    first_token_s, score = candidate.predicted_first_token_s, candidate.score
    return pb.RouteExplanation.Candidate(
        target=target_pb(candidate.target, region=candidate.region),
        tier=candidate.tier,
        order=candidate.order,
        eligible=candidate.eligible,
        removed_because=[cut_utf8(because, MAX_MESSAGE_BYTES) for because in candidate.removed_because],
        predicted_first_token=None if first_token_s is None else duration_pb(first_token_s),
        predicted_cost_nanousd=candidate.predicted_cost_nanousd,
        variant=candidate.variant,
        weight=candidate.weight,
        ordered_by=candidate.ordered_by,
        score=score if score is not None and math.isfinite(score) else None,
        late=candidate.late,
        in_flight=candidate.in_flight,
        circuit=candidate.circuit,
        keys=cut_utf8(candidate.keys, MAX_MESSAGE_BYTES),
    )


def _model_pb(model: ModelInfo) -> pb.Model:
    """Return one alias or model; figures that are not known stay unset."""
    return pb.Model(
        name=model.name,
        is_alias=model.is_alias,
        targets=map(target_pb, model.targets),
        capabilities=model.capabilities,
        context_tokens=model.context_tokens,
        max_output_tokens=model.max_output_tokens,
        input_nanousd_per_million=model.input_nanousd_per_million,
        output_nanousd_per_million=model.output_nanousd_per_million,
    )
