"""Azure OpenAI and Entra's token endpoint in the simulator, with OpenAI's official package as the client."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trunkline_server.simulator.server import Simulator

GA = "2024-10-21"
MESSAGES: Any = [{"role": "user", "content": "hello"}]


@asynccontextmanager
async def azure(simulator: Simulator, version: str = GA, **more: Any) -> AsyncIterator[AsyncAzureOpenAI]:
    given = {"api_key": "k-1", **more}
    client = AsyncAzureOpenAI(azure_endpoint=simulator.root_url, api_version=version, max_retries=0, **given)
    async with client:
        yield client


async def refused(simulator: Simulator, version: str = GA, **more: Any) -> openai.APIStatusError:
    """Return how a chat completion is refused."""
    async with azure(simulator, version) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(model="my-chat", messages=MESSAGES, **more)
    return caught.value


async def test_a_deployment_answers(simulator: Simulator) -> None:
    """With what the filter says of prompt and answer, and under the name in the path."""
    async with azure(simulator) as client:
        raw = await client.chat.completions.with_raw_response.create(model="my-chat", messages=MESSAGES)
    answer = raw.parse().model_dump()
    assert answer["choices"][0]["message"]["content"] == "You said: hello"
    assert answer["choices"][0]["content_filter_results"]["hate"] == {"filtered": False, "severity": "safe"}
    assert answer["prompt_filter_results"][0]["prompt_index"] == 0
    assert raw.headers["apim-request-id"]
    record = simulator.stats.last_requests[-1]
    assert (record.protocol, record.model, record.key) == ("azure_openai", "my-chat", "k-1")


async def test_a_stream_begins_with_the_prompts_results(simulator: Simulator) -> None:
    """That chunk has no choices; every piece of text has results of its own."""
    async with azure(simulator) as client:
        stream: Any = await client.chat.completions.create(
            model="my-chat", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        first, *others = [chunk.model_dump() async for chunk in stream]
    assert (first["choices"], first["id"]) == ([], "")
    assert first["prompt_filter_results"]
    pieces = [chunk for chunk in others if chunk["choices"] and chunk["choices"][0]["delta"].get("content")]
    assert all(chunk["choices"][0]["content_filter_results"] for chunk in pieces)
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in pieces) == "You said: hello"
    assert others[-1]["usage"]["total_tokens"] > 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_filtered_answer_says_by_what(simulator: Simulator, *, stream: bool) -> None:
    """Beside its finish reason."""
    simulator.configure({"default": {"finish_reason": "content_filter"}})
    async with azure(simulator) as client:
        answer: Any = await client.chat.completions.create(model="my-chat", messages=MESSAGES, stream=stream)
        chunks = [chunk async for chunk in answer] if stream else [answer]
    ended = [choice for chunk in chunks for choice in chunk.model_dump()["choices"] if choice["finish_reason"]]
    assert [choice["finish_reason"] for choice in ended] == ["content_filter"]
    assert ended[0]["content_filter_results"]["violence"] == {"filtered": True, "severity": "medium"}


async def test_a_filtered_prompt(simulator: Simulator) -> None:
    """Is refused with the filter's results as the inner error."""
    simulator.configure({"default": {"error": "content_filter"}})
    error: Any = await refused(simulator)
    assert (error.status_code, error.code) == (400, "content_filter")
    assert error.body["innererror"]["code"] == "ResponsibleAIPolicyViolation"
    assert error.body["innererror"]["content_filter_result"]["violence"]["filtered"] is True


@pytest.mark.parametrize("version", ["2024-13", "2021-01-01", "latest"])
async def test_versions_that_there_are_not(simulator: Simulator, version: str) -> None:
    """Are refused before anything is read."""
    error = await refused(simulator, version)
    assert "API version not supported" in error.message


@pytest.mark.parametrize(
    ("version", "more", "name"),
    [
        ("2024-10-21", {"reasoning_effort": "low"}, "reasoning_effort"),
        ("2024-06-01", {"stream": True, "stream_options": {"include_usage": True}}, "stream_options"),
        ("2024-06-01", {"max_completion_tokens": 9}, "max_completion_tokens"),
    ],
)
async def test_fields_that_a_version_does_not_know(
    simulator: Simulator, version: str, more: dict[str, Any], name: str
) -> None:
    """Are refused, and a later version takes them."""
    assert f"Unrecognized request argument supplied: {name}" in (await refused(simulator, version, **more)).message
    async with azure(simulator, "2025-01-01-preview") as client:
        await client.chat.completions.create(model="my-chat", messages=MESSAGES, **more)


async def test_without_a_version_there_is_nothing(simulator: Simulator) -> None:
    """And nothing behind other paths or methods."""
    async with httpx.AsyncClient(base_url=simulator.root_url, headers={"api-key": "k"}) as http:
        for path in ("/openai/deployments/a/chat/completions", "/openai/responses", "/openai/v1/nothing"):
            answer = await http.post(path, json={})
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "404")
        assert (await http.get("/openai/v1/chat/completions")).status_code == 404


async def test_keys_and_tokens(simulator: Simulator) -> None:
    """Either is taken; none, and a wrong one, are refused in the gateway's words."""
    simulator.configure({"accept_keys": ["token-1"]})
    async with azure(simulator, api_key=None, azure_ad_token="token-1") as client:  # noqa: S106  nobody's
        await client.chat.completions.create(model="my-chat", messages=MESSAGES)
    assert "invalid subscription key" in (await refused(simulator)).message
    async with httpx.AsyncClient(base_url=simulator.root_url) as http:
        assert (await http.post("/openai/v1/chat/completions", json={})).status_code == 401


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("model_not_found", 404, "DeploymentNotFound"),
        ("operation_not_supported", 400, "OperationNotSupported"),
        ("missing_scope", 401, "PermissionDenied"),
        ("virtual_network", 403, "403"),
        ("context_length_exceeded", 400, "context_length_exceeded"),
        ("overloaded", 429, "429"),
    ],
)
async def test_errors_in_azures_words(simulator: Simulator, name: str, status: int, code: str) -> None:
    """Of its gateway, and of the model where that was reached."""
    simulator.configure({"default": {"error": name}})
    error = await refused(simulator)
    assert (error.status_code, error.code) == (status, code)


async def test_an_empty_quota_is_no_error_object(simulator: Simulator) -> None:
    """Its body stands without `error`."""
    simulator.configure({"default": {"error": "insufficient_quota"}})
    error = await refused(simulator)
    assert error.status_code == 403
    assert error.response.json()["statusCode"] == 403


async def test_rate_limits_say_when(simulator: Simulator) -> None:
    """In the text, and in headers in seconds and milliseconds; what is left is told beforehand."""
    simulator.configure({"capacity": {"requests_per_minute": 1}})
    async with azure(simulator) as client:
        raw = await client.chat.completions.with_raw_response.create(model="my-chat", messages=MESSAGES)
    assert raw.headers["x-ratelimit-remaining-requests"] == "0"
    assert raw.headers["x-ratelimit-reset-requests"].isdigit()
    error = await refused(simulator)
    assert error.status_code == 429
    assert "Please retry after " in error.message
    assert int(error.response.headers["retry-after"]) > 0
    assert int(error.response.headers["retry-after-ms"]) > 0


@pytest.mark.parametrize("fault", [{"error": "rate_limit_exceeded"}, {"error": "bad_gateway"}], ids=str)
async def test_errors_inside_a_stream(simulator: Simulator, fault: dict[str, Any]) -> None:
    """Break it after what had come; the page of a proxy becomes the server's error there."""
    simulator.configure({"default": {"error_after_chunks": 1, **fault}})
    async with azure(simulator) as client:
        stream: Any = await client.chat.completions.create(model="my-chat", messages=MESSAGES, stream=True)
        with pytest.raises(openai.APIError):
            _ = [chunk async for chunk in stream]


async def test_embeddings_of_a_deployment(simulator: Simulator) -> None:
    """By the path of a version, and by v1."""
    async with azure(simulator) as client:
        dated = await client.embeddings.create(model="my-vectors", input=["a", "b"], dimensions=4)
    async with AsyncOpenAI(base_url=f"{simulator.root_url}/openai/v1", api_key="k-1", max_retries=0) as plain:
        bare = await plain.embeddings.create(model="my-vectors", input=["a", "b"], dimensions=4)
    assert [each.embedding for each in dated.data] == [each.embedding for each in bare.data]
    assert [record.model for record in simulator.stats.last_requests] == ["my-vectors", "my-vectors"]


async def test_responses_of_a_version_and_of_v1(simulator: Simulator) -> None:
    """Versions before they came to Azure refuse them."""
    async with azure(simulator, "2025-04-01-preview") as client:
        answer = await client.responses.create(model="my-o3", input="hello", store=False)
    assert answer.output_text == "You said: hello"
    async with AsyncOpenAI(base_url=f"{simulator.root_url}/openai/v1", api_key="k-1", max_retries=0) as plain:
        assert (await plain.responses.create(model="my-o3", input="hello", store=False)).status == "completed"
    async with azure(simulator, "2024-12-01-preview") as client:
        with pytest.raises(openai.BadRequestError, match="enabled only for api-version 2025-03-01-preview"):
            await client.responses.create(model="my-o3", input="hello")


async def test_v1_names_the_deployment_in_the_body(simulator: Simulator) -> None:
    """As OpenAI does, and takes every field."""
    async with AsyncOpenAI(base_url=f"{simulator.root_url}/openai/v1", api_key="k-1", max_retries=0) as client:
        answer = await client.chat.completions.create(model="my-chat", messages=MESSAGES, reasoning_effort="low")
    assert answer.choices[0].message.content == "You said: hello"
    assert simulator.stats.last_requests[-1].model == "my-chat"


TOKEN = {"grant_type": "client_credentials", "scope": "https://cognitiveservices.azure.com/.default"}
PATH = "/contoso.example/oauth2/v2.0/token"


async def test_a_token_of_entra_is_taken_by_azure(simulator: Simulator) -> None:
    """It is its client's, who is known by its id in both places."""
    simulator.configure({"accept_keys": ["app-1"]})
    async with httpx.AsyncClient(base_url=simulator.root_url) as http:
        answer = await http.post(PATH, data={**TOKEN, "client_id": "app-1", "client_secret": "s"})
        assert answer.status_code == 200
        assert answer.json()["expires_in"] > 0
        refusal = await http.post(PATH, data={**TOKEN, "client_id": "app-2", "client_secret": "s"})
        assert (refusal.status_code, refusal.json()["error"]) == (401, "invalid_client")
        assert "AADSTS7000215" in refusal.json()["error_description"]
    async with azure(simulator, api_key=None, azure_ad_token=answer.json()["access_token"]) as client:
        await client.chat.completions.create(model="my-chat", messages=MESSAGES)


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({**TOKEN, "client_id": "app-1"}, "invalid_client"),
        ({**TOKEN, "client_id": "app-1", "client_secret": "s", "scope": "openid"}, "invalid_scope"),
        ({**TOKEN, "client_id": "app-1", "client_secret": "s", "grant_type": "password"}, "invalid_request"),
    ],
)
async def test_token_requests_that_entra_refuses(simulator: Simulator, form: dict[str, str], error: str) -> None:
    """With OAuth's word and the vendor's number."""
    async with httpx.AsyncClient(base_url=simulator.root_url) as http:
        answer = await http.post(PATH, data=form)
    assert answer.json()["error"] == error
    assert answer.json()["error_codes"]
