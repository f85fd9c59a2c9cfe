"""The stage of the fault matrix: an upstream of its own for each combination, and healthy ones behind all of them.

Each faulty upstream is a provider with a key of its own, so that no circuit, key or budget of one combination is
another's; the simulator knows it by its key, and the healthy ones by their models.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.e2e.fault_endings import Ask, Output, Place
from tests.e2e.fault_matrix import Row, class_of

from trunkline.v1 import (
    ON_BREAK_CONTINUE,
    ON_BREAK_FAIL,
    ON_BREAK_RESTART,
    ON_BREAK_UNSPECIFIED,
    ROLE_USER,
    CompleteRequest,
    FunctionTool,
    JsonSchemaFormat,
    Message,
    OutputFormat,
    Part,
    RoutingOptions,
    Tool,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMER_S: Final = 0.4
"""Of upstreams that fall silent; the others have the generous default, so that a busy machine is no fault."""

TRANSPORTS: Final = ("aiohttp", "httpx")

REPEATED_BYTES: Final = 40
"""What a model that is asked in words to go on says again first."""

TEXT: Final = (
    "Grüße aus Köln, 🎉 heute 12 °C;  windig, 晴れのち曇り. Oui, la forêt brûle à l'été. 東京では雨が降っています。 "
    "Überall fällt Schnee, façade après façade; žluťoučký kůň úpěl ďábelské ódy. Zwölf Boxkämpfer jagen Viktor.\n\n"
)
CALL: Final = {"city": "Zürich", "days": 3, "units": "metric"}
SCHEMA: Final = {
    "type": "object",
    "properties": {"city": {"enum": ["São Paulo"]}, "wind": {"type": "object", "properties": {"speed": {"const": 12}}}},
}
JSON_TEXT: Final = '{"city": "São Paulo", "wind": {"speed": 12}}'

_TWO: Final = [{"name": "weather", "arguments": CALL}, {"name": "clock", "arguments": CALL}]

ANSWERS: Final[dict[Output, dict[str, Any]]] = {
    Output.TEXT: {"content": TEXT, "chunks": 8},
    Output.LOGPROBS: {"content": TEXT, "chunks": 8},
    Output.JSON: {},
    Output.ONE_CALL: {"tool_calls": _TWO[:1], "tool_pieces": 8},
    Output.TWO_CALLS: {"tool_calls": _TWO, "tool_pieces": 2},
    Output.TEXT_AND_CALL: {"content": TEXT, "chunks": 2, "tool_calls": _TWO[:1], "tool_pieces": 6},
}
"""What the simulator is told for each answer; its JSON follows from the request's schema."""

_ARGUMENTS: Final = json.dumps(CALL, ensure_ascii=False)

WHOLE_TEXT: Final = {Output.TEXT: TEXT, Output.LOGPROBS: TEXT, Output.JSON: JSON_TEXT, Output.TEXT_AND_CALL: TEXT}
WHOLE_CALLS: Final = {
    Output.ONE_CALL: (("weather", _ARGUMENTS),),
    Output.TWO_CALLS: (("weather", _ARGUMENTS), ("clock", _ARGUMENTS)),
    Output.TEXT_AND_CALL: (("weather", _ARGUMENTS),),
}

_ON_BREAK: Final = {
    Ask.UNARY: ON_BREAK_UNSPECIFIED,
    Ask.FAIL: ON_BREAK_FAIL,
    Ask.RESTART: ON_BREAK_RESTART,
    Ask.CONTINUE: ON_BREAK_CONTINUE,
    Ask.CONTINUE_UNABLE: ON_BREAK_CONTINUE,
    Ask.CONTINUE_ASKED: ON_BREAK_CONTINUE,
}


@dataclass(frozen=True)
class Case:
    """One combination; `number` names its upstream and its alias."""

    number: int
    row: Row
    place: Place
    output: Output
    ask: Ask

    def __str__(self) -> str:
        return f"{self.row.name} · {self.place.value} · {self.output.value} · {self.ask.value}"

    @property
    def provider(self) -> str:
        return f"faulty-{self.number}"

    @property
    def alias(self) -> str:
        return f"alias-{self.number}"

    @property
    def key(self) -> str:
        return f"sk-faulty-{self.number}"

    @property
    def healthy_model(self) -> str:
        """What serves in place of the faulty upstream."""
        kind = {Ask.CONTINUE_UNABLE: "unable", Ask.CONTINUE_ASKED: "asked"}.get(self.ask, "prefill")
        return f"{self.output.value.replace(' ', '-')}-{kind}"

    def request(self) -> CompleteRequest:
        """Return what its caller asks for."""
        request = CompleteRequest(
            model=self.alias,
            messages=[Message(role=ROLE_USER, parts=[Part(text="How is the weather?")])],
            routing=RoutingOptions(on_break=_ON_BREAK[self.ask]),
        )
        if self.output is Output.JSON:
            request.output.CopyFrom(
                OutputFormat(json_schema=JsonSchemaFormat(name="weather", schema_json=json.dumps(SCHEMA)))
            )
        elif self.output is Output.LOGPROBS:
            request.sampling.top_logprobs = 1
        elif self.output is not Output.TEXT:
            request.tools.extend(Tool(function=FunctionTool(name=name)) for name in ("weather", "clock"))
        return request


def scenario(cases: Sequence[Case]) -> dict[str, Any]:
    """Return what the simulator does for each faulty key and each healthy model."""
    models: dict[str, Any] = {}
    for case in cases:
        models[case.healthy_model] = dict(ANSWERS[case.output])
        if case.ask is Ask.CONTINUE_ASKED:
            models[case.healthy_model]["goes_on"] = {"repeat_bytes": REPEATED_BYTES}
    told: dict[str, Any] = {
        "keys": {case.key: {**ANSWERS[case.output], **case.row.told(case.place)} for case in cases},
        "models": models,
        "prefill_models": [model for model in models if model.endswith("-prefill")],
    }
    for case in cases:
        for name, value in case.row.scenario.items():
            told.setdefault(name, {})[case.key] = value
    return told


def routes(cases: Sequence[Case], refusing_url: str) -> str:
    """Return the routes of all cases, with `{base}` for the simulator's address."""
    providers: dict[str, Any] = {"healthy": _provider("{base}", "HEALTHY_API_KEY")}
    aliases: dict[str, Any] = {}
    models: dict[str, Any] = {}
    for case in cases:
        faulty = _provider(refusing_url if case.row.refuse else "{base}", f"FAULTY_{case.number}_API_KEY")
        # Over the answers of a place, each ask meets both.
        faulty["transport"] = TRANSPORTS[case.number // 2 % 2]
        if class_of(case.row, case.place, unary=case.ask is Ask.UNARY) in {"FIRST_TOKEN_TIMEOUT", "STALLED"}:
            faulty["timeouts"] = {"first_token_s": TIMER_S, "stall_s": TIMER_S, "response_s": TIMER_S}
        providers[case.provider] = faulty
        aliases[case.alias] = {
            "tiers": [[f"{case.provider}/broken"], [f"healthy/{case.healthy_model}"]],
            "allow_prompted_continuation": case.ask is Ask.CONTINUE_ASKED,
        }
        prefill = ["prefill"] if case.healthy_model.endswith("-prefill") else []
        models[f"healthy/{case.healthy_model}"] = {"capabilities": ["tools", "json_schema", *prefill]}
    document = json.dumps({"version": 1, "providers": providers, "models": models, "aliases": aliases})
    # The gateway of the tests fills in `{base}` by str.format.
    return document.replace("{", "{{").replace("}", "}}").replace("{{base}}", "{base}")


def environment(cases: Sequence[Case]) -> dict[str, str]:
    """Return the secrets of the routes."""
    return {"HEALTHY_API_KEY": "sk-healthy", **{f"FAULTY_{case.number}_API_KEY": case.key for case in cases}}


def _provider(base_url: str, secret: str) -> dict[str, Any]:
    return {"protocol": "openai", "base_url": base_url, "keys": [{"id": "only", "secret": f"env:{secret}"}]}
