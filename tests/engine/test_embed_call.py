"""`Embed` through the engine: the same machine as for answers, and what is vectors' own."""

from __future__ import annotations

import base64
import json
import threading
import time
from array import array
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.engine.scripted import Said, World, forever

from trunkline_server.chat.answer import Usage, UsageSource
from trunkline_server.chat.embedding import EmbedAnswer, EmbedRequest
from trunkline_server.chat.request import RoutingOptions
from trunkline_server.engine import encoding
from trunkline_server.engine.endpoint import Timeouts
from trunkline_server.engine.frames import CallFailedError, CallFailure, EmbeddedCall
from trunkline_server.providers.base import AdapterTerms
from trunkline_server.providers.openai import OpenAIAdapter
from trunkline_server.providers.openai.embeddings import OpenAIEmbeddings
from trunkline_server.providers.quirks import Quirks
from trunkline_server.providers.transport.base import BodyTooLargeError
from trunkline_server.routing.aliases import ModelFacts
from trunkline_server.routing.events import Why
from trunkline_server.routing.failures import FailureClass
from trunkline_server.routing.types import Caller, Reason

TWO = EmbedRequest("default", ("a", "b"), "r1")
VECTORS = (array("f", [0.5, 0.25]), array("f", [1.0, -2.0]))


def said(*vectors: array[float], tokens: int = 7) -> bytes:
    """Return the body of a provider's answer."""
    data = [{"index": at, "embedding": base64.b64encode(each.tobytes()).decode()} for at, each in enumerate(vectors)]
    return json.dumps({"data": data, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}).encode()


WHOLE = said(*VECTORS)


async def embed(world: World, request: EmbedRequest = TWO, deadline_s: float | None = None) -> EmbeddedCall:
    """Return the vectors; slots and keys are free whatever comes of it."""
    try:
        return await world.engine.embed(request, world.scope(deadline_s))
    finally:
        assert world.held == 0


async def failed(world: World, request: EmbedRequest = TWO, deadline_s: float | None = None) -> CallFailure:
    with pytest.raises(CallFailedError) as caught:
        await embed(world, request, deadline_s)
    return caught.value.failure


async def test_vectors_come_with_their_route_and_usage() -> None:
    """One attempt, at the embeddings of the provider; its tokens are those of the inputs alone."""
    world = World()
    response = world.upstream.answers(WHOLE)
    done = await embed(world)
    assert done.answer.vectors == VECTORS
    assert done.answer.usage == Usage(input_tokens=7, output_tokens=0, source=UsageSource.PROVIDER)
    assert (done.request_id, done.route.alias, str(done.route.served_by.target)) == ("r1", "default", "one/m")  # type: ignore[union-attr]  # served
    assert [attempt.why for attempt in done.attempts] == [Why.FIRST]
    assert done.warnings == ()
    assert response.closed
    sent = world.upstream.sent[0]
    assert sent.url == "http://up/embeddings"
    assert json.loads(sent.body)["input"] == ["a", "b"]


async def test_the_input_s_price_alone_is_the_cost() -> None:
    """Vectors have no output, so its price need not be known; the alias learns nothing of long answers."""
    world = World(facts=ModelFacts(input_nanousd_per_million=20_000_000))
    world.upstream.answers(said(*VECTORS, tokens=1_000))
    done = await embed(world, replace(TWO, routing=RoutingOptions(max_cost_nanousd=1_000)))
    assert done.answer.usage is not None
    assert done.answer.usage.cost_nanousd == 20_000
    snapshot = world.engine._snapshots.current
    outputs = snapshot.table.resolve("default", Caller("c")).outputs
    assert repr(outputs) == "<OutputSizes: 0 answers>"


async def test_too_dear_inputs_are_filtered() -> None:
    """By their estimated tokens and the price of input."""
    world = World(facts=ModelFacts(input_nanousd_per_million=20_000_000))
    failure = await failed(world, replace(TWO, routing=RoutingOptions(max_cost_nanousd=1)))
    assert failure.reason is Reason.NO_ELIGIBLE_TARGET
    assert "cost" in failure.metadata


async def test_another_key_and_the_same_target_are_tried() -> None:
    """A failure that may be moved is moved, as for any call: the machine is the same."""
    world = World()
    world.upstream.answers(b"{}", status=429)
    world.upstream.answers(b"{}", status=503)
    world.upstream.answers(WHOLE)
    done = await embed(world)
    assert [attempt.why for attempt in done.attempts] == [Why.FIRST, Why.KEY_WALK, Why.RETRY]
    assert done.answer.vectors == VECTORS


async def test_the_same_model_elsewhere_takes_over() -> None:
    """A reseller's name for the model, with the vendor in front of it, is the same model."""
    world = World(models=(("m",), ("vendor/m",)))
    world.upstream.answers(b"{}", status=404)
    world.upstream.answers(b"{}", status=404)
    world.upstream.answers(WHOLE)
    done = await embed(world)
    assert str(done.route.served_by.target) == "one/vendor/m"  # type: ignore[union-attr]  # served
    assert done.warnings == ()


async def test_another_model_takes_over_only_if_the_request_says_so() -> None:
    """Its vectors are of another space: it is no candidate, or a warning tells which model it was."""
    world = World(models=(("m",), ("n",)))
    world.upstream.answers(b"{}", status=404)
    failure = await failed(world)
    assert failure.reason is Reason.MODEL_UNAVAILABLE
    assert [attempt.served_by.target.model for attempt in failure.attempts] == ["m", "m"]

    world = World(models=(("m",), ("n",)))
    for _ in range(2):
        world.upstream.answers(b"{}", status=404)
    world.upstream.answers(WHOLE)
    done = await embed(world, replace(TWO, allow_other_models=True))
    assert str(done.route.served_by.target) == "one/n"  # type: ignore[union-attr]  # served
    assert [(warning.code, warning.field) for warning in done.warnings] == [("OTHER_MODEL", "allow_other_models")]
    assert done.warnings[0].message == "vectors of n, of another space than those of m"


async def test_borrowed_models_are_held_to_the_same_space() -> None:
    """The request's own fallback models too, unless it allows others."""
    world = World()
    world.upstream.answers(WHOLE)
    routing = RoutingOptions(fallback_models=("one/n",), exclude_targets=frozenset({"one/m"}))
    failure = await failed(world, replace(TWO, routing=routing))
    assert failure.reason is Reason.NO_ELIGIBLE_TARGET
    assert failure.metadata == {"exclude_targets": "one/m", "embedding_space": "one/n"}
    assert failure.message.endswith("embedding_space removed one/n (its vectors are of another space than those of m)")
    assert (await embed(world, replace(TWO, routing=routing, allow_other_models=True))).answer.vectors == VECTORS


async def test_models_of_one_space_stand_in_for_each_other() -> None:
    """Where the routes say that two names mean the same vectors."""
    world = World(models=(("m",), ("n",)), facts=ModelFacts(embedding_space="both"))
    for _ in range(2):
        world.upstream.answers(b"{}", status=404)
    world.upstream.answers(WHOLE)
    done = await embed(world)
    assert str(done.route.served_by.target) == "one/n"  # type: ignore[union-attr]  # served
    assert done.warnings == ()


async def test_more_inputs_than_one_call_takes_are_refused_by_name() -> None:
    """Nothing is split: a part of the vectors would be no answer."""
    failure = await failed(World(), replace(TWO, inputs=("a",) * 2_049))
    assert failure.reason is Reason.NO_ELIGIBLE_TARGET
    assert failure.metadata == {"inputs": "one/m"}
    told = "inputs removed one/m (the request has 2049 inputs, and one call takes at most 2048)"
    assert failure.message == f"no target fits the request: {told}"


@pytest.mark.parametrize(
    ("capabilities", "embeds", "answers"),
    [
        (None, True, True),
        ({"embeddings"}, True, False),
        ({"tools"}, False, True),
        ({"embeddings", "chat"}, True, True),
        (set(), False, True),
    ],
)
async def test_models_do_what_they_are_known_for(capabilities: set[str] | None, *, embeds: bool, answers: bool) -> None:
    """One that is known makes vectors if it says so, and answers unless that is all that it says."""
    facts = ModelFacts(capabilities=None if capabilities is None else frozenset(capabilities))
    world = World(facts=facts)
    world.upstream.answers(WHOLE)
    if embeds:
        assert (await embed(world)).answer.vectors == VECTORS
    else:
        assert "capability removed one/m (the model lacks: embeddings)" in (await failed(world)).message
    world = World(facts=facts)
    world.upstream.answers(Said.WHOLE)
    if answers:
        await world.engine.complete(world.request(), world.scope())
    else:
        with pytest.raises(CallFailedError) as caught:
            await world.engine.complete(world.request(), world.scope())
        assert "(the model makes vectors of texts, and no answers)" in caught.value.failure.message


async def test_each_input_has_a_window_of_its_own() -> None:
    """Many inputs may be longer than the window together; one alone may not."""
    world = World(facts=ModelFacts(context_tokens=100))
    text = "word " * 60
    world.upstream.answers(said(*VECTORS * 5))
    assert len((await embed(world, replace(TWO, inputs=(text,) * 10))).answer.vectors) == 10
    failure = await failed(world, replace(TWO, inputs=("a", text * 3)))
    assert failure.reason is Reason.NO_ELIGIBLE_TARGET
    assert "do not fit into a window of 100" in failure.message


async def test_a_protocol_that_lost_its_embeddings_fails_the_attempt() -> None:
    """Where a reload took them away after the plan was made: another target may have them."""
    world = World(adapter=OpenAIAdapter(AdapterTerms(quirks=Quirks(lacks=frozenset({"embeddings"})))))
    failure = await failed(world)
    assert failure.failure_class is FailureClass.MODEL_UNAVAILABLE
    assert world.upstream.sent == []


@pytest.mark.parametrize(("inputs", "expected"), [(2, FailureClass.CALLER_INVALID), (1, FailureClass.PROTOCOL)])
async def test_an_answer_without_end_is_blamed_on_who_made_it(inputs: int, expected: FailureClass) -> None:
    """Many inputs make a large answer by themselves, and no caller may ruin a provider's name with them."""
    world = World()
    world.upstream.answers(BodyTooLargeError(64))
    failure = await failed(world, replace(TWO, inputs=("a",) * inputs))
    assert failure.failure_class is expected
    assert failure.failure is not None
    assert failure.failure.message == "the answer is larger than 64 bytes"


class WatchedEmbeddings(OpenAIEmbeddings):
    """Remembers the threads in which answers were read."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[threading.Thread] = []

    def decode_embed(self, request: EmbedRequest, status: int, headers: Mapping[str, str], body: bytes) -> EmbedAnswer:
        self.threads.append(threading.current_thread())
        return super().decode_embed(request, status, headers, body)


@pytest.mark.parametrize("heavy", [False, True])
async def test_large_answers_are_read_beside_the_loop(*, heavy: bool) -> None:
    """So that a thousand vectors hold up nobody else's call; small ones are read at once."""
    adapter = OpenAIAdapter()
    adapter.embeddings = watched = WatchedEmbeddings()
    world = World(adapter=adapter)
    world.upstream.answers(WHOLE + b" " * (encoding.HEAVY_BYTES if heavy else 0))
    assert (await embed(world)).answer.vectors == VECTORS
    assert [thread is threading.main_thread() for thread in watched.threads] == [not heavy]


async def test_a_late_provider_and_a_late_caller_end_the_call() -> None:
    """By the timer of whole answers, and by the caller's own deadline."""
    world = World(timeouts=Timeouts(response_s=0.05))
    world.upstream.answers(forever)
    assert (await failed(world)).failure_class is FailureClass.FIRST_TOKEN_TIMEOUT
    began = time.monotonic()
    assert (await failed(World(upstream=world.upstream), deadline_s=0.05)).reason is Reason.DEADLINE
    assert time.monotonic() - began < 2


async def test_the_end_is_told_like_any_other_call_s() -> None:
    """To whoever watches the traffic."""
    world = World()
    world.upstream.answers(WHOLE)
    await embed(world)
    [outcome] = world.ended
    assert (outcome.alias, outcome.streams, outcome.failed) == ("default", False, False)


@pytest.mark.parametrize(
    ("lacks", "options", "expected"),
    [
        (frozenset(), {"one": {"input": 1, "user": "u"}}, ['provider_options_json["one"].input']),
        (frozenset(), {"two": {}}, ['provider_options_json["two"]']),
        (frozenset({"embeddings"}), {"one": {"user": "u"}}, ['provider_options_json["one"]']),
    ],
)
def test_options_are_judged_by_the_embeddings(
    lacks: frozenset[str], options: dict[str, dict[str, Any]], expected: list[str]
) -> None:
    """Not by the chat protocol beside them; who has no embeddings takes no options for them."""
    world = World(adapter=OpenAIAdapter(AdapterTerms(quirks=Quirks(lacks=lacks))))
    found = world.engine.check_options(replace(TWO, provider_options=options), Caller("c"))
    assert [violation.path for violation in found] == expected


async def test_options_of_others_are_told_as_unused() -> None:
    """As for answers: a warning, and nothing is refused."""
    world = World()
    world.upstream.answers(WHOLE)
    done = await embed(world, replace(TWO, provider_options={"other": {"user": "u"}}))
    assert [warning.code for warning in done.warnings] == ["OPTIONS_UNUSED"]
