"""Golden pairs: a conversation and the contents that generateContent gets for it.

The forms are those of ai.google.dev/api/generate-content and ai.google.dev/api/caching#Content, and of google-genai
3.4.0 (`types.Content`, `types.GenerateContentConfig`), read in 2026-11; `test_gemini_official_shape` holds them to it.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.providers.gemini.neutral import (
    BASE,
    HI,
    PNG,
    answered,
    called,
    encoded,
    model,
    own,
    said,
    user,
    warned,
)

from trunkline_server.chat.message import (
    MediaPart,
    Message,
    RefusalPart,
    Role,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
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
