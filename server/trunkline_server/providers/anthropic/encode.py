"""From a neutral request to the JSON of `POST /v1/messages`.

The body is made of plain dicts and written once. What the Messages API, or the model, has no place for becomes a
warning; so does what had to be sent otherwise than asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from trunkline_server.chat.answer import Warning_
from trunkline_server.chat.request import ChatRequest, JsonObjectOutput, Sampling
from trunkline_server.providers.anthropic.conversation import conversation_of
from trunkline_server.providers.anthropic.media import FILES_BETA, names_files
from trunkline_server.providers.anthropic.models import SamplingRule, Thinking, Traits, traits_of
from trunkline_server.providers.anthropic.reasoning import Circumstances, Reasoning, reasoning_of
from trunkline_server.providers.anthropic.schema import answer_schema
from trunkline_server.providers.anthropic.tools import add_tool_choice, add_tools, forces_a_call
from trunkline_server.providers.anthropic.words import left_out
from trunkline_server.providers.base import AdapterTerms, WireCall
from trunkline_server.providers.json_wire import encode_json
from trunkline_server.providers.unsupported import adjusted

VERSION: Final = "2023-06-01"
"""The version of the API that is asked for unless the routes say another. The one after it took away the sampling
parameters from the models that still have them; otherwise the two are the same to us."""

VERSION_WITHOUT_SAMPLING: Final = "2026-10-21"
"""The first version without temperature, top_p and top_k."""

DEFAULT_MAX_TOKENS: Final = 4_096
"""The body must have a limit: this one if neither the request nor what is known of the model has any."""

_NO_NAMES: Final = ("seed", "frequency_penalty", "presence_penalty", "top_logprobs")
"""Fields of `Sampling` that the body has no place for."""
_SAMPLING: Final = ("temperature", "top_p", "top_k")
_MAX_TEMPERATURE: Final = 1.0
_THINKING_MIN_TOP_P: Final = 0.95


class Encoder:
    """Writes the calls of one provider. `version` is the API's, by its date."""

    __slots__ = ("_files_headers", "_headers", "_path", "_terms", "version")

    def __init__(self, terms: AdapterTerms) -> None:
        self.version = terms.api_version or VERSION
        self._terms = terms
        self._path = "/messages" if terms.base_url.endswith("/v1") else "/v1/messages"
        self._headers = {stream: self._head(stream=stream) for stream in (False, True)}
        self._files_headers = {
            stream: MappingProxyType({**headers, "anthropic-beta": FILES_BETA})
            for stream, headers in self._headers.items()
        }

    def encode(self, request: ChatRequest, provider: str, model: str, *, stream: bool) -> WireCall:
        """Write the call for `model` of the provider named `provider`, whose name its options and tools carry."""
        warnings: list[Warning_] = []
        traits = traits_of(model)
        sampling = request.sampling
        conversation = conversation_of(request.messages, provider, traits, warnings)
        max_tokens = self._max_tokens(sampling.max_output_tokens, model, warnings)
        body: dict[str, Any] = {"model": model, "max_tokens": max_tokens}
        if system := conversation.wire_system:
            body["system"] = system
        body["messages"] = [turn.wire() for turn in conversation.turns]
        if request.tools:
            add_tools(body, request, provider, warnings)
        if request.tool_choice is not None:
            add_tool_choice(body, request.tool_choice, traits, warnings)
        circumstances = Circumstances(
            max_tokens,
            forced_tool="tools" in body and forces_a_call(request.tool_choice),
            prefilled=conversation.prefilled,
            unthought_round=conversation.unthought_round,
        )
        reasoning = reasoning_of(sampling, traits, circumstances, warnings)
        if reasoning.thinking is not None:
            body["thinking"] = reasoning.thinking
        self._add_sampling(body, sampling, traits, reasoning, warnings)
        output_config = _output_config(request, reasoning, warnings)
        if output_config:
            body["output_config"] = output_config
        if stream:
            body["stream"] = True
        options = request.provider_options.get(provider)
        if options:
            body.update(options)
        headers = self._files_headers if names_files(request.messages) else self._headers
        return WireCall(self._path, headers[stream], encode_json(body), tuple(warnings))

    def lacking(self, model: str) -> frozenset[str]:
        """Return the features of the protocol that a model has no more."""
        traits = traits_of(model)
        lacking: set[str] = set()
        if traits.sampling is SamplingRule.NONE or self.version >= VERSION_WITHOUT_SAMPLING:
            lacking.update(_SAMPLING)
        if not traits.budget:
            lacking.add("reasoning_max_tokens")
        if not traits.forced_tools:
            lacking.update(("tool_choice_required", "tool_choice_function"))
        return frozenset(lacking)

    def _head(self, *, stream: bool) -> Mapping[str, str]:
        return MappingProxyType(
            {
                "content-type": "application/json",
                "accept": "text/event-stream" if stream else "application/json",
                "anthropic-version": self.version,
            }
        )

    def _max_tokens(self, asked: int | None, model: str, warnings: list[Warning_]) -> int:
        most = self._terms.model(model).max_output_tokens
        if asked is None:
            return most or DEFAULT_MAX_TOKENS
        if most is None or asked <= most:
            return asked
        warnings.append(adjusted("sampling.max_output_tokens", f"sent as {most}: this model writes no more"))
        return most

    def _add_sampling(
        self, body: dict[str, Any], sampling: Sampling, traits: Traits, reasoning: Reasoning, warnings: list[Warning_]
    ) -> None:
        if sampling.stop:
            body["stop_sequences"] = sampling.stop
        warnings.extend(left_out(f"sampling.{name}") for name in _NO_NAMES if getattr(sampling, name) is not None)
        if sampling.temperature is None and sampling.top_p is None and sampling.top_k is None:
            return
        if traits.sampling is SamplingRule.NONE or self.version >= VERSION_WITHOUT_SAMPLING:
            asked = (name for name in _SAMPLING if getattr(sampling, name) is not None)
            warnings.extend(left_out(f"sampling.{name}", "a sampling parameter for this model") for name in asked)
            return
        thinks = reasoning.thinks or (traits.thinking is Thinking.ADAPTIVE_ON and reasoning.thinking is None)
        _add_draw(body, sampling, traits, warnings, thinks=thinks)


def _add_draw(
    body: dict[str, Any], sampling: Sampling, traits: Traits, warnings: list[Warning_], *, thinks: bool
) -> None:
    """Write how the answer is drawn, as far as the model takes it; while it thinks it takes little."""
    temperature, top_p, top_k = sampling.temperature, sampling.top_p, sampling.top_k
    if temperature is not None:
        if temperature > _MAX_TEMPERATURE:
            warnings.append(adjusted("sampling.temperature", "sent as 1: this provider takes no higher one"))
            temperature = _MAX_TEMPERATURE
        if thinks and temperature != _MAX_TEMPERATURE:
            warnings.append(left_out("sampling.temperature", "a temperature while the model thinks"))
        else:
            body["temperature"] = temperature
    if top_p is not None:
        if thinks and top_p < _THINKING_MIN_TOP_P:
            warnings.append(left_out("sampling.top_p", "a top_p below 0.95 while the model thinks"))
        elif traits.sampling is SamplingRule.ONE and "temperature" in body:
            warnings.append(left_out("sampling.top_p", "a top_p beside a temperature, for this model,"))
        else:
            body["top_p"] = top_p
    if top_k is not None:
        if thinks:
            warnings.append(left_out("sampling.top_k", "a top_k while the model thinks"))
        else:
            body["top_k"] = top_k


def _output_config(request: ChatRequest, reasoning: Reasoning, warnings: list[Warning_]) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if reasoning.effort is not None:
        config["effort"] = reasoning.effort
    output = request.output
    if isinstance(output, JsonObjectOutput):
        warnings.append(left_out("output.json_object", "JSON without a schema"))
    elif output is not None:
        schema, told = answer_schema(output.schema)
        if told:
            what = "bounds in the schema that this provider does not keep to are said to the model instead"
            warnings.append(adjusted("output.json_schema.schema_json", what))
        config["format"] = {"type": "json_schema", "schema": schema}
    return config
