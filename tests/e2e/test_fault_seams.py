"""Seams: what the next target is handed when a stream breaks, and what its caller has in the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.conftest import ENVIRONMENT, ask

from trunkline import Answer, StreamBrokenError, StreamError, read_stream_aio
from trunkline.v1 import (
    FINISH_REASON_LENGTH,
    ON_BREAK_CONTINUE,
    ON_BREAK_FAIL,
    ON_BREAK_RESTART,
    ON_BREAK_UNSPECIFIED,
    AttemptFailed,
    AttemptSummary,
    CompleteRequest,
    Continuation,
    End,
    RoutingOptions,
    Sampling,
)

if TYPE_CHECKING:
    from tests.e2e.conftest import Gateway, Gateways

ROUTES = """
version: 1
providers:
  one: {{protocol: openai, base_url: {base}, keys: [{{id: a, secret: env:ONE_A_API_KEY}}]}}
  two: {{protocol: openai, base_url: {base}, keys: [{{id: c, secret: env:TWO_C_API_KEY}}]}}
models:
  two/prefill: {{capabilities: [prefill]}}
  two/second: {{capabilities: [prefill]}}
aliases:
  prefill: {{tiers: [[one/broken], [two/prefill], [two/second]], on_break: CONTINUE}}
  prompted: {{tiers: [[one/broken], [two/prompted]], allow_prompted_continuation: true, on_break: CONTINUE}}
"""

TEXT = "".join(f"{line}: žluťoučký kůň úpěl ďábelské ódy, 東京では雨が降っています。🎉 " for line in range(12))
CHUNKS = 4
"""Each is a quarter of the text."""
METHODS = {"prefill": Continuation.METHOD_PREFILL, "prompted": Continuation.METHOD_PROMPTED}


def scenario(*, content: str = TEXT, repeat_bytes: int = 0, **broken: Any) -> dict[str, Any]:
    """Return a primary that breaks (after its second chunk unless said otherwise) and two healthy models behind it."""
    return {
        "prefill_models": ["prefill", "second"],
        "default": {"content": content, "chunks": CHUNKS},
        "models": {
            "broken": broken or {"cut_after_chunks": 2},
            "prompted": {"goes_on": {"repeat_bytes": repeat_bytes}},
        },
    }


@dataclass
class Told:
    """An answer, whole or partial, and how it ended."""

    answer: Answer
    error: StreamError | None
    handed: list[dict[str, Any]]
    """The bodies that reached the upstream, in order."""

    @property
    def broken(self) -> list[AttemptFailed]:
        """The breaks that were told."""
        return [each.failed for each in self.answer.breaks]

    def whys(self) -> list[str]:
        """Return why each attempt was made."""
        return [AttemptSummary.Why.Name(each.why).removeprefix("WHY_") for each in self.answer.attempts]


async def told(running: Gateway, alias: str, **fields: Any) -> Told:
    """Stream an answer through the client's reader."""
    error: StreamError | None = None
    try:
        answer = await read_stream_aio(running.stub.StreamComplete(request(alias, **fields), timeout=30)).answer()
    except StreamError as raised:
        answer, error = raised.partial, raised
    await running.quiet()
    return Told(answer, error, [record.json for record in running.simulator.stats.last_requests])


def request(alias: str, **fields: Any) -> CompleteRequest:
    return ask(model=alias, **fields)


@pytest.mark.parametrize("alias", METHODS)
async def test_the_next_target_gets_the_text_so_far_and_what_is_left_of_the_limit(
    gateway: Gateways, alias: str
) -> None:
    """The conversation, the text so far as the assistant's turn, and a smaller output limit; the seam is shown."""
    async with gateway(scenario(), routes=ROUTES, environ=ENVIRONMENT) as running:
        got = await told(running, alias, sampling=Sampling(max_output_tokens=4000))
        assert got.error is None
        assert got.answer.text == TEXT
        assert got.whys() == ["FIRST", "CONTINUATION"]
        first, second = got.handed
        so_far = TEXT[: len(TEXT) // 2].rstrip()
        assert second["messages"][:2] == [*first["messages"], {"role": "assistant", "content": so_far}]
        roles = [message["role"] for message in second["messages"]]
        assert roles == ["user", "assistant"] + (["user"] if alias == "prompted" else [])
        assert first["max_completion_tokens"] == 4000
        assert 0 < second["max_completion_tokens"] < 4000
        (seam,) = got.answer.seams
        assert (seam.continuation.method, seam.text_at) == (METHODS[alias], len(TEXT) // 2)
        assert running.simulator.stats.last_requests[-1].went_on_after_bytes == len(so_far.encode())


async def test_a_limit_that_is_used_up_ends_the_stream_as_length(gateway: Gateways) -> None:
    """Nothing is left to go on for: INCOMPLETE, LENGTH, and no other target is asked."""
    async with gateway(scenario(), routes=ROUTES, environ=ENVIRONMENT) as running:
        got = await told(running, "prefill", sampling=Sampling(max_output_tokens=8))
        assert got.error is None
        assert (got.answer.outcome, got.answer.finish_reason) == (End.OUTCOME_INCOMPLETE, FINISH_REASON_LENGTH)
        assert got.answer.text == TEXT[: len(TEXT) // 2]
        assert len(got.handed) == 1


@pytest.mark.parametrize("repeat_bytes", [0, 6, 15, 16, 17, 40, 200, 255, 256, 280])
async def test_a_repetition_is_cut_where_it_is_sure_to_be_one(gateway: Gateways, repeat_bytes: int) -> None:
    """From 16 to 256 bytes are cut, across characters of any length, and told; shorter and longer ones stay."""
    so_far = TEXT[: len(TEXT) // 2].rstrip()
    repeated = so_far.encode()[len(so_far.encode()) - repeat_bytes :].decode(errors="ignore")
    cut = 16 <= len(repeated.encode()) <= 256
    async with gateway(scenario(repeat_bytes=repeat_bytes), routes=ROUTES, environ=ENVIRONMENT) as running:
        got = await told(running, "prompted")
        assert got.error is None
        (seam,) = got.answer.seams
        assert seam.continuation.overlap_bytes == (len(repeated.encode()) if cut else 0)
        half = len(TEXT) // 2
        space = TEXT[len(so_far) : half] if repeated else ""
        assert got.answer.text == (TEXT if cut else TEXT[:half] + repeated + space + TEXT[half:])


@pytest.mark.parametrize("alias", METHODS)
@pytest.mark.parametrize("space", [" ", "\n\n", " \t\n "])
async def test_white_space_at_the_seam_is_neither_lost_nor_doubled(gateway: Gateways, alias: str, space: str) -> None:
    """What is left off the text that is handed on is left off the front of what comes."""
    content = "".join(f"sentence number {number}.{space}" for number in range(CHUNKS))
    async with gateway(scenario(content=content, repeat_bytes=18), routes=ROUTES, environ=ENVIRONMENT) as running:
        got = await told(running, alias)
        assert got.handed[-1]["messages"][1]["content"] == content[: len(content) // 2].rstrip()
        assert got.answer.text == content


@pytest.mark.parametrize("alias", METHODS)
async def test_reasoning_is_not_carried_over(gateway: Gateways, alias: str) -> None:
    """The next target gets the text alone, and the answer's text is whole."""
    broken = scenario(reasoning="let me think about it", cut_after_chunks=7)
    async with gateway(broken, routes=ROUTES, environ=ENVIRONMENT) as running:
        got = await told(running, alias)
        assert got.error is None
        assert (got.answer.text, got.answer.thinking) == (TEXT, "let me think about it")
        assert "think" not in str(got.handed[-1]["messages"])


async def test_reasoning_alone_is_nothing_to_go_on_from(gateway: Gateways) -> None:
    """A break before the first text is a restart, and says why it is not a continuation."""
    broken = scenario(reasoning="let me think about it", cut_after_chunks=2)
    async with gateway(broken, routes=ROUTES, environ=ENVIRONMENT) as running:
        got = await told(running, "prefill")
        assert got.error is None
        assert (got.answer.text, got.answer.thinking) == (TEXT, "")
        assert got.whys() == ["FIRST", "RESTART"]
        (broken_attempt,) = got.broken
        assert (broken_attempt.on_break_asked, broken_attempt.on_break_applied) == (ON_BREAK_CONTINUE, ON_BREAK_RESTART)
        assert broken_attempt.degraded_because


@pytest.mark.parametrize("on_break", [ON_BREAK_RESTART, ON_BREAK_CONTINUE], ids=["RESTART", "CONTINUE"])
async def test_a_second_break_ends_the_stream(gateway: Gateways, on_break: Any) -> None:
    """One attempt is made after the commit point and no more: both breaks are told, the second one gives up."""
    twice = scenario()
    twice["models"]["prefill"] = {"cut_after_chunks": 1}
    async with gateway(twice, routes=ROUTES, environ=ENVIRONMENT) as running:
        got = await told(running, "prefill", routing=RoutingOptions(on_break=on_break))
        assert isinstance(got.error, StreamBrokenError)
        assert (got.error.failure.code.name, got.error.failure.reason) == ("ABORTED", "STREAM_BROKEN")
        first, second = got.broken
        going = AttemptFailed.NEXT_RESTARTING if on_break == ON_BREAK_RESTART else AttemptFailed.NEXT_CONTINUING
        assert (first.next, second.next) == (going, AttemptFailed.NEXT_GIVING_UP)
        assert (second.on_break_asked, second.on_break_applied) == (on_break, ON_BREAK_FAIL)
        assert second.degraded_because
        quarters = 1 if on_break == ON_BREAK_RESTART else 3
        delivered = TEXT[: len(TEXT) * quarters // CHUNKS]
        if on_break == ON_BREAK_RESTART:
            assert got.answer.text == delivered
        else:
            # Its one piece is the rest of the piece at the seam, white space and all, or more.
            assert TEXT.startswith(got.answer.text)
            assert len(got.answer.text) > len(TEXT) // 2
        assert len(got.handed) == 2


@pytest.mark.parametrize("on_break", [ON_BREAK_RESTART, ON_BREAK_CONTINUE], ids=["RESTART", "CONTINUE"])
async def test_what_was_shown_stands_if_nobody_takes_over(gateway: Gateways, on_break: Any) -> None:
    """The next attempt fails before its first content: nothing was taken back, and the stream ends as broken."""
    twice = scenario()
    twice["models"]["prefill"] = {"status": 500}
    async with gateway(twice, routes=ROUTES, environ=ENVIRONMENT) as running:
        got = await told(running, "prefill", routing=RoutingOptions(on_break=on_break))
        assert isinstance(got.error, StreamBrokenError)
        assert got.error.failure.reason == "STREAM_BROKEN"
        assert got.answer.text == TEXT[: len(TEXT) // 2]
        assert len(got.answer.attempts) == len(got.handed) == 2


@pytest.mark.parametrize(
    ("on_break", "whys"),
    [(ON_BREAK_UNSPECIFIED, ["FIRST", "CONTINUATION"]), (ON_BREAK_RESTART, ["FIRST", "RESTART"]),
     (ON_BREAK_FAIL, ["FIRST"])],
    ids=["unset", "RESTART", "FAIL"],
)  # fmt: skip
async def test_a_request_asks_and_its_alias_sets_the_default(gateway: Gateways, on_break: Any, whys: list[str]) -> None:
    """The alias says CONTINUE, which holds where the request says nothing."""
    async with gateway(scenario(), routes=ROUTES, environ=ENVIRONMENT) as running:
        got = await told(running, "prefill", routing=RoutingOptions(on_break=on_break))
        assert got.whys() == whys
        assert got.broken[0].on_break_asked == (on_break or ON_BREAK_CONTINUE)
        assert (got.error is None) == (len(whys) == 2)


async def test_a_restart_may_go_back_to_the_same_target(gateway: Gateways) -> None:
    """With no other target allowed, one that was cut is asked again, after its backoff."""
    once = scenario()
    once["models"].pop("broken")
    once["rules"] = [{"model": "broken", "times": 1, "fault": {"cut_after_chunks": 2}}]
    async with gateway(once, routes=ROUTES, environ=ENVIRONMENT) as running:
        routing = RoutingOptions(on_break=ON_BREAK_RESTART, allow_fallback=False)
        got = await told(running, "prefill", routing=routing)
        assert got.error is None
        assert got.answer.text == TEXT
        assert [each.target.model for each in got.answer.attempts] == ["broken", "broken"]
        assert got.whys() == ["FIRST", "RESTART"]
