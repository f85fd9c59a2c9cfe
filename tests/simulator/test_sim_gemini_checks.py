"""What the Gemini dialect refuses, in the service's words: the tests' only guard against requests that it would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from trunkline_server.simulator.gemini.seals import signature_of_call

if TYPE_CHECKING:
    from trunkline_server.simulator.server import Simulator

HI = {"role": "user", "parts": [{"text": "hi"}]}
SIGNED = signature_of_call("look", {"q": 1})


def call(name: str = "look", args: Any = None, call_id: str | None = None, **more: Any) -> dict[str, Any]:
    function: dict[str, Any] = {"name": name, "args": args or {}}
    if call_id is not None:
        function["id"] = call_id
    return {"functionCall": function, **more}


def result(name: str = "look", call_id: str | None = None, **more: Any) -> dict[str, Any]:
    response: dict[str, Any] = {"name": name, "response": {"output": "x"}, **more}
    if call_id is not None:
        response["id"] = call_id
    return {"functionResponse": response}


def model(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "model", "parts": list(parts)}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "parts": list(parts)}


SKIP = {"thoughtSignature": "skip_thought_signature_validator"}
TOOLS = [{"functionDeclarations": [{"name": "look", "parametersJsonSchema": {"type": "object"}}]}]

Case = tuple[dict[str, Any], str]


def said(*contents: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"contents": list(contents), **more}


def configured(**config: Any) -> dict[str, Any]:
    return said(HI, generationConfig=config)


REFUSED: dict[str, Case] = {
    "no contents": ({}, "contents is not specified"),
    "no parts": (said(user()), "contents.parts must not be empty"),
    "an empty part": (said(user({})), "required oneof field 'data' must have one initialized field"),
    "two kinds in a part": (said(user({"text": "a", "functionCall": {"name": "f"}})), "required oneof field"),
    "another role": (said({"role": "assistant", "parts": [{"text": "a"}]}), "Please use a valid role: user, model."),
    "an unknown field": (said(HI, temperature=1), 'Unknown name "temperature"'),
    "an unknown setting": (configured(maxTokens=1), "Unknown name \"maxTokens\" at 'generation_config'"),
    "an unknown part": (said(user({"image": 1})), "Unknown name \"image\" at 'contents[0].parts[0]'"),
    "text that is none": (said(user({"text": 7})), "Invalid value at 'contents[0].parts[0].text'"),
    "a picture without a type": (
        said(user({"inlineData": {"mimeType": "", "data": "eA=="}})),
        "mime_type must not be empty",
    ),
    "no base64": (said(user({"inlineData": {"mimeType": "image/png", "data": "?"}})), "Base64 decoding failed"),
    "instructions of pictures": (
        said(HI, systemInstruction={"parts": [{"fileData": {"fileUri": "gs://x"}}]}),
        "only text is supported",
    ),
    "a result without a call": (said(HI, user(result())), "immediately after a function call turn"),
    "too few results": (
        said(HI, model(call(**SKIP), call()), user(result())),
        "number of function response parts is equal to the number of function call parts",
    ),
    "a result of another function": (said(HI, model(call(**SKIP)), user(result("find"))), "names match"),
    "a result of another call": (
        said(HI, model(call(call_id="a", **SKIP)), user(result(call_id="b"))),
        "ids match",
    ),
    "a call without a result": (said(HI, model(call(**SKIP)), HI), "followed immediately by a function response"),
    "a call at the start": (said(model(call(**SKIP)), user(result())), "immediately after a user turn"),
    "a call of the user": (said(user(call())), "in a turn of the model"),
    "a result of the model": (said(HI, model(result())), "in a turn of the user"),
    "a result without a name": (said(HI, model(call(**SKIP)), user(result(""))), "Name cannot be empty"),
    "a call without a signature": (
        said(HI, model(call(args={"q": 1})), user(result())),
        "missing a thought_signature",
    ),
    "a signature of something else": (
        said(HI, model(call(args={"q": 2}, thoughtSignature=SIGNED)), user(result())),
        "Thought signature is not valid",
    ),
    "a signature that was moved": (
        said(HI, model({"text": "a", "thoughtSignature": SIGNED})),
        "Thought signature is not valid",
    ),
    "a temperature out of range": (configured(temperature=2.5), "temperature must be in the range [0.0, 2.0]"),
    "too many stops": (configured(stopSequences=list("abcdef")), "stop_sequences must be at most 5"),
    "alternatives without log-probabilities": (configured(logprobs=2), "only be set if response_logprobs is true"),
    "a schema for text": (configured(responseJsonSchema={"type": "object"}), "only allowed for response_mime_type"),
    "another type": (configured(responseMimeType="text/html"), "allowed mimetypes"),
    "two measures of thinking": (
        configured(thinkingConfig={"thinkingBudget": 1, "thinkingLevel": "LOW"}),
        "only set only one of thinking budget and thinking level",
    ),
    "a level that nobody has": (
        configured(thinkingConfig={"thinkingLevel": "EXTREME"}),
        "thinking_config.thinking_level",
    ),
    "a function's name": (
        said(HI, tools=[{"functionDeclarations": [{"name": "1st"}]}]),
        "Invalid function name. Must start with a letter",
    ),
    "parameters that are no object": (
        said(HI, tools=[{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "array"}}]}]),
        "must be of type object",
    ),
    "force without functions": (
        said(HI, toolConfig={"functionCallingConfig": {"mode": "ANY"}}),
        "set without function_declarations",
    ),
    "names without force": (
        said(HI, tools=TOOLS, toolConfig={"functionCallingConfig": {"mode": "AUTO", "allowedFunctionNames": ["look"]}}),
        "only be set when the function calling mode is ANY",
    ),
    "names of nobody": (
        said(HI, tools=TOOLS, toolConfig={"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["find"]}}),
        "must be among the function_declarations",
    ),
}

OF_MODELS: dict[str, tuple[str, dict[str, Any], str]] = {
    "level of an old one": (
        "gemini-2.5-flash",
        configured(thinkingConfig={"thinkingLevel": "LOW"}),
        "Thinking level is not supported",
    ),
    "thinking of an older one": (
        "gemini-2.0-flash",
        configured(thinkingConfig={"thinkingBudget": 100}),
        "Thinking is not supported",
    ),
    "no thinking of a large one": (
        "gemini-2.5-pro",
        configured(thinkingConfig={"thinkingBudget": 0}),
        "The thinking budget 0 is invalid. Please choose a value between 128 and 32768.",
    ),
    "minimal of a large one": (
        "gemini-3-pro",
        configured(thinkingConfig={"thinkingLevel": "MINIMAL"}),
        "Thinking level MINIMAL is not supported",
    ),
    "JSON and functions of an old one": (
        "gemini-2.5-flash",
        said(HI, tools=TOOLS, generationConfig={"responseMimeType": "application/json"}),
        "Function calling with a response mime type",
    ),
    "pictures in results of an old one": (
        "gemini-2.5-flash",
        said(HI, model(call()), user(result(parts=[{"fileData": {"fileUri": "gs://x"}}]))),
        "Multimodal function responses",
    ),
}

TAKEN: dict[str, dict[str, Any]] = {
    "no role": said({"parts": [{"text": "hi"}]}),
    "a signed round": said(HI, model(call(args={"q": 1}, thoughtSignature=SIGNED), call()), user(result(), result())),
    "a round of others": said(HI, model(call(**SKIP)), user(result())),
    "an old round without signatures": said(HI, model(call()), user(result()), HI),
    "words after results": said(HI, model(call(**SKIP)), user(result()), HI),
    "everything that may be set": configured(
        temperature=0,
        topP=1,
        topK=1,
        maxOutputTokens=10,
        stopSequences=["x"],
        seed=-1,
        presencePenalty=-2,
        frequencyPenalty=1.5,
        responseLogprobs=True,
        logprobs=1,
        thinkingConfig={"thinkingLevel": "MINIMAL", "includeThoughts": True},
    ),
}


async def asked(simulator: Simulator, name: str, body: dict[str, Any]) -> httpx.Response:
    async with httpx.AsyncClient(base_url=simulator.url_of("gemini"), headers={"x-goog-api-key": "k"}) as http:
        return await http.post(f"/models/{name}:generateContent", json=body)


@pytest.mark.parametrize("case", REFUSED)
async def test_requests_that_the_service_refuses(simulator: Simulator, case: str) -> None:
    """Each with 400, INVALID_ARGUMENT, and what is wrong."""
    body, told = REFUSED[case]
    answer = await asked(simulator, "gemini-3-flash", body)
    assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert told in answer.json()["error"]["message"]


@pytest.mark.parametrize("case", OF_MODELS)
async def test_requests_that_some_models_refuse(simulator: Simulator, case: str) -> None:
    """By their generation."""
    name, body, told = OF_MODELS[case]
    answer = await asked(simulator, name, body)
    assert answer.status_code == 400
    assert told in answer.json()["error"]["message"]


@pytest.mark.parametrize("case", TAKEN)
async def test_requests_that_the_service_takes(simulator: Simulator, case: str) -> None:
    """Nothing is refused that the service would take."""
    assert (await asked(simulator, "gemini-3-flash", TAKEN[case])).status_code == 200


async def test_unknown_fields_pass_where_the_scenario_lets_them(simulator: Simulator) -> None:
    """At the top of the body, as in the other dialects."""
    simulator.scenario = {"strict_parameters": False}
    assert (await asked(simulator, "gemini-3-flash", said(HI, brandNew=1))).status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/models/gemini-3-flash:streamGenerateContent", 404),
        ("/models/gemini-3-flash:countTokens", 404),
        ("/tunedModels/mine:generateContent", 200),
    ],
)
async def test_paths(simulator: Simulator, path: str, status: int) -> None:
    """What is not simulated is not found, so that a wrong path does not pass for a right one."""
    async with httpx.AsyncClient(base_url=simulator.url_of("gemini"), headers={"x-goog-api-key": "k"}) as http:
        assert (await http.post(path, json=said(HI))).status_code == status


async def test_without_a_key_nothing_is_told(simulator: Simulator) -> None:
    """A key may be a header, a part of the query or an access token; without any the caller is unknown."""
    async with httpx.AsyncClient(base_url=simulator.url_of("gemini")) as http:
        answer = await http.post("/models/m:generateContent", json=said(HI))
        assert (answer.status_code, answer.json()["error"]["status"]) == (403, "PERMISSION_DENIED")
        assert (await http.post("/models/m:generateContent?key=k", json=said(HI))).status_code == 200
        headers = {"authorization": "Bearer ya29.other"}
        assert (await http.post("/models/m:generateContent", json=said(HI), headers=headers)).status_code == 200


EMBED = {"content": {"parts": [{"text": "a"}]}}


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("/models/e:batchEmbedContents", {"requests": []}, "content is empty"),
        ("/models/e:batchEmbedContents", {"requests": [EMBED] * 101}, "at most 100 requests can be in one batch"),
        ("/models/e:batchEmbedContents", {"requests": [{**EMBED, "model": "models/x"}]}, "must match the model"),
        ("/models/e:batchEmbedContents", {"requests": [{**EMBED, "taskType": "X"}]}, "TYPE_ENUM"),
        ("/models/e:batchEmbedContents", {"requests": [{**EMBED, "embedContentConfig": {}}]}, "embedContentConfig"),
        ("/models/e:predict", {"instances": [{"content": "a"}] * 251}, "at most 250"),
        ("/models/e:predict", {"instances": [{"text": "a"}]}, 'Unknown name "text"'),
    ],
)
async def test_embeddings_that_the_service_refuses(
    simulator: Simulator, path: str, body: dict[str, Any], told: str
) -> None:
    """In its words."""
    async with httpx.AsyncClient(base_url=simulator.url_of("gemini"), headers={"x-goog-api-key": "k"}) as http:
        answer = await http.post(path, json=body)
    assert answer.status_code == 400
    assert told in answer.json()["error"]["message"]
