"""Bedrock's dialect under the vendor's official Python package: answers, streams, tools, errors, signatures."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from trunkline_server.simulator.bedrock.sigv4 import SECRET

if TYPE_CHECKING:
    from trunkline_server.simulator.server import Simulator

KEY_ID = "AKIASIMULATOR"
CLAUDE = "us.anthropic.claude-3-7-sonnet-20250219-v1:0"
NOVA = "amazon.nova-2-lite-v1:0"
ARN = f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{CLAUDE}"
HI = [{"role": "user", "content": [{"text": "good morning"}]}]
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = {"tools": [{"toolSpec": {"name": "look", "inputSchema": {"json": CITY}}}]}

Ask = Callable[..., Any]


@pytest.fixture
def client(simulator: Simulator) -> Iterator[Any]:
    made = official(simulator)
    yield made
    made.close()


def official(simulator: Simulator, **settings: Any) -> Any:
    given = {"aws_access_key_id": KEY_ID, "aws_secret_access_key": SECRET, "region_name": "us-east-1", **settings}
    config = Config(retries={"total_max_attempts": 1}, proxies={}, read_timeout=20, connect_timeout=5)
    return boto3.client("bedrock-runtime", endpoint_url=simulator.url_of("bedrock"), config=config, **given)


async def converse(client: Any, **arguments: Any) -> dict[str, Any]:
    """Call Converse in a thread; the official client blocks."""
    given = {"modelId": CLAUDE, "messages": HI, **arguments}
    answer: dict[str, Any] = await asyncio.to_thread(lambda: client.converse(**given))
    return answer


async def streamed(client: Any, **arguments: Any) -> list[dict[str, Any]]:
    """Call ConverseStream in a thread and return its events, without their padding."""
    given = {"modelId": CLAUDE, "messages": HI, **arguments}
    return await asyncio.to_thread(lambda: list(client.converse_stream(**given)["stream"]))


async def refused(client: Any, **arguments: Any) -> ClientError:
    with pytest.raises(ClientError) as raised:
        await converse(client, **arguments)
    return raised.value


def name_of(error: ClientError) -> tuple[str, int]:
    response: dict[str, Any] = error.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def told_by(events: list[dict[str, Any]]) -> str:
    deltas = [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]
    return "".join(delta.get("text", "") for delta in deltas)


@pytest.mark.parametrize("model", [CLAUDE, NOVA, ARN])
async def test_an_answer(simulator: Simulator, client: Any, model: str) -> None:
    """The official client gets its text, stop reason and figures; the model is read out of the path."""
    answer = await converse(client, modelId=model)
    assert answer["output"]["message"] == {"role": "assistant", "content": [{"text": "You said: good morning"}]}
    assert answer["stopReason"] == "end_turn"
    usage = answer["usage"]
    assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"]
    record = simulator.stats.last_requests[-1]
    assert (record.protocol, record.key, record.model, record.status) == ("bedrock", KEY_ID, model, 200)


async def test_a_stream(client: Any) -> None:
    """Its events are those of the service, in their order, and say the same as the whole answer."""
    events = await streamed(client)
    assert [next(iter(event)) for event in events] == [
        "messageStart",
        *["contentBlockDelta"] * 4,
        "contentBlockStop",
        "messageStop",
        "metadata",
    ]
    assert told_by(events) == "You said: good morning"
    assert events[-2]["messageStop"] == {"stopReason": "end_turn"}
    assert events[-1]["metadata"]["usage"] == (await converse(client))["usage"]


async def test_tools(simulator: Simulator, client: Any) -> None:
    """Calls come whole and in pieces, with ids of the service's form, and their results are taken back."""
    simulator.configure({"default": {"tool_calls": [{"name": "look", "arguments": {"city": "Zürich"}}]}})
    answer = await converse(client, toolConfig=TOOLS)
    assert answer["stopReason"] == "tool_use"
    (block,) = answer["output"]["message"]["content"]
    call = block["toolUse"]
    assert (call["name"], call["input"]) == ("look", {"city": "Zürich"})
    events = await streamed(client, toolConfig=TOOLS)
    pieces = [
        event["contentBlockDelta"]["delta"]["toolUse"]["input"] for event in events if "contentBlockDelta" in event
    ]
    assert json.loads("".join(pieces)) == {"city": "Zürich"}
    simulator.configure(None)
    result = {"toolResult": {"toolUseId": call["toolUseId"], "content": [{"text": "rain"}]}}
    told = [*HI, answer["output"]["message"], {"role": "user", "content": [result]}]
    assert (await converse(client, messages=told, toolConfig=TOOLS))["stopReason"] == "end_turn"


@pytest.mark.parametrize("choice", [{"any": {}}, {"tool": {"name": "look"}}])
async def test_a_call_that_must_come_comes(client: Any, choice: Any) -> None:
    """A tool choice is obeyed."""
    answer = await converse(client, toolConfig={**TOOLS, "toolChoice": choice})
    assert answer["stopReason"] == "tool_use"


async def test_reasoning_is_sealed_and_taken_back(simulator: Simulator, client: Any) -> None:
    """It comes with a signature, whole and streamed, and only as it came is it taken back."""
    simulator.configure({"default": {"reasoning": "let me see"}})
    answer = await converse(client)
    said = answer["output"]["message"]
    shown = said["content"][0]["reasoningContent"]["reasoningText"]
    assert shown["text"] == "let me see"
    deltas = [event["contentBlockDelta"]["delta"] for event in await streamed(client) if "contentBlockDelta" in event]
    pieces = [delta["reasoningContent"] for delta in deltas if "reasoningContent" in delta]
    assert "".join(piece.get("text", "") for piece in pieces) == "let me see"
    assert pieces[-1] == {"signature": shown["signature"]}
    again = {"role": "user", "content": [{"text": "so?"}]}
    await converse(client, messages=[*HI, said, again])
    shown["text"] = "let me lie"
    assert "signature" in str(await refused(client, messages=[*HI, said, again]))


async def test_a_schema(client: Any) -> None:
    """The answer is JSON of the schema that was sent as a text."""
    schema = {"jsonSchema": {"name": "place", "schema": json.dumps(CITY)}}
    answer = await converse(client, outputConfig={"textFormat": {"type": "json_schema", "structure": schema}})
    assert set(json.loads(answer["output"]["message"]["content"][0]["text"])) == {"city"}


async def test_limits_and_stops(client: Any) -> None:
    """An output limit and a stop sequence end the answer."""
    short = await converse(client, inferenceConfig={"maxTokens": 2})
    assert (short["stopReason"], short["usage"]["outputTokens"]) == ("max_tokens", 2)
    stopped = await converse(client, inferenceConfig={"stopSequences": ["said"]})
    assert stopped["output"]["message"]["content"][0]["text"] == "You "


async def test_a_cache_is_counted_apart(client: Any) -> None:
    """A point for the cache puts the prompt into it; the three figures make the whole input."""
    plain = (await converse(client))["usage"]
    marked = [{"role": "user", "content": [{"text": "good morning"}, {"cachePoint": {"type": "default"}}]}]
    usage = (await converse(client, messages=marked))["usage"]
    assert usage["cacheWriteInputTokens"] > 0
    assert usage["inputTokens"] + usage["cacheWriteInputTokens"] == plain["inputTokens"]
    assert usage["totalTokens"] == plain["totalTokens"]


async def test_media(client: Any) -> None:
    """Pictures and documents are taken as bytes."""
    content = [
        {"text": "see"},
        {"image": {"format": "png", "source": {"bytes": b"\x89PNG"}}},
        {"document": {"format": "pdf", "name": "document-1", "source": {"bytes": b"%PDF"}}},
    ]
    answer = await converse(client, messages=[{"role": "user", "content": content}])
    assert answer["usage"]["inputTokens"] > (await converse(client))["usage"]["inputTokens"]


ERRORS = {
    "bad_request": ("ValidationException", 400),
    "invalid_api_key": ("UnrecognizedClientException", 403),
    "missing_scope": ("AccessDeniedException", 403),
    "model_not_found": ("ResourceNotFoundException", 404),
    "rate_limit_exceeded": ("ThrottlingException", 429),
    "model_not_ready": ("ModelNotReadyException", 429),
    "model_error": ("ModelErrorException", 424),
    "server_error": ("InternalServerException", 500),
    "overloaded": ("ServiceUnavailableException", 503),
    "gateway_timeout": ("ModelTimeoutException", 408),
}


@pytest.mark.parametrize("error", ERRORS)
async def test_errors_are_the_clients_exceptions(simulator: Simulator, client: Any, error: str) -> None:
    """Each failure is raised by the official client under the service's name and status."""
    simulator.configure({"default": {"error": error}})
    assert name_of(await refused(client)) == ERRORS[error]


async def test_an_exception_inside_a_stream(simulator: Simulator, client: Any) -> None:
    """The official client raises it after what came before."""
    simulator.configure({"default": {"error": "rate_limit_exceeded", "error_after_chunks": 2}})
    stream = (await asyncio.to_thread(client.converse_stream, modelId=CLAUDE, messages=HI))["stream"]
    events: list[dict[str, Any]] = []
    with pytest.raises(EventStreamError, match="throttlingException"):
        await asyncio.to_thread(lambda: events.extend(stream))
    stream.close()
    assert told_by(events) == "You said: "


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


def assistant(*content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(content)}


USED = {"toolUse": {"toolUseId": "c1", "name": "look", "input": {}}}
RESULT = {"toolResult": {"toolUseId": "c1", "content": [{"text": "4"}]}}
PDF = {"document": {"format": "pdf", "name": "a", "source": {"bytes": b"x"}}}
T = {"text": "a"}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no messages": ({"messages": []}, "start with a user message"),
    "an assistant first": ({"messages": [assistant(T), user(T)]}, "start with a user message"),
    "two turns of one side": ({"messages": [user(T), user(T)]}, "must alternate"),
    "nothing said": ({"messages": [user()]}, "is empty"),
    "a blank text": ({"messages": [user({"text": " \n"})]}, "is blank"),
    "white space at the end of a beginning": ({"messages": [user(T), assistant({"text": "a "})]}, "whitespace"),
    "a call without tools": ({"messages": [user(T), assistant(USED), user(RESULT)]}, "toolConfig field must be"),
    "a call without a result": ({"messages": [user(T), assistant(USED), user(T)], "toolConfig": TOOLS}, "Expected"),
    "a result without a call": ({"messages": [user(RESULT)], "toolConfig": TOOLS}, "exceeds the number"),
    "a result behind a text": (
        {"messages": [user(T), assistant(USED), user(T, RESULT)], "toolConfig": TOOLS},
        "Expected toolResult",
    ),
    "a picture of the model": (
        {"messages": [user(T), assistant({"image": {"format": "png", "source": {"bytes": b"x"}}})]},
        "not allowed",
    ),
    "a document alone": ({"messages": [user(PDF)]}, "needs a text block"),
    "two documents of one name": ({"messages": [user(T, PDF, PDF)]}, "unique"),
    "a document's odd name": (
        {"messages": [user(T, {"document": {**PDF["document"], "name": "a_b.pdf"}})]},
        "can only contain",
    ),
    "too many points": ({"messages": [user(*[T, {"cachePoint": {"type": "default"}}] * 5)]}, "cache points"),
    "a setting of others": ({"modelId": NOVA, "additionalModelRequestFields": {"top_k": 3}}, "extraneous key"),
    "a budget that is too small": (
        {"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 10}}},
        "budget_tokens",
    ),
    "a schema that is none": (
        {"outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": "{"}}}}},
        "no JSON",
    ),
    "a choice of nothing": ({"toolConfig": {**TOOLS, "toolChoice": {"tool": {"name": "fly"}}}}, "not found in"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
async def test_requests_that_the_service_refuses(client: Any, case: str) -> None:
    """What the real service refuses is refused here, so that no test passes with it."""
    arguments, words = REFUSED[case]
    error = await refused(client, **arguments)
    assert name_of(error) == ("ValidationException", 400)
    assert words in str(error)


async def test_a_wrong_secret_is_seen(simulator: Simulator) -> None:
    """The signature is computed anew from what arrived."""
    with_wrong = official(simulator, aws_secret_access_key="another")  # noqa: S106
    assert name_of(await refused(with_wrong)) == ("InvalidSignatureException", 403)
    with_wrong.close()


@pytest.mark.parametrize("change", ["path", "body", "header", "date", "none"])
async def test_whatever_is_changed_after_signing_is_seen(simulator: Simulator, client: Any, change: str) -> None:
    """Path, body and signed headers are covered by the signature, and so is the time."""

    def alter(request: Any, **_: Any) -> None:
        if change == "path":
            request.url = request.url.replace("/converse", "/converse-stream")
        elif change == "body":
            request.body = request.body.replace(b"good", b"bad!")
        elif change == "header":
            request.headers["Content-Type"] = "application/json; charset=x"
        elif change == "date":
            request.headers["X-Amz-Date"] = "20200101T000000Z"

    client.meta.events.register("before-send.bedrock-runtime.*", alter)
    if change == "none":
        await converse(client)
        return
    assert name_of(await refused(client))[1] == 403
    assert simulator.stats.last_requests[-1].status == 403


async def test_session_tokens_and_api_keys(simulator: Simulator) -> None:
    """Temporary keys sign with their token; an API key comes as a bearer token, and is the key that is known."""
    temporary = official(simulator, aws_session_token="IQoJb3JpZ2luX2VjEXAMPLE==")  # noqa: S106
    await converse(temporary)
    temporary.close()
    # The official client sends such a key over TLS only.
    headers = {"authorization": "Bearer bedrock-api-key-abc"}
    async with httpx.AsyncClient(base_url=simulator.url_of("bedrock"), headers=headers) as http:
        assert (await http.post(f"/model/{CLAUDE}/converse", json={"messages": HI})).status_code == 200
    assert [record.key for record in list(simulator.stats.last_requests)[-2:]] == [KEY_ID, "bedrock-api-key-abc"]


async def test_unknown_keys_are_refused(simulator: Simulator, client: Any) -> None:
    """A scenario's list of keys holds for access key ids."""
    simulator.configure({"accept_keys": ["AKIAANOTHER"]})
    assert name_of(await refused(client)) == ("UnrecognizedClientException", 403)
    simulator.configure({"accept_keys": [KEY_ID]})
    await converse(client)


async def test_embeddings(client: Any) -> None:
    """Titan makes one vector of one text, Cohere one of each."""

    def invoke(model: str, body: Any) -> Any:
        return json.loads(client.invoke_model(modelId=model, body=json.dumps(body))["body"].read())

    titan = await asyncio.to_thread(invoke, "amazon.titan-embed-text-v2:0", {"inputText": "a", "dimensions": 256})
    assert len(titan["embedding"]) == 256
    assert titan["inputTextTokenCount"] > 0
    body = {"texts": ["a", "b"], "input_type": "search_query", "embedding_types": ["float"], "output_dimension": 512}
    cohere = await asyncio.to_thread(invoke, "cohere.embed-v4:0", body)
    assert [len(vector) for vector in cohere["embeddings"]["float"]] == [512, 512]
    with pytest.raises(ClientError, match="dimensions"):
        await asyncio.to_thread(invoke, "amazon.titan-embed-text-v2:0", {"inputText": "a", "dimensions": 7})


async def test_bytes_are_base64(simulator: Simulator, client: Any) -> None:
    """What the client sends as bytes arrives as base64, as the service defines it."""
    picture = {"image": {"format": "gif", "source": {"bytes": b"GIF89a"}}}
    await converse(client, messages=[user(T, picture)])
    sent = simulator.stats.last_requests[-1].json["messages"][0]["content"][1]
    assert base64.b64decode(sent["image"]["source"]["bytes"], validate=True) == b"GIF89a"
