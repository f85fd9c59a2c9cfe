"""The Messages API: what the simulator refuses, as the service does, by the official client where it lets one ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from trunkline_server.simulator.server import Simulator

CLASSIC, LATE = "claude-haiku-4-5", "claude-opus-5-5"
HEADERS = {"x-api-key": "sk-a", "anthropic-version": "2023-06-01"}
HI = {"role": "user", "content": "hi"}
YES = {"role": "assistant", "content": "yes"}
TOOL = {"name": "look", "input_schema": {"type": "object"}}
CALLED = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {}}]}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "rain"}
THINKS = {"type": "enabled", "budget_tokens": 1024}


async def post(simulator: Simulator, headers: dict[str, str] | None = None, **changes: Any) -> httpx.Response:
    """Ask for an answer; `...` takes a field away, an empty text a header."""
    sent = {name: value for name, value in {**HEADERS, **(headers or {})}.items() if value}
    body = {"model": CLASSIC, "max_tokens": 2000, "messages": [HI], **changes}
    body = {name: value for name, value in body.items() if value is not ...}
    async with httpx.AsyncClient(base_url=simulator.url_of("anthropic"), trust_env=False) as http:
        return await http.post("/v1/messages", json=body, headers=sent)


def turns(*messages: Any) -> dict[str, Any]:
    return {"messages": list(messages)}


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def image(**source: Any) -> dict[str, Any]:
    return {"type": "image", "source": source}


def document(**source: Any) -> dict[str, Any]:
    return {"type": "document", "source": source}


PNG = {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}
SCHEMA = {"type": "object", "properties": {}, "additionalProperties": False}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no limit": ({"max_tokens": None}, "max_tokens: Input should be a valid integer"),
    "a limit below 0": ({"max_tokens": -1}, "max_tokens: Input should be greater than or equal to 0"),
    "no type": (turns({"role": "user", "content": [{"text": "x"}]}), "messages.0.content.0"),
    "no model": ({"model": ...}, "model: Field required"),
    "unknown field": ({"max_completion_tokens": 5}, "max_completion_tokens: Extra inputs are not permitted"),
    "unknown field inside": (
        turns({**HI, "name": "ann"}),
        "messages.0.name: Extra inputs are not permitted",
    ),
    "no messages": (turns(), "messages: at least one message is required"),
    "another role": (turns({"role": "tool", "content": "x"}), "messages.0.role: Input should be"),
    "the assistant first": (turns(YES, HI), 'first message must use the "user" role'),
    "instructions of old": (turns(HI, {"role": "system", "content": "x"}), "role 'system' is not supported"),
    "instructions out of place": (
        {"model": LATE, **turns(HI, {"role": "system", "content": "x"}, HI)},
        "a system message must follow a user message",
    ),
    "empty text": (turns(user({"type": "text", "text": ""})), "must be non-empty"),
    "blank text": (turns(user({"type": "text", "text": " \n"})), "must contain non-whitespace text"),
    "nothing said": (turns(HI, {"role": "assistant", "content": []}, HI), "must have non-empty content"),
    "blank at the end": (turns(HI, {"role": "assistant", "content": "yes "}), "cannot end with trailing whitespace"),
    "prefill": ({"model": "claude-opus-4-6", **turns(HI, YES)}, "does not support assistant message prefill"),
    "unknown block": (turns(user({"type": "audio"})), "messages.0.content.0"),
    "picture of the assistant's": (
        turns(HI, {"role": "assistant", "content": [image(**PNG)]}, HI),
        "`image` blocks are not permitted in `assistant`",
    ),
    "picture's type": (
        turns(user(image(**{**PNG, "media_type": "image/tiff"}))),
        "media_type: Input should be 'image/",
    ),
    "picture's data": (turns(user(image(**{**PNG, "data": "%%"}))), "Invalid base64 data"),
    "picture's address": (turns(user(image(type="url", url="gs://b/1"))), "Input should be a valid URL"),
    "picture without data": (
        turns(user(image(type="base64", media_type="image/png", data=""))),
        "data: Field required",
    ),
    "picture of words": (turns(user(image(type="text", media_type="text/plain", data="x"))), "Input tag 'text' found"),
    "document's type": (turns(user(document(**PNG))), "media_type: Input should be 'application/pdf'"),
    "document of other words": (
        turns(user(document(type="text", media_type="text/html", data="x"))),
        "Input should be plain text",
    ),
    "a file without leave": (turns(user(image(type="file", file_id="f"))), "the Files API beta is required"),
    "call of the user's": (turns(user(*CALLED["content"])), "only permitted in `assistant` messages"),
    "result of the assistant's": (
        turns(HI, {"role": "assistant", "content": [RESULT]}, HI),
        "`tool_result` blocks can only be in `user` messages",
    ),
    "empty text in a result": (
        turns(HI, CALLED, user({**RESULT, "content": [{"type": "text", "text": ""}]})),
        "must be non-empty",
    ),
    "instructions in pictures": (
        {"model": LATE, **turns(HI, {"role": "system", "content": [image(**PNG)]})},
        "system messages may only contain text",
    ),
    "call without a result": (turns(HI, CALLED, HI), "`tool_use` ids were found without `tool_result` blocks"),
    "call at the end": (turns(HI, CALLED), "`tool_use` ids were found without `tool_result` blocks"),
    "result without a call": (turns(user(RESULT)), "unexpected `tool_use_id` found in `tool_result` blocks: t1"),
    "words before a result": (
        turns(HI, CALLED, user({"type": "text", "text": "x"}, RESULT)),
        "`tool_use` ids were found without `tool_result` blocks",
    ),
    "one id twice": (turns(HI, CALLED, user(RESULT), CALLED, user(RESULT)), "`tool_use` ids must be unique"),
    "odd id": (
        turns(HI, {"role": "assistant", "content": [{"type": "tool_use", "id": "a:0", "name": "f", "input": {}}]}, HI),
        "tool_use.id: String should match pattern",
    ),
    "five marks": (
        turns(*[user({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}})] * 5),
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    "temperature above 1": ({"temperature": 1.5}, "temperature: Input should be between 0 and 1"),
    "temperature and top_p": ({"temperature": 1, "top_p": 0.5}, "cannot both be specified"),
    "temperature of late": ({"model": LATE, "temperature": 1}, "`temperature` is deprecated for this model."),
    "small budget": ({"thinking": {"type": "enabled", "budget_tokens": 10}}, "greater than or equal to 1024"),
    "budget above the limit": ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "must be greater than"),
    "budget of late": ({"model": LATE, "thinking": THINKS}, '"thinking.type.enabled" is not supported'),
    "adaptive of old": ({"thinking": {"type": "adaptive"}}, '"thinking.type.adaptive" is not supported'),
    "never off": ({"model": LATE, "thinking": {"type": "disabled"}}, '"thinking.type.disabled" is not supported'),
    "thinking and temperature": ({"thinking": THINKS, "temperature": 0.5}, "`temperature` may only be set to 1"),
    "thinking and top_p": ({"thinking": THINKS, "top_p": 0.5}, "`top_p` must be greater than"),
    "thinking and top_k": ({"thinking": THINKS, "top_k": 5}, "`top_k` must be unset"),
    "thinking and force": (
        {"thinking": THINKS, "tools": [TOOL], "tool_choice": {"type": "any"}},
        "Thinking may not be enabled when tool_choice forces tool use.",
    ),
    "force of late": (
        {"model": LATE, "tools": [TOOL], "tool_choice": {"type": "any"}},
        "forced tool use is not supported",
    ),
    "choice without tools": ({"tool_choice": {"type": "auto"}}, "may only be specified while providing tools"),
    "unknown tool": ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "x"}}, "Tool 'x' not found"),
    "one name twice": ({"tools": [TOOL, TOOL]}, "Tool names must be unique"),
    "odd name": ({"tools": [{**TOOL, "name": "a.b"}]}, "tools.0.custom.name: String should match pattern"),
    "arguments that are no object": (
        {"tools": [{"name": "f", "input_schema": {"type": "string"}}]},
        "input_schema.type: Input should be 'object'",
    ),
    "no schema": ({"tools": [{"name": "f"}]}, "tools.0.custom.input_schema: Field required"),
    "field of others": ({"tools": [{**TOOL, "parameters": {}}]}, "tools.0.custom.parameters: Extra inputs"),
    "effort of old": ({"output_config": {"effort": "low"}}, "does not support the effort level 'low'"),
    "xhigh of 4.6": ({"model": "claude-opus-4-6", "output_config": {"effort": "xhigh"}}, "effort level 'xhigh'"),
    "open object": (
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        "'additionalProperties' must be explicitly set to false",
    ),
    "one of several": (
        {"output_config": {"format": {"type": "json_schema", "schema": {"oneOf": [SCHEMA]}}}},
        "'oneOf' is not supported",
    ),
    "bound inside": (
        {
            "output_config": {
                "format": {
                    "type": "json_schema",
                    "schema": {**SCHEMA, "properties": {"n": {"type": "integer", "minimum": 1}}},
                }
            }
        },
        "For 'integer' type, property 'minimum' is not supported",
    ),
    "blank stop": ({"stop_sequences": [" "]}, "must contain non-whitespace"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_the_service_refuses_is_refused_in_its_words(simulator: Simulator, case: str) -> None:
    """As an `invalid_request_error`, before any fault."""
    changes, words = REFUSED[case]
    answer = await post(simulator, **changes)
    assert answer.status_code == 400, answer.text
    told = answer.json()
    assert (told["type"], told["error"]["type"]) == ("error", "invalid_request_error")
    assert words in told["error"]["message"]


TAKEN: dict[str, dict[str, Any]] = {
    "pictures and documents": turns(
        user(
            image(**PNG),
            document(type="base64", media_type="application/pdf", data="JVBERi0="),
            document(type="text", media_type="text/plain", data="x"),
            document(type="url", url="https://example.org/a.pdf"),
        )
    ),
    "a result in blocks": turns(HI, CALLED, user({**RESULT, "content": [{"type": "text", "text": "x"}, image(**PNG)]})),
    "neighbours of one role": turns(HI, HI),
    "instructions behind the user": {"model": LATE, **turns(HI, {"role": "system", "content": "x"})},
    "a prefill of old": turns(HI, YES),
    "a round of tools": turns(HI, CALLED, user(RESULT, {"type": "text", "text": "So?"})),
    "a budget": {"thinking": THINKS, "top_p": 0.95},
    "sampling of very old": {"model": "claude-3-7-sonnet-20250219", "temperature": 0.5, "top_p": 0.5, "top_k": 5},
    "efforts of late": {"model": LATE, "output_config": {"effort": "xhigh"}},
    "off between tools": {"model": "claude-sonnet-5-5", "thinking": {"type": "between_tools"}},
    "a model of no generation": {"model": "some-model", "temperature": 0.5, "top_p": 0.5},
    "a tool of the service's own": {"tools": [{"type": "web_search_20260318", "name": "web_search"}]},
}


@pytest.mark.parametrize("case", TAKEN)
async def test_what_the_service_takes_is_taken(simulator: Simulator, case: str) -> None:
    """By each generation what it takes."""
    answer = await post(simulator, **TAKEN[case])
    assert answer.status_code == 200, answer.text


async def test_files_may_be_named_with_leave(simulator: Simulator) -> None:
    """The beta's header gives it."""
    asked = turns(user(image(type="file", file_id="f")))
    assert (await post(simulator, {"anthropic-beta": "files-api-2025-04-14"}, **asked)).status_code == 200


async def test_unknown_fields_are_ignored_if_the_scenario_says_so(simulator: Simulator) -> None:
    """For servers that speak the protocol and know more."""
    simulator.configure({"strict_parameters": False})
    assert (await post(simulator, brand_new=1)).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        ({"x-api-key": ""}, 401, "x-api-key header is required"),
        ({"anthropic-version": ""}, 400, "anthropic-version: header is required"),
        ({"anthropic-version": "1999-12-31"}, 400, "is not a valid version"),
        ({"anthropic-version": "2026-10-21"}, 400, "temperature: Extra inputs are not permitted"),
    ],
)
async def test_headers_are_checked(simulator: Simulator, headers: dict[str, str], status: int, words: str) -> None:
    """The key, and the version of the API, the latest of which has no sampling parameters."""
    answer = await post(simulator, headers, temperature=0.5)
    assert (answer.status_code, words in answer.text) == (status, True)


async def test_other_paths_are_told_too(simulator: Simulator) -> None:
    """Lists of models, wrong methods and paths, in the service's form."""
    async with httpx.AsyncClient(base_url=simulator.url_of("anthropic"), headers=HEADERS, trust_env=False) as http:
        models = (await http.get("/v1/models")).json()["data"]
        assert {model["type"] for model in models} == {"model"}
        assert (await http.get("/v1/messages")).status_code == 405
        lost = await http.post("/v1/complete", json={})
        assert (lost.status_code, lost.json()["error"]["type"]) == (404, "not_found_error")
        nameless = await http.post("/v1/messages", content=b"{", headers={"anthropic-version": ""})
        assert nameless.status_code == 400
        garbage = await http.post("/v1/messages", content=b"{")
        assert (garbage.status_code, "not valid JSON" in garbage.text) == (400, True)
