"""What is built and what is not: one table, the types and the documented example agree."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel

from trunkline_server.config.built import SETTINGS, STANDS_FOR, VALUES, Names
from trunkline_server.config.load import parse
from trunkline_server.config.model import AliasSettings, KeySettings, RoutesDocument, TargetSettings

# The documented example with every documented name, its placeholders filled in.
EXAMPLE = """\
version: 1
providers:
  openai:
    protocol: openai            # openai | anthropic | gemini | bedrock | azure_openai | cohere; or `preset: groq`
    base_url: https://api.openai.com/v1
    keys:
      - id: team-a              # shown everywhere; the secret nowhere
        secret: env:OPENAI_API_KEY_A     # env:NAME or file:PATH, read again at every reload
        weight: 3
        models: ["*"]
        block_models: []
        requests_per_minute: 500
        tokens_per_minute: 200000
        max_in_flight: 50
        quota_group: org-1
        burst_s: 1
    gate: {max_in_flight: 200, queue: 500, max_wait_s: 5, adaptive: {min: 10, max: 400}, dispatches_per_s: 100, burst: 2}
    timeouts: {connect_s: 3, first_token_s: 20, stall_s: 20, response_s: 120}
    circuit: {recent: 20, recent_failures: 16, failures_in_row: 5, window_s: 10, error_ratio: 0.5, min_calls: 20,
      open_s: 5, open_max_s: 300, ramp_s: 6}
    retry_budget: {ratio: 0.1, recovering_ratio: 0.45, floor_per_s: 3}
    transport: aiohttp          # aiohttp | httpx
  anthropic: {protocol: anthropic, base_url: https://api.anthropic.com}
  gemini: {protocol: gemini, base_url: https://generativelanguage.googleapis.com}
  groq: {preset: groq}
models:
  openai/gpt-4o-mini: {context_tokens: 128000, max_output_tokens: 16384, input_usd_per_million: 0.15,
    output_usd_per_million: 0.60, capabilities: [tools, vision, json_schema, prefill], regions: [us],
    first_token_s: 30, stall_s: 30, response_s: 300}
aliases:
  default:
    tiers:
      - {strategy: weighted, targets: [{target: openai/gpt-4o-mini, weight: 90}, {target: anthropic/claude-haiku, weight: 10, variant: b}]}
      - [{target: gemini/gemini-flash}]
      - {strategy: lowest_cost, targets: [openai/gpt-4o]}
    allow_prompted_continuation: false
    on_break: CONTINUE          # FAIL | RESTART | CONTINUE
    on_key_rejected: fail       # fail | next_target
    on_content_filtered: fail   # fail | next_target
    hedge: {enabled: false, percentile: 95, max_extra: 0.02}
    max_attempts: 3
    default_deadline_s: 120
    max_cost_usd: 0.05
    max_first_token_s: 5
callers:
  - id: checkout
    mtls_san: spiffe://prod/checkout
    aliases: [default]
    models: []                  # direct provider/model names
    requests_per_minute: 600
    tokens_per_minute: 1000000
    max_in_flight: 100
    budget_usd_per_day: 50
    criticality: CRITICAL       # the highest it may ask for
    provider_options: []        # option keys it may pass that would otherwise be refused
admins:
  - {id: oncall, token_sha256: "HASH", role: operator}
server: {write_timeout_s: 30, deadline_reserve_s: 0.05, detach_s: 60, default_deadline_s: 120, max_deadline_s: 3600}
""".replace("HASH", "2" * 64)  # noqa: E501 - the documentation's own lines

NOT_BUILT = {
    f"not built yet: providers.{protocol}.protocol: {protocol}"
    for protocol in ("anthropic", "gemini")
    if protocol in VALUES["providers.*.protocol"].later
}


def test_the_documented_example_is_accepted_or_refused_by_name() -> None:
    """Every documented name is either taken or told as not built yet; nothing in the example is unknown."""
    found = parse(EXAMPLE, name="routes.yaml").findings
    # Placeholders, and models of protocols to come, have no price that max_cost_usd or a budget could go by.
    expected = {"unpriced_target", "unpriced_budget", "preset_keys", "no_keys"}
    assert {finding.message for finding in found if finding.code not in expected} == NOT_BUILT


def test_the_example_without_what_is_not_built_is_valid() -> None:
    """Taking out what the findings name is enough to make a document valid."""
    text = """\
version: 1
providers:
  openai:
    protocol: openai
    base_url: https://api.openai.com/v1
    keys:
      - {id: team-a, secret: env:OPENAI_API_KEY_A, weight: 3, models: ["*"], block_models: [], requests_per_minute: 500,
         tokens_per_minute: 200000, max_in_flight: 50, quota_group: org-1, burst_s: 1}
    gate: {max_in_flight: 200, queue: 500, max_wait_s: 5, burst: 2, dispatches_per_s: 100}
    timeouts: {connect_s: 3, first_token_s: 20, stall_s: 20, response_s: 120}
    circuit: {recent: 20, recent_failures: 16, failures_in_row: 5, window_s: 10, error_ratio: 0.5, min_calls: 20, open_s: 5, open_max_s: 300, ramp_s: 6}
    retry_budget: {ratio: 0.1, recovering_ratio: 0.45, floor_per_s: 3}
    transport: aiohttp
aliases:
  default:
    tiers: [[openai/gpt-4o-mini]]
    allow_prompted_continuation: false
    hedge: {enabled: false, percentile: 95, max_extra: 0.02}
    max_cost_usd: 0.05
    max_first_token_s: 5
callers: [{id: a, token_sha256: "HASH", aliases: [default], criticality: CRITICAL}]
server: {write_timeout_s: 30, deadline_reserve_s: 0.05, detach_s: 60, default_deadline_s: 120, max_deadline_s: 3600}
""".replace("HASH", "1" * 64)  # noqa: E501 - the documentation's own line
    given = parse(text, name="routes.yaml")
    assert given.findings == ()
    defaults = (
        "    gate",
        "    timeouts",
        "    circuit",
        "    retry_budget",
        "    allow_prompted",
        "    hedge",
        "server",
    )
    lines = [line for line in text.splitlines() if not line.startswith(defaults)]
    lines.insert(lines.index("    transport: aiohttp"), "    gate: {dispatches_per_s: 100.0}")
    # The example's numbers are the defaults: without them the document says the same.
    bare = parse(
        "\n".join(lines).replace(", burst_s: 1", "").replace(", criticality: CRITICAL", ""), name="routes.yaml"
    )
    assert bare.document == given.document


@pytest.mark.parametrize("place", sorted(VALUES))
def test_every_known_word_is_accepted_or_refused_by_name(place: str) -> None:
    """Each documented value of a choice is taken, or told as not built yet with the value."""
    names = VALUES[place]
    base = """\
version: 1
providers: {p: {protocol: PROTOCOL, base_url: "https://x", transport: TRANSPORT}}
models: {p/m: {wire: WIRE}}
aliases:
  a:
    tiers: [{strategy: STRATEGY, targets: [p/m]}]
    on_break: BREAK
    on_key_rejected: REJECTED
    on_content_filtered: FILTERED
callers: [{id: c, token_sha256: "HASH", aliases: [a], criticality: CRITICALITY}]
admins: [{id: d, mtls_san: d@x, role: ADMIN_ROLE}]
""".replace("HASH", "1" * 64)
    defaults = {
        "PROTOCOL": "openai",
        "TRANSPORT": "aiohttp",
        "WIRE": "chat",
        "STRATEGY": "weighted",
        "BREAK": "FAIL",
        "REJECTED": "fail",
        "FILTERED": "fail",
        "CRITICALITY": "CRITICAL",
        "ADMIN_ROLE": "viewer",
    }
    marks = dict(zip(VALUES, defaults, strict=True))
    for word in names.known:
        text = base
        for mark, default in defaults.items():
            text = text.replace(f" {mark}", f" {word if mark == marks[place] else default}")
        found = [each for each in parse(text, name="routes.yaml").findings if each.severity == "error"]
        path = place.replace("providers.*", "providers.p").replace("aliases.*", "aliases.a").replace("[]", "[0]")
        told = [f"not built yet: {path}: {word}"] if word in names.later else []
        assert [finding.message for finding in found] == told


def _models(kind: Any, place: str) -> dict[str, type[BaseModel]]:
    """Every model below a type, by the place where the table has it."""
    origin = get_origin(kind)
    if origin is Annotated:
        return _models(get_args(kind)[0], place)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        found = {place: kind}
        for name, field in kind.model_fields.items():
            found |= _models(field.annotation, f"{place}.{name}" if place else name)
        return found
    if origin in {tuple, list, Sequence}:
        return _models(get_args(kind)[0], f"{place}[]")
    if origin in {Mapping, dict}:
        return _models(get_args(kind)[1], f"{place}.*")
    if origin is types.UnionType:
        return {key: model for part in get_args(kind) for key, model in _models(part, place).items()}
    return {}


def test_the_table_of_what_is_built_has_exactly_the_fields_of_the_types() -> None:
    """A name is in the table's `built` if and only if a type has a field for it."""
    models = _models(RoutesDocument, "")
    assert {place: set(model.model_fields) for place, model in models.items()} == {
        place: set(names.built) for place, names in SETTINGS.items()
    }


def test_the_table_of_values_has_exactly_the_words_of_the_types() -> None:
    """A word is in the table's `built` if and only if the type accepts it."""
    words: dict[str, set[str]] = {}
    for place, model in _models(RoutesDocument, "").items():
        for name, field in model.model_fields.items():
            for kind in (field.annotation, *get_args(field.annotation)):  # optional ones stand in a union with None
                if get_origin(kind) is Literal and name != "version":
                    words[f"{place}.{name}"] = set(get_args(kind))
    assert words == {place: set(names.built) for place, names in VALUES.items()}


def test_no_name_is_both_built_and_not() -> None:
    """An entry that was flipped stands on one side only, and what replaces others is a known name."""
    tables: list[Names] = [*SETTINGS.values(), *VALUES.values()]
    for names in tables:
        assert len(set(names.known)) == len(names.known)
    for setting in STANDS_FOR:
        place, _, name = setting.rpartition(".")
        assert name in SETTINGS[place].known


def test_documents_are_frozen_and_normalised() -> None:
    """Both forms of tiers and targets become one, and nothing can be assigned afterwards."""
    short = AliasSettings.model_validate({"tiers": [["p/a/b"]]})
    long = AliasSettings.model_validate({"tiers": [{"strategy": "weighted", "targets": [{"target": "p/a/b"}]}]})
    assert short == long
    target = short.tiers[0].targets[0]
    assert (target.provider, target.model, target.weight, target.variant) == ("p", "a/b", 1.0, None)
    with pytest.raises(ValueError, match="frozen"):
        setattr(target, "weight", 3.0)  # noqa: B010 - a plain assignment is refused by the type checker already


def test_the_block_list_of_a_key_wins() -> None:
    """A key serves what one of its patterns allows and none of its block list's forbids."""
    given = {"id": "k", "secret": "env:X", "models": ["a*", "b"], "block_models": ["*-old", "a1"]}
    key = KeySettings.model_validate(given)
    served = [model for model in ("a", "a1", "a2", "a2-old", "b", "b2", "A", "c") if key.serves(model)]
    assert served == ["a", "a2", "b"]
    assert KeySettings.model_validate({"id": "k", "secret": "env:X"}).serves("anything")
    assert not KeySettings.model_validate({"id": "k", "secret": "env:X", "block_models": ["*"]}).serves("anything")


def test_a_base_url_loses_its_last_slash_and_a_hash_its_capitals() -> None:
    """What means the same is kept in one spelling."""
    text = f"""\
version: 1
providers: {{p: {{protocol: openai, base_url: "https://x/v1/"}}}}
aliases: {{a: {{tiers: [[p/m]]}}}}
callers: [{{id: c, token_sha256: {"AB" * 32}, aliases: [a]}}]
"""
    document = parse(text, name="routes.yaml").document
    assert document is not None
    assert document.providers["p"].base_url == "https://x/v1"
    assert document.callers[0].token_sha256 == "ab" * 32
    assert "abab" not in repr(document)


def test_a_target_has_its_parts() -> None:
    """The provider ends at the first slash."""
    target = TargetSettings.model_validate("openrouter/meta/llama-3")
    assert (target.provider, target.model) == ("openrouter", "meta/llama-3")
