"""Mocks of OpenAI and Anthropic that others wrote, as upstreams: what they took from the vendors' pages, we must read.

`fakellm` and `llm_mock_api` (MIT, from the package index, pinned with all dependencies) run as processes of their own,
and `trunkline serve` as another.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.real.conftest import Launch, first_line, free_port, running, until_it_listens
from tests.real.upstream import WEATHER, Refusal, ask, texts, thinking

from trunkline.v1 import (
    FINISH_REASON_STOP,
    FINISH_REASON_TOOL_CALLS,
    ROLE_TOOL,
    End,
    Message,
    Part,
    ToolCallPart,
    ToolResultPart,
    Usage,
)

if TYPE_CHECKING:
    from tests.real.upstream import Gateway

FAKELLM = """
version: 1
rules:
  - {name: sunny, when: {tool_result_contains: sunny}, respond: {content: It is sunny in Paris.}}
  - name: weather
    when: {messages_contain: weather}
    respond: {tool_calls: [{name: get_weather, arguments: {city: Paris}}]}
  - {name: fail 400, when: {messages_contain: fail 400}, respond: {status: 400, error: as asked for}}
  - {name: fail 401, when: {messages_contain: fail 401}, respond: {status: 401, error: as asked for}}
  - {name: fail 429, when: {messages_contain: fail 429}, respond: {status: 429, error: as asked for}}
  - {name: stumble, when: {messages_contain: stumble}, respond: {status: 500, error: as asked for}}
  - {name: fail 500, when: {messages_contain: fail 500}, respond: {status: 500, error: as asked for}}
  - {name: hello, respond: {content: Hello from somebody else.}}
"""

UPSTREAMS = {"fake-openai": "openai", "fake-anthropic": "anthropic", "mock-openai": "openai",
             "mock-anthropic": "anthropic", "mock-responses": "openai"}  # fmt: skip
FAILURES = {
    400: Refusal("INVALID_ARGUMENT", "BAD_REQUEST", "CALLER_INVALID", 400),
    401: Refusal("UNAVAILABLE", "UPSTREAM_CREDENTIALS", "KEY_REJECTED", 401),
    429: Refusal("RESOURCE_EXHAUSTED", "RATE_LIMITED", "RATE_LIMITED", 429),
    500: Refusal("UNAVAILABLE", "UPSTREAM_EXHAUSTED", "SERVER_ERROR", 500),
}


def routes(fake: str, mock: str) -> str:
    """Return routes with a provider for each way to a mock, and one more for each failure: a rejected key stays so."""
    providers, models = [], []
    for upstream, protocol in UPSTREAMS.items():
        base = (fake if upstream.startswith("fake") else mock) + ("/v1" if protocol == "openai" else "")
        for name in (upstream, *(f"{upstream}-{status}" for status in FAILURES)):
            key = "keys: [{id: k, secret: env:SOME_API_KEY}], gate: {max_wait_s: 0}"
            providers.append(f"  {name}: {{protocol: {protocol}, base_url: '{base}', {key}}}")
            wire = ", wire: responses" if upstream == "mock-responses" else ""
            models.append(f"  {name}/m: {{max_output_tokens: 64{wire}}}")
    targets = "[[fake-openai-500/m], [mock-anthropic/m]]"
    lines = ["version: 1", "providers:", *providers, "models:", *models, f"aliases: {{moves: {{tiers: {targets}}}}}"]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def address(launch: Launch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve in front of both mocks."""
    config = tmp_path_factory.mktemp("fakellm") / "fakellm.yaml"
    config.write_text(FAKELLM, encoding="utf-8")
    port = free_port()
    with ExitStack() as stack:
        fakellm = [str(Path(sys.executable).with_name("fakellm")), "serve", "--port", str(port)]
        fake = stack.enter_context(running([*fakellm, "--config", str(config)]))
        server = [sys.executable, str(Path(__file__).with_name("llm_mock_server.py"))]
        mock = first_line(stack.enter_context(running(server))).strip()
        until_it_listens(fake, port)
        yield launch(routes(f"http://127.0.0.1:{port}", mock), SOME_API_KEY="sk-somebody")


@pytest.mark.parametrize("upstream", UPSTREAMS)
async def test_a_mock_answers(gateway: Gateway, upstream: str) -> None:
    """A whole answer has its text, its end and the mock's own count of tokens."""
    answer = await gateway.complete(ask(f"{upstream}/m", "hi"))
    assert texts(answer.message) == "Hello from somebody else."
    assert answer.finish_reason == FINISH_REASON_STOP
    assert answer.usage.source == Usage.SOURCE_PROVIDER
    assert answer.usage.output_tokens > 0


@pytest.mark.parametrize("upstream", UPSTREAMS)
async def test_a_mock_streams(gateway: Gateway, upstream: str) -> None:
    """A stream comes in pieces, proves whole, and ends in order."""
    answer, events = await gateway.streamed(ask(f"{upstream}/m", "hi"))
    assert texts(answer.message) == "Hello from somebody else."
    assert answer.outcome == End.OUTCOME_COMPLETE
    assert events > 2


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("upstream", UPSTREAMS)
async def test_a_mock_calls_a_tool_and_takes_its_result(gateway: Gateway, upstream: str, *, streamed: bool) -> None:
    """A round of tools: the call is whole, and the result that goes back is understood."""
    # fakellm knows a conversation by its first words, and remembers the results that came in it.
    request = ask(f"{upstream}/m", f"the weather, please: {upstream} {streamed}", tools=[WEATHER])
    if streamed:
        answer, _ = await gateway.streamed(request)
        (call,), message = answer.tool_calls, answer.message
        assert answer.finish_reason == FINISH_REASON_TOOL_CALLS
    else:
        whole = await gateway.complete(request)
        (call,) = (part.tool_call for part in whole.message.parts if part.HasField("tool_call"))
        message = whole.message
        assert whole.finish_reason == FINISH_REASON_TOOL_CALLS
    assert call.name == "get_weather"
    assert json.loads(call.arguments_json) == {"city": "Paris"}
    request.messages.extend([message, result_of(call)])
    assert texts((await gateway.complete(request)).message) == "It is sunny in Paris."


def result_of(call: ToolCallPart) -> Message:
    result = ToolResultPart(tool_call_id=call.id, parts=[Part(text="sunny")])
    return Message(role=ROLE_TOOL, parts=[Part(tool_result=result)])


@pytest.mark.parametrize("upstream", ["mock-anthropic", "mock-responses"])
async def test_a_mock_thinks(gateway: Gateway, upstream: str) -> None:
    """Reasoning comes apart from the text, whole and streamed."""
    answer = await gateway.complete(ask(f"{upstream}/m", "think"))
    assert (thinking(answer.message), texts(answer.message)) == ("six times seven", "42")
    streamed, _ = await gateway.streamed(ask(f"{upstream}/m", "think"))
    assert (thinking(streamed.message), texts(streamed.message)) == ("six times seven", "42")


@pytest.mark.parametrize("status", FAILURES)
@pytest.mark.parametrize("upstream", UPSTREAMS)
async def test_errors_of_a_mock_have_their_class(gateway: Gateway, upstream: str, status: int) -> None:
    """Each status ends the call as the contract says."""
    assert await gateway.refused(ask(f"{upstream}-{status}/m", f"fail {status}")) == FAILURES[status]


async def test_a_failing_mock_is_left_for_another_one(gateway: Gateway) -> None:
    """A call that fails at one vendor's mock is served by the other vendor's."""
    answer = await gateway.complete(ask("moves", "stumble"))
    assert answer.route.served_by.provider == "mock-anthropic"
    assert [attempt.target.provider for attempt in answer.attempts] == ["fake-openai-500", "mock-anthropic"]
