"""The official `google-genai` package as the judge: what it sends for the same conversation is what we send."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import types
from google.oauth2.credentials import Credentials

from trunkline_server.chat.embedding import EmbedInputType, EmbedRequest
from trunkline_server.chat.message import (
    MediaPart,
    Message,
    Role,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from trunkline_server.chat.request import (
    ChatRequest,
    FunctionTool,
    JsonSchemaOutput,
    ProviderTool,
    ReasoningEffort,
    Sampling,
    ToolChoice,
)
from trunkline_server.providers.base import AdapterTerms
from trunkline_server.providers.credentials.base import StaticHeaders
from trunkline_server.providers.credentials.gemini import credential
from trunkline_server.providers.gemini import GeminiAdapter

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days_ahead": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
}
ANSWER: dict[str, Any] = {
    "candidates": [{"content": {"parts": [{"text": "ok"}], "role": "model"}, "finishReason": "STOP"}],
}
API = "https://generativelanguage.googleapis.com"
VERTEX = "https://us-central1-aiplatform.googleapis.com"
ON_VERTEX = "/v1beta1/projects/p/locations/us-central1/publishers/google"
MODEL = "gemini-3-flash"


def sealed(signature: str) -> ThinkingPart:
    return ThinkingPart("", signature, provider="google")


REQUEST = ChatRequest(
    model="default",
    request_id="r-1",
    messages=(
        Message(Role.SYSTEM, (TextPart("Answer in one line."),)),
        Message(
            Role.USER,
            (
                TextPart("Where is this?"),
                MediaPart("image/png", data=b"\x89PNG\r\n"),
                MediaPart("application/pdf", uri="gs://documents/1.pdf"),
            ),
        ),
        Message(
            Role.ASSISTANT,
            (ThinkingPart("Look.", provider="google"), sealed("c2ln"), ToolCallPart("f1", "look", '{"city": "Oslo"}')),
        ),
        Message(Role.TOOL, (ToolResultPart("f1", (TextPart("a harbour"), MediaPart("image/png", data=b"\x89PNG"))),)),
        Message(
            Role.ASSISTANT,
            (
                TextPart("One more look."),
                sealed("c2lnMg=="),
                ToolCallPart("f2", "look", '{"city": "Bergen"}'),
                ToolCallPart("f3", "look", '{"city": "Tromsø", "days_ahead": 2}'),
            ),
        ),
        Message(
            Role.TOOL,
            (ToolResultPart("f2", (TextPart("rain"),)), ToolResultPart("f3", (TextPart("none"),), is_error=True)),
        ),
        Message(Role.USER, (TextPart("So?"),)),
    ),
    sampling=Sampling(
        temperature=0.25,
        top_p=0.5,
        top_k=40,
        max_output_tokens=100,
        stop=("END",),
        seed=7,
        frequency_penalty=0.5,
        presence_penalty=-0.5,
        top_logprobs=2,
        reasoning_effort=ReasoningEffort.LOW,
    ),
    tools=(FunctionTool("look", "Looks at a city.", SCHEMA), ProviderTool("google", {"googleSearch": {}})),
    tool_choice=ToolChoice(function="look"),
    output=JsonSchemaOutput("place", SCHEMA),
    provider_options={"google": {"labels": {"team": "a"}}},
)


def called(call_id: str, signature: bytes | None = None, **args: Any) -> types.Part:
    function = types.FunctionCall(id=call_id, name="look", args=args)
    return types.Part(function_call=function, thought_signature=signature)


def answered(call_id: str, parts: list[Any] | None = None, **response: str) -> types.Part:
    return types.Part(function_response=types.FunctionResponse(id=call_id, name="look", response=response, parts=parts))


PICTURE = types.FunctionResponsePart(inline_data=types.FunctionResponseBlob(mime_type="image/png", data=b"\x89PNG"))
CONTENTS: list[Any] = [
    types.Content(
        role="user",
        parts=[
            types.Part(text="Where is this?"),
            types.Part.from_bytes(data=b"\x89PNG\r\n", mime_type="image/png"),
            types.Part.from_uri(file_uri="gs://documents/1.pdf", mime_type="application/pdf"),
        ],
    ),
    types.Content(role="model", parts=[types.Part(text="Look.", thought=True), called("f1", b"sig", city="Oslo")]),
    types.Content(role="user", parts=[answered("f1", [PICTURE], output="a harbour")]),
    types.Content(
        role="model",
        parts=[
            types.Part(text="One more look."),
            called("f2", b"sig2", city="Bergen"),
            called("f3", city="Tromsø", days_ahead=2),
        ],
    ),
    types.Content(role="user", parts=[answered("f2", output="rain"), answered("f3", error="none")]),
    types.Content(role="user", parts=[types.Part(text="So?")]),
]
CONFIG = types.GenerateContentConfig(
    system_instruction="Answer in one line.",
    temperature=0.25,
    top_p=0.5,
    top_k=40,
    max_output_tokens=100,
    stop_sequences=["END"],
    seed=7,
    frequency_penalty=0.5,
    presence_penalty=-0.5,
    response_logprobs=True,
    logprobs=2,
    thinking_config=types.ThinkingConfig(thinking_level=types.ThinkingLevel.LOW, include_thoughts=True),
    response_mime_type="application/json",
    response_json_schema=SCHEMA,
    tools=[
        types.Tool(
            function_declarations=[
                types.FunctionDeclaration(name="look", description="Looks at a city.", parameters_json_schema=SCHEMA)
            ]
        ),
        types.Tool(google_search=types.GoogleSearch()),
    ],
    tool_config=types.ToolConfig(
        function_calling_config=types.FunctionCallingConfig(
            mode=types.FunctionCallingConfigMode.ANY, allowed_function_names=["look"]
        )
    ),
    labels={"team": "a"},
    automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
)


def official(do: Callable[[genai.Client], object], *, vertex: bool = False) -> httpx.Request:
    """Return what the official package puts on the wire when it is told to `do` something."""
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json=ANSWER)

    with httpx.Client(transport=httpx.MockTransport(answer), trust_env=False) as http:
        options = types.HttpOptions(httpx_client=http)
        if vertex:
            credentials = Credentials("ya29.token")  # type: ignore[no-untyped-call]
            client = genai.Client(
                enterprise=True, project="p", location="us-central1", credentials=credentials, http_options=options
            )
        else:
            client = genai.Client(api_key="AIza-test", http_options=options)
        do(client)
    return sent[0]


OPAQUE = {"args", "labels", "parametersJsonSchema", "response", "responseJsonSchema"}


def camel(value: Any) -> Any:
    """Return decoded JSON in one spelling: the package sends some names in snake case, which is as good."""
    if isinstance(value, list):
        return [camel(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    named = {re.sub(r"_([a-z])", lambda found: found[1].upper(), name): inner for name, inner in value.items()}
    return {name: inner if name in OPAQUE else camel(inner) for name, inner in named.items()}


@pytest.mark.parametrize("vertex", [False, True], ids=["api", "vertex"])
def test_a_call_is_what_the_official_package_sends(*, vertex: bool) -> None:
    """Path and every field of a conversation with a picture, two tool rounds, thinking and a schema."""
    sent = official(
        lambda client: client.models.generate_content(model=MODEL, contents=CONTENTS, config=CONFIG), vertex=vertex
    )
    base = f"{VERTEX}{ON_VERTEX}" if vertex else f"{API}/v1"
    ours = GeminiAdapter(AdapterTerms("google", base)).encode(REQUEST, "google", MODEL, stream=False)
    assert ours.warnings == ()
    official_body = camel(json.loads(sent.content))
    del official_body["systemInstruction"]["role"]  # an instruction has none that counts
    official_body["tools"].reverse()  # the package moves functions behind the provider's tools
    assert json.loads(ours.body) == official_body
    assert str(sent.url) == f"{base}{ours.path}"
    assert sent.headers["content-type"] == ours.headers["content-type"]


def test_a_stream_is_what_the_official_package_asks_for() -> None:
    """At another path, for server-sent events."""
    sent = official(lambda client: list(client.models.generate_content_stream(model=MODEL, contents="hi")))
    request = ChatRequest("default", (Message(Role.USER, (TextPart("hi"),)),), "r")
    ours = GeminiAdapter().encode(request, "google", MODEL, stream=True)
    assert str(sent.url) == f"{API}/v1{ours.path}"
    assert json.loads(ours.body) == json.loads(sent.content)


def test_a_key_is_sent_as_the_official_package_sends_it() -> None:
    """In a header of its own."""
    sent = official(lambda client: client.models.generate_content(model=MODEL, contents="hi"))
    made = credential("AIza-test", AdapterTerms())
    assert isinstance(made, StaticHeaders)
    assert {name: sent.headers[name] for name in made.headers} == made.headers


@pytest.mark.parametrize("vertex", [False, True], ids=["api", "vertex"])
@pytest.mark.parametrize("model", ["gemini-embedding-001", "text-embedding-005"])
def test_embeddings_are_what_the_official_package_asks_for(model: str, *, vertex: bool) -> None:
    """Whichever of the calls the package chooses for a model."""
    config = types.EmbedContentConfig(task_type="CLASSIFICATION", output_dimensionality=8)
    sent = official(
        lambda client: client.models.embed_content(model=model, contents=["a", "b"], config=config), vertex=vertex
    )
    base = f"{VERTEX}{ON_VERTEX}" if vertex else f"{API}/v1"
    request = EmbedRequest("default", ("a", "b"), "r", 8, EmbedInputType.CLASSIFICATION)
    adapter = GeminiAdapter(AdapterTerms("google", base))
    assert adapter.embeddings is not None
    ours = adapter.embeddings.encode_embed(request, "google", model)
    assert str(sent.url) == f"{base}{ours.path}"
    official_body = json.loads(sent.content)
    for each in official_body.get("requests", ()):
        each["content"].pop("role", None)  # the package says whose words they are, which changes nothing
    assert json.loads(ours.body) == official_body
