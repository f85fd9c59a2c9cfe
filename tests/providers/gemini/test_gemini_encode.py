"""Golden pairs: a neutral request and the JSON that generateContent gets for it.

The forms are those of ai.google.dev/api/generate-content and ai.google.dev/api/caching#Content, and of google-genai
3.4.0 (`types.Content`, `types.GenerateContentConfig`), read in 2026-11; `test_gemini_official_shape` holds them to it.
"""

from __future__ import annotations

import json
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

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

BASE = "https://generativelanguage.googleapis.com/v1beta"
ADAPTER = GeminiAdapter(AdapterTerms("google", BASE))
HI = Message(Role.USER, (TextPart("hi"),))
SHORTEST = ChatRequest(model="default", messages=(HI,), request_id="r-1")
PNG = MediaPart("image/png", data=b"\x89PNG")
MODEL = "gemini-3-flash"


def encoded(request: ChatRequest, model: str = MODEL) -> dict[str, Any]:
    body = json.loads(ADAPTER.encode(request, "google", model, stream=False).body)
    assert isinstance(body, dict)
    return body


def warned(request: ChatRequest, model: str = MODEL) -> list[tuple[str, str]]:
    call = ADAPTER.encode(request, "google", model, stream=False)
    return [(warning.code, warning.field) for warning in call.warnings]


def said(*messages: Message) -> ChatRequest:
    return replace(SHORTEST, messages=messages)


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "parts": list(parts)}


def model(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "model", "parts": list(parts)}


def called(call_id: str, args: Any, name: str = "look", **more: Any) -> dict[str, Any]:
    return {"functionCall": {"id": call_id, "name": name, "args": args}, **more}


def answered(call_id: str, response: dict[str, Any], name: str = "look", **more: Any) -> dict[str, Any]:
    return {"functionResponse": {"id": call_id, "name": name, "response": response, **more}}


def own(text: str, signature: str | None = None) -> ThinkingPart:
    return ThinkingPart(text, signature, provider="google")


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


CONVERSATIONS: dict[str, tuple[tuple[Message, ...], dict[str, Any]]] = {
    "instructions": (
        (
            Message(Role.SYSTEM, (TextPart("be brief"), TextPart("be kind"))),
            Message(Role.DEVELOPER, (TextPart("no jokes"),)),
            HI,
        ),
        {
            "systemInstruction": {"parts": [{"text": "be brief"}, {"text": "be kind"}, {"text": "no jokes"}]},
            "contents": [user({"text": "hi"})],
        },
    ),
    "neighbours of one voice are one": (
        (HI, Message(Role.USER, (TextPart("there"),)), Message(Role.ASSISTANT, (TextPart("a"), RefusalPart("b")))),
        {"contents": [user({"text": "hi"}, {"text": "there"}), model({"text": "a"}, {"text": "b"})]},
    ),
    "nothing said is no content": (
        (Message(Role.SYSTEM, (TextPart(""),)), HI, Message(Role.ASSISTANT, (TextPart(""),)), Message(Role.USER, ())),
        {"contents": [user({"text": "hi"})]},
    ),
    "a seal on a text without a character": (
        (HI, Message(Role.ASSISTANT, (TextPart("a"), own("", "czE="), TextPart("")))),
        {"contents": [user({"text": "hi"}), model({"text": "a"}, {"text": "", "thoughtSignature": "czE="})]},
    ),
    "media by data": (
        (Message(Role.USER, (TextPart("what?"), PNG, MediaPart("audio/ogg", data=b"Ogg"))),),
        {
            "contents": [
                user(
                    {"text": "what?"},
                    {"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}},
                    {"inlineData": {"mimeType": "audio/ogg", "data": "T2dn"}},
                )
            ]
        },
    ),
    "media by address and by name": (
        (
            Message(
                Role.USER,
                (
                    MediaPart("video/mp4", uri="gs://films/1.mp4"),
                    MediaPart("", uri="https://www.youtube.com/watch?v=1"),
                    MediaPart("application/pdf", file_id="files/abc", provider="google"),
                    MediaPart("application/pdf", file_id=f"{BASE}/files/abc", provider="google"),
                ),
            ),
        ),
        {
            "contents": [
                user(
                    {"fileData": {"mimeType": "video/mp4", "fileUri": "gs://films/1.mp4"}},
                    {"fileData": {"fileUri": "https://www.youtube.com/watch?v=1"}},
                    {"fileData": {"mimeType": "application/pdf", "fileUri": f"{BASE}/files/abc"}},
                    {"fileData": {"mimeType": "application/pdf", "fileUri": f"{BASE}/files/abc"}},
                )
            ]
        },
    ),
    "a picture that the model made": (
        (HI, Message(Role.ASSISTANT, (PNG,))),
        {"contents": [user({"text": "hi"}), model({"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}})]},
    ),
    "calls at once, whose results are one turn": (
        (
            HI,
            Message(
                Role.ASSISTANT,
                (
                    own("", "c2ln"),
                    ToolCallPart("f1", "look", '{"q": 1.0, "a": 12345678901234567890}'),
                    ToolCallPart("f2", "find", "{}"),
                ),
            ),
            Message(Role.TOOL, (ToolResultPart("f2", (TextPart("x"), TextPart("y"))),)),
            Message(Role.TOOL, (ToolResultPart("f1", (TextPart("no such city"),), is_error=True),)),
            Message(Role.USER, (TextPart("so?"),)),
        ),
        {
            "contents": [
                user({"text": "hi"}),
                model(
                    called("f1", {"q": 1.0, "a": 12345678901234567890}, thoughtSignature="c2ln"),
                    called("f2", {}, "find"),
                ),
                user(answered("f2", {"output": "x\ny"}, "find"), answered("f1", {"error": "no such city"})),
                user({"text": "so?"}),
            ]
        },
    ),
    "a result beside words": (
        (
            Message(Role.ASSISTANT, (own("", "c2ln"), ToolCallPart("f1", "look", ""))),
            Message(Role.USER, (TextPart("see"), ToolResultPart("f1", ()))),
        ),
        {
            "contents": [
                model(called("f1", {}, thoughtSignature="c2ln")),
                user(answered("f1", {"output": ""})),
                user({"text": "see"}),
            ]
        },
    ),
    "results inside a result, and pictures": (
        (
            Message(Role.ASSISTANT, (own("", "c2ln"), ToolCallPart("f1", "look", "{}"))),
            Message(
                Role.TOOL,
                (
                    ToolResultPart(
                        "f1",
                        (
                            TextPart("see"),
                            PNG,
                            ToolResultPart("x", (TextPart("deep"), MediaPart("application/pdf", uri="gs://d/1.pdf"))),
                        ),
                    ),
                ),
            ),
        ),
        {
            "contents": [
                model(called("f1", {}, thoughtSignature="c2ln")),
                user(
                    answered(
                        "f1",
                        {"output": "see\ndeep"},
                        parts=[
                            {"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}},
                            {"fileData": {"mimeType": "application/pdf", "fileUri": "gs://d/1.pdf"}},
                        ],
                    )
                ),
            ]
        },
    ),
    "own reasoning comes back with its seals": (
        (
            HI,
            Message(
                Role.ASSISTANT,
                (
                    own("hm", "czE="),
                    own("more"),
                    own("", "czI="),
                    TextPart("a"),
                    TextPart("b"),
                    own("", "czM="),
                    ToolCallPart("f1", "look", "{}"),
                ),
            ),
        ),
        {
            "contents": [
                user({"text": "hi"}),
                model(
                    {"text": "hm", "thought": True, "thoughtSignature": "czE="},
                    {"text": "more", "thought": True},
                    {"text": "a", "thoughtSignature": "czI="},
                    {"text": "b"},
                    called("f1", {}, thoughtSignature="czM="),
                ),
            ]
        },
    ),
    "a seal at the end, and two in a row": (
        (HI, Message(Role.ASSISTANT, (TextPart("a"), own("", "czE="), own("", "czI=")))),
        {
            "contents": [
                user({"text": "hi"}),
                model(
                    {"text": "a"},
                    {"text": "", "thoughtSignature": "czE="},
                    {"text": "", "thoughtSignature": "czI="},
                ),
            ]
        },
    ),
    "reasoning of others stays away": (
        (
            HI,
            Message(
                Role.ASSISTANT,
                (ThinkingPart("hm", "s", provider="anthropic"), ThinkingPart("", "t"), TextPart("a")),
            ),
        ),
        {"contents": [user({"text": "hi"}), model({"text": "a"})]},
    ),
    "calls of others are marked as such": (
        (
            HI,
            Message(
                Role.ASSISTANT,
                (
                    ThinkingPart("hm", "s", provider="anthropic"),
                    TextPart("wait"),
                    ToolCallPart("toolu_1", "look", "{}"),
                    ToolCallPart("toolu_2", "look", "{}"),
                ),
            ),
            Message(Role.TOOL, (ToolResultPart("toolu_1", (TextPart("1"),)), ToolResultPart("toolu_2", ()))),
            Message(Role.ASSISTANT, (ToolCallPart("toolu_3", "look", "{}"),)),
        ),
        {
            "contents": [
                user({"text": "hi"}),
                model(
                    {"text": "wait"},
                    called("toolu_1", {}, thoughtSignature="skip_thought_signature_validator"),
                    called("toolu_2", {}),
                ),
                user(answered("toolu_1", {"output": "1"}), answered("toolu_2", {"output": ""})),
                model(called("toolu_3", {}, thoughtSignature="skip_thought_signature_validator")),
            ]
        },
    ),
    "a result whose call is gone": (
        (Message(Role.TOOL, (ToolResultPart("f9", (TextPart("1"),)),)),),
        {"contents": [user(answered("f9", {"output": "1"}, "f9"))]},
    ),
}


@pytest.mark.parametrize("case", CONVERSATIONS)
def test_conversations(case: str) -> None:
    """Each is written whole, and nothing of it is told as lost."""
    messages, expected = CONVERSATIONS[case]
    assert encoded(said(*messages)) == expected
    assert warned(said(*messages)) == []


def test_models_that_check_no_signatures_get_none_made_up() -> None:
    """Those before the third generation."""
    request = said(HI, Message(Role.ASSISTANT, (ToolCallPart("c1", "look", "{}"),)))
    assert encoded(request, "gemini-2.5-flash")["contents"][1] == model(called("c1", {}))
    assert encoded(request, "gemma-4-31b")["contents"][1] == model(called("c1", {}))
    for name in ("gemini-3-pro", "gemini-3.8-flash", "gemini-4-hydrogen", "gemini-flash-latest", "models/gemini-10"):
        assert "thoughtSignature" in encoded(request, name)["contents"][1]["parts"][0]


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
