"""The official client as the judge: what it sends for the same conversation is what we send."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.providers.bedrock.official import sent

from trunkline_server.chat.embedding import EmbedInputType, EmbedRequest
from trunkline_server.chat.message import MediaPart, Message, Role, TextPart, ThinkingPart, ToolCallPart, ToolResultPart
from trunkline_server.chat.request import (
    ChatRequest,
    FunctionTool,
    JsonSchemaOutput,
    ReasoningEffort,
    Sampling,
    ToolChoice,
    ToolMode,
)
from trunkline_server.providers.bedrock import BedrockAdapter
from trunkline_server.providers.bedrock.embeddings import BedrockEmbeddings

MODEL = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}

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
                MediaPart("application/pdf", data=b"%PDF-1.7"),
            ),
        ),
        Message(
            Role.ASSISTANT,
            (ThinkingPart("hm", "sig", provider="bedrock"), ToolCallPart("call_1", "look", '{"city": "Oslo"}')),
        ),
        Message(Role.TOOL, (ToolResultPart("call_1", (TextPart("a harbour"),), is_error=True),)),
        Message(Role.USER, (TextPart("So?"),), cache_breakpoint=True),
    ),
    sampling=Sampling(
        max_output_tokens=5000,
        stop=("END",),
        reasoning_effort=ReasoningEffort.LOW,
    ),
    tools=(FunctionTool("look", "Looks at a city.", SCHEMA, strict=True),),
    tool_choice=ToolChoice(mode=ToolMode.AUTO),
    output=JsonSchemaOutput("place", SCHEMA),
    provider_options={"bedrock": {"requestMetadata": {"team": "a"}}},
)

OFFICIAL: dict[str, Any] = {
    "modelId": MODEL,
    "system": [{"text": "Answer in one line."}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"text": "Where is this?"},
                {"image": {"format": "png", "source": {"bytes": b"\x89PNG\r\n"}}},
                {"document": {"format": "pdf", "name": "document-1", "source": {"bytes": b"%PDF-1.7"}}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
                {"toolUse": {"toolUseId": "call_1", "name": "look", "input": {"city": "Oslo"}}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"toolResult": {"toolUseId": "call_1", "content": [{"text": "a harbour"}], "status": "error"}},
                {"text": "So?"},
                {"cachePoint": {"type": "default"}},
            ],
        },
    ],
    "inferenceConfig": {"maxTokens": 5000, "stopSequences": ["END"]},
    "toolConfig": {
        "tools": [
            {
                "toolSpec": {
                    "name": "look",
                    "description": "Looks at a city.",
                    "inputSchema": {"json": SCHEMA},
                    "strict": True,
                }
            }
        ],
        "toolChoice": {"auto": {}},
    },
    "outputConfig": {
        "textFormat": {
            "type": "json_schema",
            "structure": {"jsonSchema": {"name": "place", "schema": json.dumps(SCHEMA, separators=(",", ":"))}},
        }
    },
    "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 2048}},
    "requestMetadata": {"team": "a"},
}


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_is_what_the_official_client_sends(*, stream: bool) -> None:
    """Path and every field of a conversation with a picture, a document, a tool round, thinking and a schema."""
    official = sent("converse_stream" if stream else "converse", **OFFICIAL)
    ours = BedrockAdapter().encode(REQUEST, "bedrock", MODEL, stream=stream)
    assert ours.warnings == ()
    assert json.loads(ours.body) == json.loads(official.body)
    assert ours.path == urlsplit(official.url).path
    assert ours.headers["content-type"] == official.headers["Content-Type"].decode()


def test_embeddings_are_what_the_official_client_sends() -> None:
    """The path of InvokeModel and the body that the caller of the client writes."""
    model = "cohere.embed-v4:0"
    request = EmbedRequest("default", ("a", "b"), "r", dimensions=256, input_type=EmbedInputType.QUERY)
    ours = BedrockEmbeddings().encode_embed(request, "bedrock", model)
    body = {
        "texts": ["a", "b"],
        "input_type": "search_query",
        "embedding_types": ["float"],
        "output_dimension": 256,
    }
    official = sent("invoke_model", modelId=model, body=json.dumps(body))
    assert json.loads(ours.body) == json.loads(official.body)
    assert ours.path == urlsplit(official.url).path
