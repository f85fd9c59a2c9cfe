"""`Embed`: texts as vectors, through the same machine as answers of models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from trunkline_server.chat.answer import Warning_
from trunkline_server.chat.embedding import EmbedAnswer, EmbedRequest
from trunkline_server.chat.estimate import REQUEST_TOKENS
from trunkline_server.chat.text_tokens import text_tokens
from trunkline_server.engine.alarm import Alarm
from trunkline_server.engine.attempt import Dispatched, ask
from trunkline_server.engine.encoding import HEAVY_BYTES, embeddings_of
from trunkline_server.engine.record import AttemptRecord
from trunkline_server.engine.snapshot import Snapshot
from trunkline_server.engine.unary import WholeCall
from trunkline_server.routing.aliases import Alias, AliasTarget
from trunkline_server.routing.demand import EMBEDDING_DIMENSIONS, EMBEDDINGS, Constraint, Demand
from trunkline_server.routing.failures import FailureClass

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""The vectors of one call as JSON: 2,048 of them with 6,144 numbers each as base64, or with 1,536 as decimals."""

_VECTORS = frozenset({EMBEDDINGS})
_SIZED_VECTORS = frozenset({EMBEDDINGS, EMBEDDING_DIMENSIONS})


class EmbedCall(WholeCall[EmbedRequest, EmbedAnswer]):
    """A call for vectors."""

    async def _exchange(self, sent: Dispatched, record: AttemptRecord, alarm: Alarm) -> EmbedAnswer:
        alarm.set(record.dispatched_at + sent.timeouts.response_s, FailureClass.FIRST_TOKEN_TIMEOUT)
        answer = await ask(
            sent,
            partial(embeddings_of(sent.adapter).decode_embed, self.request),
            max_bytes=MAX_ANSWER_BYTES,
            heavy_bytes=HEAVY_BYTES,
            # With many inputs it is the request that makes the answer so large.
            too_large=FailureClass.CALLER_INVALID if len(self.request.inputs) > 1 else FailureClass.PROTOCOL,
        )
        record.usage = answer.usage
        return self._told_of_space(answer, self.machine.plan.candidates[record.candidate].member)

    def _told_of_space(self, answer: EmbedAnswer, member: AliasTarget) -> EmbedAnswer:
        """Return the answer with a warning if its vectors must not be compared with those that are usual here."""
        usual = _space_of(_first(self.machine.plan.alias))
        if _space_of(member) == usual:
            return answer
        told = f"vectors of {member.target.model}, of another space than those of {usual}"
        return replace(answer, warnings=(*answer.warnings, Warning_("OTHER_MODEL", "allow_other_models", told)))

    def _learn(self, record: AttemptRecord) -> None:
        """Learn how the provider counts; vectors say nothing of how long an alias's answers are."""
        self._need.learn(record.served_by.target, record.usage)


def demand_of_inputs(request: EmbedRequest, alias: Alias, snapshot: Snapshot) -> Demand:
    """Return what the request cannot do without, its exclusions, limits and wishes, and its tokens by estimate."""
    routing = request.routing
    each = [text_tokens(text) for text in request.inputs]
    tokens = REQUEST_TOKENS + sum(each)
    return Demand(
        capabilities=routing.require_capabilities | {EMBEDDINGS},
        features=_VECTORS if request.dimensions is None else _SIZED_VECTORS,
        excluded=routing.exclude_targets,
        allow_fallback=routing.allow_fallback,
        regions=routing.allow_regions,
        input_tokens=tokens,
        window_share=max(each) / tokens,
        output_tokens=0,
        max_cost_nanousd=routing.max_cost_nanousd,
        sticky_key=routing.sticky_key or None,
        streams=False,
        judge=_judge(request, alias, snapshot),
    )


def _judge(request: EmbedRequest, alias: Alias, snapshot: Snapshot) -> Callable[[AliasTarget], Constraint | None]:
    """Return what says of a target why it cannot make these vectors.

    By default all vectors of an alias are of one space, that of its first target which has embeddings at all: they are
    compared with those of earlier requests, and a failover to another model would give numbers that look like any
    others and mean nothing beside them. The same model at another provider may serve.
    """
    space = None if request.allow_other_models else _space_of(_first(alias))
    inputs = len(request.inputs)

    def judge(member: AliasTarget) -> Constraint | None:
        if space is not None and _space_of(member) != space:
            return "embedding_space", f"its vectors are of another space than those of {space}"
        target = member.target
        adapter = snapshot.providers[target.provider].endpoint.adapter_of(target.model)
        if adapter.embeddings is not None and inputs > (most := adapter.embeddings.max_inputs(target.model)):
            return "inputs", f"the request has {inputs} inputs, and one call takes at most {most}"
        return None

    return judge


def _first(alias: Alias) -> AliasTarget:
    """Return the first target that may have embeddings; if none may, the first."""
    members = [member for tier in alias.tiers for member in tier.members]
    return next(filter(_may_embed, members), members[0])


def _may_embed(member: AliasTarget) -> bool:
    known, carried = member.facts.capabilities, member.features
    return (known is None or EMBEDDINGS in known) and (carried is None or EMBEDDINGS in carried)


def _space_of(member: AliasTarget) -> str:
    """Return whose vectors a target's may be compared with: by its facts, else those of models of its name.

    Resellers put the vendor before the name, as in `openai/text-embedding-3-small`.
    """
    return member.facts.embedding_space or member.target.model.rpartition("/")[2]
