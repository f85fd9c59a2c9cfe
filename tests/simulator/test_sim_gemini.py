"""The Gemini dialect, as the official google-genai package reads it."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from google import genai
from google.genai import errors, types
from google.oauth2.credentials import Credentials

from trunkline_server.simulator.google_oauth.tokens import token_for

if TYPE_CHECKING:
    from trunkline_server.simulator.server import Simulator

MODEL = "gemini-3-flash"
WEATHER = types.FunctionDeclaration(
    name="weather",
    description="Tells the weather.",
    parameters_json_schema={
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 3}},
        "required": ["city"],
    },
)
TOOLS: list[Any] = [types.Tool(function_declarations=[WEATHER])]


Making = Callable[..., genai.client.AsyncClient]


@pytest.fixture
async def client_of(simulator: Simulator) -> AsyncIterator[Making]:
    """Return what makes a client: `fault` for all its requests, further arguments as `genai.Client` has them."""
    async with httpx.AsyncClient(trust_env=False) as http:

        def made(fault: str = "", **more: Any) -> genai.client.AsyncClient:
            options = types.HttpOptions(
                base_url=simulator.root_url,
                headers={"x-sim-fault": fault} if fault else None,
                timeout=20_000,
                httpx_async_client=http,
                retry_options=types.HttpRetryOptions(attempts=1),
            )
            return genai.Client(http_options=options, **(more or {"api_key": "AIza-a"})).aio

        yield made


@pytest.fixture
def gemini(client_of: Making) -> genai.client.AsyncClient:
    return client_of()


@pytest.fixture
def vertex(client_of: Making) -> genai.client.AsyncClient:
    credentials = Credentials(token_for("router@project", 1))  # type: ignore[no-untyped-call]
    return client_of(enterprise=True, project="p", location="us-central1", credentials=credentials)


async def test_an_answer_has_text_usage_and_a_reason(gemini: genai.client.AsyncClient) -> None:
    """The echo of the last message, counted, and signed by nobody without thoughts."""
    answer = await gemini.models.generate_content(model=MODEL, contents="good morning")
    assert answer.text == "You said: good morning"
    assert answer.candidates is not None
    assert answer.candidates[0].finish_reason is types.FinishReason.STOP
    assert answer.usage_metadata is not None
    assert answer.usage_metadata.candidates_token_count == 4
    assert answer.usage_metadata.total_token_count == (answer.usage_metadata.prompt_token_count or 0) + 4
    assert answer.model_version == MODEL
    assert answer.response_id == "sim00000001"


async def test_a_stream_gives_the_same_text_and_usage(gemini: genai.client.AsyncClient) -> None:
    """In chunks that each count; the last one has the reason."""
    whole = await gemini.models.generate_content(model=MODEL, contents="good morning")
    chunks = [
        chunk async for chunk in await gemini.models.generate_content_stream(model=MODEL, contents="good morning")
    ]
    assert "".join(chunk.text or "" for chunk in chunks) == whole.text
    assert len(chunks) == 5
    assert [chunk.candidates[0].finish_reason for chunk in chunks if chunk.candidates] == [*[None] * 4, "STOP"]
    assert chunks[-1].usage_metadata == whole.usage_metadata
    assert chunks[1].usage_metadata is not None
    assert chunks[1].usage_metadata.candidates_token_count == 2


async def test_vertex_speaks_the_same_at_its_own_paths(vertex: genai.client.AsyncClient, simulator: Simulator) -> None:
    """With an access token, by which the account behind it is known."""
    answer = await vertex.models.generate_content(model=MODEL, contents="good morning")
    assert answer.text == "You said: good morning"
    assert answer.usage_metadata is not None
    assert answer.usage_metadata.traffic_type is types.TrafficType.ON_DEMAND
    [record] = simulator.stats.last_requests
    assert record.key == "router@project"
    assert record.protocol == "gemini"


async def test_thoughts_are_shown_if_they_are_asked_for(client_of: Making) -> None:
    """They count as output either way, and the answer is signed."""
    client = client_of("reasoning=let me think")
    for shown in (True, False):
        config = types.GenerateContentConfig(thinking_config=types.ThinkingConfig(include_thoughts=shown))
        answer = await client.models.generate_content(model=MODEL, contents="hi", config=config)
        parts = answer.parts or []
        assert [part.text for part in parts if part.thought] == (["let me think"] if shown else [])
        assert parts[-1].thought_signature is not None
        assert answer.usage_metadata is not None
        assert answer.usage_metadata.thoughts_token_count == 3


async def test_a_tool_round_goes_back_as_the_package_sends_it(client_of: Making) -> None:
    """Calls with ids and a signature on the first; the package's own chat history is accepted."""
    client = client_of()
    twice = types.HttpOptions(headers={"x-sim-fault": "tool_calls=2"})
    config = types.GenerateContentConfig(tools=TOOLS, http_options=twice)
    first = await client.models.generate_content(model=MODEL, contents="weather?", config=config)
    calls = first.function_calls or []
    assert [call.name for call in calls] == ["weather", "weather"]
    assert [call.id for call in calls] == ["fcsim1_0", "fcsim1_1"]
    assert calls[0].args is not None
    assert set(calls[0].args) == {"city", "days"}
    assert first.candidates is not None
    content = first.candidates[0].content
    assert content is not None
    assert content.parts is not None
    assert [part.thought_signature is not None for part in content.parts] == [True, False]
    results = [
        types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response={"output": "sun"}))
        for call in calls
    ]
    history: list[Any] = [types.UserContent("weather?"), content, types.Content(role="user", parts=results)]
    second = await client.models.generate_content(
        model=MODEL, contents=history, config=types.GenerateContentConfig(tools=TOOLS)
    )
    assert second.text == "You said: weather?"


async def test_calls_may_be_forbidden_forced_or_named(client_of: Making) -> None:
    """As the mode says."""
    clock = types.FunctionDeclaration(name="clock")
    tools: list[Any] = [types.Tool(function_declarations=[WEATHER, clock])]

    async def called(mode: str, names: list[str] | None = None) -> list[str | None]:
        calling = types.FunctionCallingConfig(mode=types.FunctionCallingConfigMode(mode), allowed_function_names=names)
        config = types.GenerateContentConfig(tools=tools, tool_config=types.ToolConfig(function_calling_config=calling))
        answer = await client.models.generate_content(model=MODEL, contents="hi", config=config)
        return [call.name for call in answer.function_calls or []]

    client = client_of()
    assert await called("AUTO") == []
    assert await called("ANY") == ["weather"]
    assert await called("ANY", ["clock"]) == ["clock"]
    assert await called("NONE") == []


async def test_settings_are_kept(gemini: genai.client.AsyncClient) -> None:
    """Limits, stops, schemas and log-probabilities."""
    config = types.GenerateContentConfig(max_output_tokens=2)
    answer = await gemini.models.generate_content(model=MODEL, contents="good morning", config=config)
    assert answer.candidates is not None
    assert (answer.text, answer.candidates[0].finish_reason) == ("You said: ", "MAX_TOKENS")
    config = types.GenerateContentConfig(stop_sequences=["d: go"], response_logprobs=True, logprobs=2)
    answer = await gemini.models.generate_content(model=MODEL, contents="good morning", config=config)
    assert answer.text == "You sai"
    assert answer.candidates is not None
    logprobs = answer.candidates[0].logprobs_result
    assert logprobs is not None
    assert logprobs.chosen_candidates is not None
    assert "".join(token.token or "" for token in logprobs.chosen_candidates) == "You sai"
    assert logprobs.top_candidates is not None
    assert [len(step.candidates or []) for step in logprobs.top_candidates] == [2, 2]
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    config = types.GenerateContentConfig(response_mime_type="application/json", response_json_schema=schema)
    answer = await gemini.models.generate_content(model=MODEL, contents="hi", config=config)
    assert set(json.loads(answer.text or "")) == {"city"}


EMBEDDERS = ["gemini-embedding-001", "text-embedding-005"]


@pytest.mark.parametrize("model", EMBEDDERS)
async def test_embeddings(
    gemini: genai.client.AsyncClient, vertex: genai.client.AsyncClient, model: str, simulator: Simulator
) -> None:
    """The package finds its vectors, whichever of the three calls it chooses."""
    config = types.EmbedContentConfig(task_type="RETRIEVAL_QUERY", output_dimensionality=8)
    for client in (gemini, vertex):
        for contents in (["a"], ["a", "b"]):
            answer = await client.models.embed_content(model=model, contents=contents, config=config)
            vectors = [embedding.values or [] for embedding in answer.embeddings or []]
            assert [len(vector) for vector in vectors] == [8] * len(contents)
            assert sum(number * number for number in vectors[0]) == pytest.approx(1.0, abs=1e-5)
    assert {record.model for record in simulator.stats.last_requests} == {model}


@pytest.mark.parametrize(
    ("fault", "code", "status", "told"),
    [
        ("error=bad_request", 400, "INVALID_ARGUMENT", "invalid argument"),
        ("error=invalid_api_key", 400, "INVALID_ARGUMENT", "API key not valid"),
        ("error=context_length_exceeded", 400, "INVALID_ARGUMENT", "exceeds the maximum number of tokens"),
        ("error=location_not_supported", 400, "FAILED_PRECONDITION", "User location"),
        ("error=access_token_expired", 401, "UNAUTHENTICATED", "invalid authentication credentials"),
        ("error=insufficient_quota", 402, "RESOURCE_EXHAUSTED", "prepayment credits"),
        ("error=missing_scope", 403, "PERMISSION_DENIED", "are blocked"),
        ("error=model_not_found", 404, "NOT_FOUND", f"models/{MODEL} is not found"),
        ("error=rate_limit_exceeded,retry_after_s=7.5", 429, "RESOURCE_EXHAUSTED", "exceeded your current quota"),
        ("error=daily_quota_exceeded", 429, "RESOURCE_EXHAUSTED", "exceeded your current quota"),
        ("error=server_error", 500, "INTERNAL", "internal error"),
        ("error=overloaded", 503, "UNAVAILABLE", "overloaded"),
        ("status=504", 504, "DEADLINE_EXCEEDED", "Deadline expired"),
        ("status=418", 418, "UNKNOWN", "Status 418"),
    ],
)
async def test_errors_are_the_vendor_s(client_of: Making, fault: str, code: int, status: str, told: str) -> None:
    """The package reads code, status and words."""
    client = client_of(fault)
    with pytest.raises(errors.APIError) as unary:
        await client.models.generate_content(model=MODEL, contents="hi")
    stream = await client.models.generate_content_stream(model=MODEL, contents="hi")
    with pytest.raises(errors.APIError) as streamed:
        await anext(stream)
    for caught in (unary.value, streamed.value):
        assert (caught.code, caught.status) == (code, status)
        assert told in (caught.message or "")


async def test_a_quota_says_which_and_when_to_come_back(client_of: Making) -> None:
    """In the details of the body, as the vendor has it."""
    client = client_of("error=rate_limit_exceeded,retry_after_s=7.5")
    with pytest.raises(errors.ClientError) as caught:
        await client.models.generate_content(model=MODEL, contents="hi")
    kinds = {detail["@type"].rpartition(".")[2]: detail for detail in caught.value.details["error"]["details"]}
    assert kinds["RetryInfo"]["retryDelay"] == "7.5s"
    assert "PerMinute" in kinds["QuotaFailure"]["violations"][0]["quotaId"]


async def test_an_error_inside_a_stream_is_an_event(client_of: Making) -> None:
    """After what came before it."""
    client = client_of("error_after_chunks=2,error=overloaded")
    stream = await client.models.generate_content_stream(model=MODEL, contents="good morning")
    said = [(await anext(stream)).text for _ in range(2)]
    with pytest.raises(errors.ServerError) as caught:
        await anext(stream)
    assert said == ["You ", "said: "]
    assert caught.value.code == 503


async def test_a_filter_ends_an_answer(client_of: Making) -> None:
    """With the service's word for it."""
    client = client_of("finish_reason=content_filter,empty=content")
    answer = await client.models.generate_content(model=MODEL, contents="hi")
    assert answer.candidates is not None
    assert answer.candidates[0].finish_reason is types.FinishReason.SAFETY
    assert not answer.candidates[0].content or not answer.candidates[0].content.parts


async def test_a_call_that_was_cut_is_none(client_of: Making) -> None:
    """Half of the arguments are never sent; a call that the model wrote wrongly has a reason of its own."""
    client = client_of()
    broken = '{"tool_calls": [{"name": "weather", "arguments": "{\\"city\\": "}]}'
    config = types.GenerateContentConfig(tools=TOOLS, http_options=types.HttpOptions(headers={"x-sim-fault": broken}))
    answer = await client.models.generate_content(model=MODEL, contents="hi", config=config)
    assert answer.candidates is not None
    assert answer.candidates[0].finish_reason is types.FinishReason.MALFORMED_FUNCTION_CALL
    assert not answer.function_calls


async def test_models_are_listed(gemini: genai.client.AsyncClient) -> None:
    """And found by their names."""
    names = [model.name async for model in await gemini.models.list()]
    assert names == ["models/gemini-3-flash", "models/gemini-3-pro"]
    assert (await gemini.models.get(model=MODEL)).name == f"models/{MODEL}"
    with pytest.raises(errors.ClientError):
        await gemini.models.get(model="gemini-9")


async def test_a_token_is_given_for_whom_the_scenario_knows(simulator: Simulator) -> None:
    """An account by its assertion, a user by the refresh token; anybody else is refused in the words of OAuth."""
    simulator.scenario = {"accept_keys": ["router@project", "1//refresh"]}
    claims = base64.urlsafe_b64encode(b'{"iss": "router@project"}').decode().rstrip("=")
    forms = [
        {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": f"e30.{claims}.c2ln"},
        {"grant_type": "refresh_token", "refresh_token": "1//refresh", "client_id": "c", "client_secret": "s"},
    ]
    async with httpx.AsyncClient(base_url=simulator.root_url) as http:
        for form in forms:
            answer = (await http.post("/token", data=form)).json()
            assert answer["expires_in"] == 3600
            headers = {"authorization": f"Bearer {answer['access_token']}"}
            path = "/v1/projects/p/locations/l/publishers/google/models/gemini-3-flash:generateContent"
            said = await http.post(path, json={"contents": [{"parts": [{"text": "hi"}]}]}, headers=headers)
            assert said.status_code == 200
        refused = await http.post("/token", data={**forms[1], "refresh_token": "another"})
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
        nothing = await http.post("/token", data={})
        assert (nothing.status_code, nothing.json()["error"]) == (400, "invalid_request")
