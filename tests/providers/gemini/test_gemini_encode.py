"""Golden pairs: a neutral request and the JSON that generateContent gets for it.

The forms are those of ai.google.dev/api/generate-content and ai.google.dev/api/caching#Content, and of google-genai
3.4.0 (`types.Content`, `types.GenerateContentConfig`), read in 2026-11; `test_gemini_official_shape` holds them to it.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from tests.providers.gemini.neutral import (
    ADAPTER,
    BASE,
    HI,
    MODEL,
    PNG,
    SHORTEST,
    encoded,
    own,
    said,
    warned,
)

from trunkline_server.chat.embedding import EmbedRequest
from trunkline_server.chat.message import (
    MediaPart,
    Message,
    Part,
    RefusalPart,
    Role,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from trunkline_server.chat.request import (
    ChatRequest,
    FunctionTool,
    JsonObjectOutput,
    JsonSchemaOutput,
    ProviderTool,
    Sampling,
    ToolChoice,
    ToolMode,
)
from trunkline_server.providers.base import AdapterTerms
from trunkline_server.providers.gemini import GeminiAdapter


def test_the_shortest_call_has_contents_only() -> None:
    """What was not asked for is not written."""
    call = ADAPTER.encode(SHORTEST, "google", MODEL, stream=False)
    assert call.body == b'{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}'
    assert call.path == "/models/gemini-3-flash:generateContent"
    assert dict(call.headers) == {"content-type": "application/json", "accept": "application/json"}
    assert call.warnings == ()


def test_a_stream_has_another_path_and_the_same_body() -> None:
    """As server-sent events."""
    call = ADAPTER.encode(SHORTEST, "google", MODEL, stream=True)
    assert call.path == "/models/gemini-3-flash:streamGenerateContent?alt=sse"
    assert call.body == ADAPTER.encode(SHORTEST, "google", MODEL, stream=False).body
    assert call.headers["accept"] == "text/event-stream"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("gemini-3-flash", "/models/gemini-3-flash"),
        ("gemini-1.5-pro@002", "/models/gemini-1.5-pro@002"),
        ("models/gemini-3-flash", "/models/gemini-3-flash"),
        ("tunedModels/mine", "/tunedModels/mine"),
        ("endpoints/123", "/endpoints/123"),
        ("../../v1/projects", "/models/..%2F..%2Fv1%2Fprojects"),
        ("models/../x?y#z", "/models/..%2Fx%3Fy%23z"),
    ],
)
def test_a_model_s_name_is_one_segment_of_the_path(name: str, path: str) -> None:
    """Whatever a caller may name, the call goes to the model's place."""
    assert ADAPTER.encode(SHORTEST, "google", name, stream=False).path == f"{path}:generateContent"


@pytest.mark.parametrize(
    ("base_url", "path"),
    [
        (BASE, "/models/m:generateContent"),
        ("https://generativelanguage.googleapis.com/v1", "/models/m:generateContent"),
        ("https://generativelanguage.googleapis.com", "/v1beta/models/m:generateContent"),
        ("https://x.example/v1/projects/p/locations/l/publishers/google", "/models/m:generateContent"),
    ],
)
def test_a_host_alone_gets_the_version_of_the_api(base_url: str, path: str) -> None:
    """For calls, for embeddings and in the addresses of uploaded files."""
    adapter = GeminiAdapter(AdapterTerms("google", base_url))
    request = said(Message(Role.USER, (MediaPart("", file_id="files/1", provider="google"),)))
    call = adapter.encode(request, "google", "m", stream=False)
    assert call.path == path
    version = path.removesuffix("/models/m:generateContent")
    assert f'"{base_url}{version}/files/1"' in call.body.decode()
    assert adapter.embeddings is not None
    assert adapter.embeddings.encode_embed(EmbedRequest("m", ("a",), "r"), "google", "m").path.startswith(
        f"{version}/m"
    )


LOSSES: dict[str, tuple[ChatRequest, list[tuple[str, str]]]] = {
    "names": (said(Message(Role.USER, (TextPart("hi"),), "ann")), [("UNSUPPORTED_FIELD", "messages[0].name")]),
    "instructions in the middle": (
        said(HI, Message(Role.SYSTEM, (TextPart("be brief"),))),
        [("ADJUSTED_FIELD", "messages[1]")],
    ),
    "pictures in instructions": (
        said(Message(Role.SYSTEM, (PNG,)), HI),
        [("UNSUPPORTED_FIELD", "messages[0].parts[0]")],
    ),
    "words beside results": (
        said(HI, Message(Role.TOOL, (TextPart("x"), ThinkingPart("y")))),
        [("UNSUPPORTED_FIELD", "messages[1].parts[0]")],
    ),
    "results of the assistant": (
        said(HI, Message(Role.ASSISTANT, (ToolResultPart("c", ()),))),
        [("UNSUPPORTED_FIELD", "messages[1].parts[0]")],
    ),
    "calls of the user": (
        said(Message(Role.USER, (ToolCallPart("c", "f", "{}"),))),
        [("UNSUPPORTED_FIELD", "messages[0].parts[0]")],
    ),
    "arguments that are no object": (
        said(HI, Message(Role.ASSISTANT, (ToolCallPart("c", "f", "[1]"), ToolCallPart("d", "f", '{"a": ')))),
        [
            ("UNSUPPORTED_FIELD", "messages[1].parts[0].tool_call.arguments_json"),
            ("UNSUPPORTED_FIELD", "messages[1].parts[1].tool_call.arguments_json"),
        ],
    ),
    "sound and files in results": (
        said(
            HI,
            Message(
                Role.TOOL,
                (
                    ToolResultPart(
                        "c",
                        (
                            MediaPart("audio/wav", data=b"x"),
                            MediaPart("image/png", file_id="files/1", provider="google"),
                        ),
                    ),
                ),
            ),
        ),
        [
            ("UNSUPPORTED_FIELD", "messages[1].parts[0].tool_result.parts[0]"),
            ("UNSUPPORTED_FIELD", "messages[1].parts[0].tool_result.parts[1]"),
        ],
    ),
    "strict functions": (
        replace(SHORTEST, tools=(FunctionTool("f", strict=True), FunctionTool("g", strict=False))),
        [("UNSUPPORTED_FIELD", "tools[0].function.strict")],
    ),
    "tools of others": (
        replace(SHORTEST, tools=(ProviderTool("openai", {"type": "web_search"}),)),
        [("UNSUPPORTED_FIELD", "tools[0].provider")],
    ),
    "one call at a time": (
        replace(SHORTEST, tool_choice=ToolChoice(parallel=False)),
        [("UNSUPPORTED_FIELD", "tool_choice.parallel")],
    ),
    "many stops": (
        replace(SHORTEST, sampling=Sampling(stop=("a", "b", "c", "d", "e", "f"))),
        [("ADJUSTED_FIELD", "sampling.stop")],
    ),
}


@pytest.mark.parametrize("case", LOSSES)
def test_what_cannot_be_sent_is_told(case: str) -> None:
    """By its path in the request."""
    request, expected = LOSSES[case]
    assert warned(request) == expected


def test_sampling() -> None:
    """Every setting under the provider's name."""
    sampling = Sampling(
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        max_output_tokens=100,
        stop=("END", "###"),
        seed=7,
        frequency_penalty=0.5,
        presence_penalty=-0.5,
        top_logprobs=3,
    )
    request = replace(SHORTEST, sampling=sampling)
    assert encoded(request)["generationConfig"] == {
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 40,
        "maxOutputTokens": 100,
        "stopSequences": ["END", "###"],
        "seed": 7,
        "frequencyPenalty": 0.5,
        "presencePenalty": -0.5,
        "responseLogprobs": True,
        "logprobs": 3,
    }
    assert warned(request) == []
    only_chosen = replace(SHORTEST, sampling=Sampling(top_logprobs=0))
    assert encoded(only_chosen)["generationConfig"] == {"responseLogprobs": True}


def test_the_first_stops_are_sent() -> None:
    """As many as the provider takes."""
    request = replace(SHORTEST, sampling=Sampling(stop=tuple("abcdefg")))
    assert encoded(request)["generationConfig"]["stopSequences"] == list("abcde")


def test_output() -> None:
    """A schema is sent as the JSON schema that it is."""
    schema = MappingProxyType({"type": "object", "$defs": {"x": {"type": "string"}}})
    assert encoded(replace(SHORTEST, output=JsonSchemaOutput("place", schema, strict=True)))["generationConfig"] == {
        "responseMimeType": "application/json",
        "responseJsonSchema": dict(schema),
    }
    assert encoded(replace(SHORTEST, output=JsonObjectOutput()))["generationConfig"] == {
        "responseMimeType": "application/json"
    }


def test_tools() -> None:
    """All functions are one tool, in front of the provider's own."""
    schema = {"type": "object", "properties": {"q": {"type": "string"}}, "additionalProperties": False}
    request = replace(
        SHORTEST,
        tools=(
            FunctionTool("look", "Looks.", schema),
            ProviderTool("google", {"googleSearch": {}}),
            FunctionTool("stop"),
        ),
    )
    assert encoded(request)["tools"] == [
        {
            "functionDeclarations": [
                {"name": "look", "description": "Looks.", "parametersJsonSchema": schema},
                {"name": "stop"},
            ]
        },
        {"googleSearch": {}},
    ]


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        (ToolChoice(mode=ToolMode.AUTO), {"mode": "AUTO"}),
        (ToolChoice(mode=ToolMode.NONE), {"mode": "NONE"}),
        (ToolChoice(mode=ToolMode.REQUIRED, parallel=True), {"mode": "ANY"}),
        (ToolChoice(function="look"), {"mode": "ANY", "allowedFunctionNames": ["look"]}),
    ],
)
def test_tool_choice(choice: ToolChoice, config: dict[str, Any]) -> None:
    """Each has its mode."""
    request = replace(SHORTEST, tools=(FunctionTool("look"),), tool_choice=choice)
    assert encoded(request)["toolConfig"] == {"functionCallingConfig": config}
    assert warned(request) == []


def test_options_are_put_where_they_belong() -> None:
    """Beside ours, in either spelling, and an allowed one before ours."""
    options: dict[str, dict[str, Any]] = {
        "google": {
            "safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
            "generation_config": {"media_resolution": "MEDIA_RESOLUTION_LOW", "topK": 1},
            "toolConfig": {"retrievalConfig": {"languageCode": "de"}},
        },
        "openai": {"user": "u"},
    }
    request = replace(
        SHORTEST,
        sampling=Sampling(top_k=9, seed=1),
        tool_choice=ToolChoice(mode=ToolMode.AUTO),
        provider_options=options,
    )
    body = encoded(request)
    assert body["safetySettings"] == options["google"]["safety_settings"]
    assert body["generationConfig"] == {"topK": 1, "seed": 1, "mediaResolution": "MEDIA_RESOLUTION_LOW"}
    assert body["toolConfig"] == {
        "functionCallingConfig": {"mode": "AUTO"},
        "retrievalConfig": {"languageCode": "de"},
    }
    assert set(body) == {"contents", "safetySettings", "generationConfig", "toolConfig"}


@pytest.mark.parametrize("part", [TextPart("a"), RefusalPart("a")])
def test_a_conversation_is_not_changed_by_being_written(part: Part) -> None:
    """The same request gives the same body, for every attempt."""
    request = said(HI, Message(Role.ASSISTANT, (own("", "c2ln"), part)))
    assert encoded(request) == encoded(request)
