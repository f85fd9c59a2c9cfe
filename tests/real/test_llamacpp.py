"""llama.cpp's own server as upstream, by `preset: llamacpp`: opt-in, since it has to be built first.

    scripts/test --llamacpp

Its model is random (`tiny_model.py`): what it says is noise, often no UTF-8. What the server makes of it is not:
counts, streams, schemas and calls by grammar, cut-offs and refusals.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.real.conftest import Launch, free_port, running
from tests.real.upstream import READY_S, WEATHER, Refusal, ask, texts

from trunkline.v1 import (
    FINISH_REASON_LENGTH,
    FINISH_REASON_STOP,
    ROLE_ASSISTANT,
    ROLE_DEVELOPER,
    ROLE_TOOL,
    CompleteRequest,
    End,
    MediaPart,
    Message,
    Part,
    Sampling,
    ToolChoice,
    ToolResultPart,
    Usage,
)

if TYPE_CHECKING:
    from tests.real.upstream import Gateway

HOME = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "trunkline-llamacpp"
MODEL = "local/tiny"
END_OF_TEXT, CALL = "2", "312"
"""Tokens of the model: its end, and the one that a call begins with: with a bias towards it noise calls a tool."""
WINDOW = 2048

ROUTES = """
version: 1
providers:
  local: {{preset: llamacpp, base_url: "http://127.0.0.1:{port}/v1"}}
"""


@dataclass(frozen=True, slots=True)
class Server:
    port: int


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run the server with the tiny model."""
    assert (HOME / "packages").exists(), "llama.cpp's server is not built: run scripts/llamacpp"
    model = tmp_path_factory.mktemp("model") / "tiny.gguf"
    maker = Path(__file__).with_name("tiny_model.py")
    subprocess.run([HOME / "venv/bin/python", str(maker), str(model)], check=True, timeout=READY_S)
    assert model.stat().st_size < 1_000_000
    port = free_port()
    words = [str(HOME / "venv/bin/llama-cpp-server"), "-m", str(model), "--host", "127.0.0.1", "--port", str(port)]
    with running([*words, "--ctx-size", str(WINDOW)]) as process:
        deadline = time.monotonic() + READY_S
        while not healthy(port):
            assert process.poll() is None, "llama.cpp's server ended"
            assert time.monotonic() < deadline, "llama.cpp's server does not serve"
            time.sleep(0.05)
        yield Server(port)


def healthy(port: int) -> bool:
    """Return whether the server says that its model is loaded."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="module")
def address(launch: Launch, server: Server) -> str:
    """Serve in front of it."""
    return launch(ROUTES.format(port=server.port))


def sampled(**sampling: Any) -> CompleteRequest:
    return with_bias(ask(MODEL, "hi", sampling=Sampling(**sampling)), **{END_OF_TEXT: -100})


def with_bias(request: CompleteRequest, **bias: int) -> CompleteRequest:
    request.provider_options_json["local"] = json.dumps({"logit_bias": bias})
    return request


async def test_it_answers(gateway: Gateway) -> None:
    """A whole answer that its limit ended, with the server's own counts."""
    answer = await gateway.complete(sampled(max_output_tokens=8))
    assert answer.finish_reason == FINISH_REASON_LENGTH
    assert answer.usage.source == Usage.SOURCE_PROVIDER
    assert answer.usage.output_tokens == 8
    assert answer.usage.input_tokens > 10
    assert texts(answer.message)


async def test_it_streams(gateway: Gateway) -> None:
    """Noise that is often no UTF-8 comes in pieces and proves whole; the counts come with the end."""
    answer, events = await gateway.streamed(sampled(max_output_tokens=64))
    assert answer.usage is not None
    assert answer.outcome == End.OUTCOME_INCOMPLETE
    assert answer.finish_reason == FINISH_REASON_LENGTH
    assert answer.usage.output_tokens == 64
    assert events > 2


async def test_settings_that_the_preset_adds_are_taken(gateway: Gateway) -> None:
    """With one token to choose from, the same is said each time; no setting is lost."""
    request = sampled(max_output_tokens=32, top_k=1, seed=3, stop=["\x01\x02", "b", "c", "d", "e", "f"])
    first, second = await gateway.complete(request), await gateway.complete(request)
    assert texts(first.message) == texts(second.message)
    assert list(first.warnings) == []


async def test_the_developer_is_heard(gateway: Gateway) -> None:
    """A message of the developer counts in the prompt, as the system's."""
    alone = await gateway.complete(sampled(max_output_tokens=1))
    request = sampled(max_output_tokens=1)
    request.messages.insert(0, Message(role=ROLE_DEVELOPER, parts=[Part(text="be brief")]))
    longer = await gateway.complete(request)
    assert longer.usage.input_tokens > alone.usage.input_tokens + len("be brief") // 2


async def test_log_probabilities_come_along(gateway: Gateway) -> None:
    """Those that the server sends (of tokens that are half a character it sends none), with the likeliest others."""
    answer = await gateway.complete(sampled(max_output_tokens=4, top_logprobs=2))
    assert 1 <= len(answer.logprobs) <= 4
    assert all(len(token.top) == 2 and token.logprob <= 0 for token in answer.logprobs)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_schema_holds(gateway: Gateway, *, streamed: bool) -> None:
    """Even noise keeps to the schema of the answer, and ends by itself."""
    request = ask(MODEL, "hi", sampling=Sampling(max_output_tokens=400))
    request.output.json_schema.name = "place"
    request.output.json_schema.schema_json = json.dumps(
        {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}
    )
    answer: Any = (await gateway.streamed(request))[0] if streamed else await gateway.complete(request)
    assert answer.finish_reason == FINISH_REASON_STOP
    assert json.loads(texts(answer.message))["city"] in {"Paris", "Rome"}


def calling(**bias: int) -> CompleteRequest:
    request = ask(
        MODEL,
        "the weather, please",
        tools=[WEATHER],
        tool_choice=ToolChoice(mode=ToolChoice.MODE_REQUIRED),
        sampling=Sampling(max_output_tokens=200, temperature=0),
    )
    request.tools[0].function.parameters_json_schema = json.dumps(
        {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}
    )
    return with_bias(request, **bias)


@pytest.mark.parametrize("streamed", [False, True])
async def test_it_calls_a_tool_and_takes_its_result(gateway: Gateway, *, streamed: bool) -> None:
    """A call that its grammar forces is whole, and the round goes on with its result."""
    request = calling(**{CALL: 100})
    answer: Any = (await gateway.streamed(request))[0] if streamed else await gateway.complete(request)
    # Noise goes on calling until the limit; the first call is whole by then.
    call = next(part.tool_call for part in answer.message.parts if part.HasField("tool_call"))
    assert call.name == "get_weather"
    assert json.loads(call.arguments_json)["city"] in {"Paris", "Rome"}
    result = ToolResultPart(tool_call_id=call.id, parts=[Part(text="sunny")])
    following = sampled(max_output_tokens=4)
    following.tools.extend(request.tools)
    following.tool_choice.mode = ToolChoice.MODE_NONE
    following.messages.append(Message(role=ROLE_ASSISTANT, parts=[Part(tool_call=call)]))
    following.messages.append(Message(role=ROLE_TOOL, parts=[Part(tool_result=result)]))
    after = await gateway.complete(following)
    assert after.usage.output_tokens == 4


async def test_a_call_that_the_limit_broke_off_stays_open(gateway: Gateway) -> None:
    """Calls without end: those that are whole are told as done, the last one as open."""
    answer, _ = await gateway.streamed(calling(**{CALL: 100}))
    assert answer.outcome == End.OUTCOME_INCOMPLETE
    assert answer.finish_reason == FINISH_REASON_LENGTH
    assert all(json.loads(call.arguments_json)["city"] for call in answer.tool_calls)
    assert len(answer.open_tool_calls) <= 1
    assert answer.tool_calls


async def test_a_prompt_above_the_window_is_the_callers(gateway: Gateway) -> None:
    """The server's own code for it is known."""
    refused = await gateway.refused(ask(MODEL, "x " * WINDOW))
    assert refused == Refusal("INVALID_ARGUMENT", "CONTEXT_LENGTH", "CONTEXT_LENGTH", 400)


async def test_a_bad_request_is_the_callers(gateway: Gateway) -> None:
    """A schema that is none is refused with 400."""
    request = sampled(max_output_tokens=4)
    request.output.json_schema.name = "x"
    request.output.json_schema.schema_json = '{"type": "nonsense"}'
    refused = await gateway.refused(request)
    assert refused == Refusal("INVALID_ARGUMENT", "BAD_REQUEST", "CALLER_INVALID", 400)


async def test_what_the_server_was_started_without_is_no_outage(gateway: Gateway) -> None:
    """It answers 500 to a picture that it has no eyes for; that is the request's fault, and opens no circuit."""
    request = ask(MODEL, "look")
    request.messages[0].parts.append(Part(media=MediaPart(mime_type="image/png", data=b"\x89PNG\r\n\x1a\n")))
    for _ in range(6):
        refused = await gateway.refused(request)
        assert refused == Refusal("INVALID_ARGUMENT", "BAD_REQUEST", "CALLER_INVALID", 500)
    assert texts((await gateway.complete(sampled(max_output_tokens=4))).message)


async def test_many_calls_at_once_are_served(gateway: Gateway) -> None:
    """More calls than the server has slots wait at our gate, and all are served."""
    begun = time.monotonic()
    answers = await asyncio.gather(*(gateway.streamed(sampled(max_output_tokens=64)) for _ in range(24)))
    took_s = time.monotonic() - begun
    assert {answer.usage.output_tokens for answer, _ in answers if answer.usage} == {64}
    print(f"\n24 streams of 64 tokens, 4 at once: {took_s:.2f} s, {24 * 64 / took_s:.0f} tokens a second")
