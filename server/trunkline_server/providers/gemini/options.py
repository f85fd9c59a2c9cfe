"""Which provider options a caller may pass: the keys that are ours, and the keys that cost.

The body has settings of many kinds inside `generationConfig` and `toolConfig`, so these two are judged key by key, by
their path (`generationConfig.topK`), which is also what an operator allows. Google's JSON takes each name in two
spellings, `topK` and `top_k`: one is as good as the other here too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from trunkline_server.providers.base import OptionFinding
from trunkline_server.providers.option_rules import OptionRules

MACHINE_KEYS: Final = frozenset({"model", "contents", "generationConfig.candidateCount"})
"""Refused whatever the operator allows: another value would break routing, decoding or accounting."""

_CONFIG: Final = "generationConfig."

TYPED_KEYS: Final = {
    "systemInstruction": "messages",
    "tools": "tools",
    "toolConfig.functionCallingConfig": "tool_choice",
    f"{_CONFIG}temperature": "sampling.temperature",
    f"{_CONFIG}topP": "sampling.top_p",
    f"{_CONFIG}topK": "sampling.top_k",
    f"{_CONFIG}maxOutputTokens": "sampling.max_output_tokens",
    f"{_CONFIG}stopSequences": "sampling.stop",
    f"{_CONFIG}seed": "sampling.seed",
    f"{_CONFIG}frequencyPenalty": "sampling.frequency_penalty",
    f"{_CONFIG}presencePenalty": "sampling.presence_penalty",
    f"{_CONFIG}responseLogprobs": "sampling.top_logprobs",
    f"{_CONFIG}logprobs": "sampling.top_logprobs",
    f"{_CONFIG}thinkingConfig": "sampling.reasoning_effort",
    f"{_CONFIG}responseMimeType": "output",
    f"{_CONFIG}responseSchema": "output",
    f"{_CONFIG}responseJsonSchema": "output",
}
"""Keys that have a typed field of the request, and that field."""

COSTLY_KEYS: Final = {
    "serviceTier": "it chooses another price",
    "store": "it stores the conversation at the provider",
    "cachedContent": "it reads what was stored at the provider, and is charged for",
    "generationOutputConfig": "it stores the answer",
    f"{_CONFIG}responseModalities": "pictures and speech are charged at another price",
    f"{_CONFIG}speechConfig": "speech is charged at another price",
    f"{_CONFIG}imageConfig": "pictures are charged at another price",
    f"{_CONFIG}mediaResolution": "it changes how many tokens a picture is",
    f"{_CONFIG}routingConfig": "it lets the provider choose another model",
    f"{_CONFIG}modelSelectionConfig": "it lets the provider choose another model",
    "toolConfig.includeServerSideToolInvocations": "it makes the answer longer by what tools of the provider did",
}
"""Keys that raise cost, and how. Not here: `safetySettings`, `modelArmorConfig` and `labels`, which shape or label an
answer at the price of its tokens."""

_NESTED: Final = frozenset({"generationConfig", "toolConfig"})

_RULES: Final = OptionRules(MACHINE_KEYS, TYPED_KEYS, COSTLY_KEYS)


def check_options(options: Mapping[str, object], allowed: frozenset[str]) -> list[OptionFinding]:
    """Return a finding for each key of `options` that is not the caller's to pass; see OptionRules.

    Settings inside `generationConfig` and `toolConfig` are judged one by one.
    """
    permitted = frozenset(map(canonical, allowed))
    findings: list[OptionFinding] = []
    for key, value in options.items():
        name = canonical(key)
        if name in _NESTED and isinstance(value, Mapping):
            inner = ((f"{key}.{part}", f"{name}.{canonical(str(part))}") for part in value)
            findings.extend(filter(None, (_RULES.finding(path, known, permitted) for path, known in inner)))
        elif name in _NESTED:
            findings.append(OptionFinding(key, "must be an object"))
        elif (found := _RULES.finding(key, name, permitted)) is not None:
            findings.append(found)
    return findings


def merge_options(body: dict[str, Any], options: Mapping[str, Any]) -> None:
    """Put options that have passed `check_options` into `body`; they go before what stands there."""
    for key, value in options.items():
        name = canonical(key)
        if name in _NESTED:
            settings = {canonical(str(part)): setting for part, setting in value.items()}
            body[name] = {**body.get(name, {}), **settings}
        else:
            body[name] = value


def canonical(key: str) -> str:
    """Return a key in the spelling that the body has: `top_k` as `topK`."""
    if "_" not in key:
        return key
    first, *rest = key.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)
