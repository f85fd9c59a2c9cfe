"""Every rule of the routes file by example: the line marked HERE is the one that the finding must name."""

from __future__ import annotations

import pytest

from trunkline_server.config.load import parse

GOOD = """\
version: 1
providers:
  openai:
    protocol: openai
    base_url: https://api.openai.com/v1
    keys:
      - id: team-a
        secret: env:OPENAI_API_KEY_A
      - {id: team-b, secret: file:openai/b, weight: 0.5, models: [gpt-4o-mini, gpt-4o], block_models: [gpt-4o]}
    gate: {max_in_flight: 10, queue: 0, max_wait_s: 0}
    timeouts: {connect_s: 1, first_token_s: 2.5, stall_s: 3, response_s: 4}
    transport: httpx
  local:
    protocol: openai
    base_url: http://127.0.0.1:8080/v1/
models:
  openai/gpt-4o-mini: {context_tokens: 128000, capabilities: [tools], stall_s: 60}
aliases:
  default:
    tiers:
      - {strategy: weighted, targets: [{target: openai/gpt-4o-mini, weight: 90}, {target: openai/gpt-4o, variant: b}]}
      - [local/llama, {target: local/org/model, weight: 0}]
    on_break: FAIL
    on_key_rejected: next_target
    on_content_filtered: fail
    max_attempts: 5
    default_deadline_s: 60
callers:
  - id: checkout
    token_sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    aliases: [default]
    models: [local/llama]
    provider_options: [service_tier]
server: {write_timeout_s: 10, deadline_reserve_s: 0, default_deadline_s: 30, max_deadline_s: 600}
"""
HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
TRANSPORT = "    transport: httpx\n"
CIRCUIT = "providers.openai.circuit"
BUDGET = "providers.openai.retry_budget"
HEDGE = "aliases.default.hedge"
URL = "base_url: https://api.openai.com/v1"
ALIAS_FALLBACK = "      - [local/llama, {target: local/org/model, weight: 0}]"
SERVER = GOOD[GOOD.index("server:") :]

# (what in GOOD, becomes what, path, code); the line is that of "# HERE", or the first changed one.
ERRORS = [
    # the document's own frame
    ("version: 1", "version: 2", "version", "bad_version"),
    ("version: 1", 'version: "1"', "version", "bad_version"),
    ("version: 1", "version: true", "version", "bad_version"),
    ("version: 1", "version: 1.0", "version", "bad_version"),
    ("version: 1\n", "", "version", "missing_field"),
    ("version: 1", "verison: 1\nversion: 1", "verison", "unknown_field"),
    ("version: 1", "version: 1\n7: x  # HERE", "7", "key_not_text"),
    ("version: 1", "version: 1\n<<: {}  # HERE", "<<", "merge_key"),
    ("version: 1", "version: 1\nversion: 1  # HERE", "version", "duplicate_key"),
    ("version: 1", "version: !!int 1", "version", "yaml_tag"),
    # providers
    ("  openai:\n", "  open/ai:\n", "providers.open/ai", "bad_name"),
    ("  local:\n", f"  {'l' * 65}:\n", f"providers.{'l' * 65}", "bad_name"),
    ("    protocol: openai\n    base_url: https", "    base_url: https", "providers.openai.protocol", "missing_field"),
    (TRANSPORT, "    transport: requests\n", "providers.openai.transport", "bad_value"),
    (TRANSPORT, "    transport: [httpx]\n", "providers.openai.transport", "wrong_type"),
    (TRANSPORT, "    transport:\n", "providers.openai.transport", "wrong_type"),
    (TRANSPORT, "    allow_plaintext: yes\n", "providers.openai.allow_plaintext", "wrong_type"),
    (TRANSPORT, '    allow_plaintext: "true"\n', "providers.openai.allow_plaintext", "wrong_type"),
    (TRANSPORT, TRANSPORT + "    connect_s: 3  # HERE\n", "providers.openai.connect_s", "unknown_field"),
    # circuits
    (TRANSPORT, "    circuit: {recent: 0}\n", f"{CIRCUIT}.recent", "out_of_range"),
    (TRANSPORT, "    circuit: {error_ratio: 1.5}\n", f"{CIRCUIT}.error_ratio", "out_of_range"),
    (TRANSPORT, "    circuit: {open_s: 0}\n", f"{CIRCUIT}.open_s", "out_of_range"),
    (TRANSPORT, "    circuit: {opens_s: 1}\n", f"{CIRCUIT}.opens_s", "unknown_field"),
    (TRANSPORT, "    circuit: {recent: 15}\n", f"{CIRCUIT}.recent", "circuit_disagrees"),
    (TRANSPORT, "    circuit: {recent_failures: 21}\n", f"{CIRCUIT}.recent_failures", "circuit_disagrees"),
    (TRANSPORT, "    circuit: {open_s: 301}\n", f"{CIRCUIT}.open_s", "circuit_disagrees"),
    (TRANSPORT, "    circuit: {open_max_s: 4.9}\n", f"{CIRCUIT}.open_max_s", "circuit_disagrees"),
    # retry budgets
    (TRANSPORT, "    retry_budget: {ratio: -0.1}\n", f"{BUDGET}.ratio", "out_of_range"),
    (TRANSPORT, "    retry_budget: {ratio: 1.1}\n", f"{BUDGET}.ratio", "out_of_range"),
    (TRANSPORT, "    retry_budget: {recovering_ratio: 2}\n", f"{BUDGET}.recovering_ratio", "out_of_range"),
    (TRANSPORT, "    retry_budget: {floor_per_s: -1}\n", f"{BUDGET}.floor_per_s", "out_of_range"),
    (TRANSPORT, "    retry_budget: {floor_per_s: .inf}\n", f"{BUDGET}.floor_per_s", "out_of_range"),
    (TRANSPORT, "    retry_budget: {window_s: 10}\n", f"{BUDGET}.window_s", "unknown_field"),
    (TRANSPORT, "    retry_budget: 0.1\n", BUDGET, "wrong_type"),
    # base_url
    (URL, "base_url: api.openai.com/v1", "providers.openai.base_url", "bad_url"),
    (URL, "base_url: ftp://api.openai.com", "providers.openai.base_url", "bad_url"),
    (URL, "base_url: https:///v1", "providers.openai.base_url", "bad_url"),
    (URL, "base_url: https://api.openai.com:port/v1", "providers.openai.base_url", "bad_url"),
    (URL, "base_url: https://api.openai.com:70000/v1", "providers.openai.base_url", "bad_url"),
    (URL, 'base_url: "https://[::1/v1"', "providers.openai.base_url", "bad_url"),
    (URL, "base_url: https://api.openai.com/v1?key=x", "providers.openai.base_url", "bad_url"),
    (URL, "base_url: https://api.openai.com/v1#x", "providers.openai.base_url", "bad_url"),
    (URL, 'base_url: "https://api.openai.com/ v1"', "providers.openai.base_url", "bad_url"),
    (URL, "base_url: https://user:word@api.openai.com/v1", "providers.openai.base_url", "url_credentials"),
    (URL, "base_url: https://user@api.openai.com/v1", "providers.openai.base_url", "url_credentials"),
    (URL, "base_url: 3", "providers.openai.base_url", "wrong_type"),
    (URL, "base_url: http://api.openai.com/v1", "providers.openai.base_url", "plaintext"),
    (URL, "base_url: http://10.0.0.1/v1", "providers.openai.base_url", "plaintext"),
    (URL, "base_url: http://localhost.example.com/v1", "providers.openai.base_url", "plaintext"),
    # keys
    ("      - id: team-a\n        secret", "      - secret", "providers.openai.keys[0].id", "missing_field"),
    ("id: team-a", "id: team a", "providers.openai.keys[0].id", "bad_name"),
    ("id: team-a", "id: 7", "providers.openai.keys[0].id", "wrong_type"),
    ("id: team-b", "id: team-a", "providers.openai.keys[1].id", "duplicate_id"),
    ("env:OPENAI_API_KEY_A", "sk-live-0123456789", "providers.openai.keys[0].secret", "literal_secret"),
    ("env:OPENAI_API_KEY_A", "vault:openai", "providers.openai.keys[0].secret", "literal_secret"),
    ("env:OPENAI_API_KEY_A", '"env:"', "providers.openai.keys[0].secret", "bad_secret_reference"),
    ("weight: 0.5", "weight: -1", "providers.openai.keys[1].weight", "out_of_range"),
    ("weight: 0.5", "weight: 1e7", "providers.openai.keys[1].weight", "out_of_range"),
    ("weight: 0.5", "weight: .inf", "providers.openai.keys[1].weight", "out_of_range"),
    ("weight: 0.5", "weight: .nan", "providers.openai.keys[1].weight", "out_of_range"),
    ("weight: 0.5", 'weight: "3"', "providers.openai.keys[1].weight", "wrong_type"),
    ("weight: 0.5", "weight: true", "providers.openai.keys[1].weight", "wrong_type"),
    ("models: [gpt-4o-mini, gpt-4o]", "models: [gpt 4]", "providers.openai.keys[1].models[0]", "bad_model"),
    ("models: [gpt-4o-mini, gpt-4o]", "models: gpt-4o", "providers.openai.keys[1].models", "wrong_type"),
    # gate, timeouts
    ("max_in_flight: 10", "max_in_flight: 0", "providers.openai.gate.max_in_flight", "out_of_range"),
    ("max_in_flight: 10", "max_in_flight: 1.5", "providers.openai.gate.max_in_flight", "wrong_type"),
    ("max_in_flight: 10", "max_in_flight: 1_000", "providers.openai.gate.max_in_flight", "wrong_type"),
    ("queue: 0", "queue: -1", "providers.openai.gate.queue", "out_of_range"),
    ("max_wait_s: 0", "max_wait_s: 1e400", "providers.openai.gate.max_wait_s", "out_of_range"),
    ("connect_s: 1", "connect_s: 0", "providers.openai.timeouts.connect_s", "out_of_range"),
    ("connect_s: 1", "connect_s: 3s", "providers.openai.timeouts.connect_s", "wrong_type"),
    ("connect_s: 1", "connect_s: 86401", "providers.openai.timeouts.connect_s", "out_of_range"),
    ("connect_s: 1", "conect_s: 1", "providers.openai.timeouts.conect_s", "unknown_field"),
    ("max_in_flight: 10,", "adaptive: {min: 0}, max_in_flight: 10,", "providers.openai.gate.adaptive.min",
     "out_of_range"),
    ("max_in_flight: 10,", "adaptive: {mx: 20}, max_in_flight: 10,", "providers.openai.gate.adaptive.mx",
     "unknown_field"),
    ("max_in_flight: 10,", "adaptive: {min: 11}, max_in_flight: 10,", "providers.openai.gate.adaptive.min",
     "gate_disagrees"),
    ("max_in_flight: 10,", "adaptive: {max: 9}, max_in_flight: 10,", "providers.openai.gate.adaptive.max",
     "gate_disagrees"),
    ("max_in_flight: 10,", "adaptive: {}, max_in_flight: 401,", "providers.openai.gate.adaptive.max", "gate_disagrees"),
    ("max_in_flight: 10,", "adaptive: 20, max_in_flight: 10,", "providers.openai.gate.adaptive", "wrong_type"),
    ("max_in_flight: 10,", "dispatches_per_s: 0, max_in_flight: 10,", "providers.openai.gate.dispatches_per_s",
     "out_of_range"),
    ("max_in_flight: 10,", "dispatches_per_s: null, max_in_flight: 10,", "providers.openai.gate.dispatches_per_s",
     "empty_value"),
    ("max_in_flight: 10,", "dispatches_per_s: 5, burst: 0, max_in_flight: 10,", "providers.openai.gate.burst",
     "out_of_range"),
    # limits of keys
    ("weight: 0.5", "requests_per_minute: 0", "providers.openai.keys[1].requests_per_minute", "out_of_range"),
    ("weight: 0.5", "tokens_per_minute: 100k", "providers.openai.keys[1].tokens_per_minute", "wrong_type"),
    ("weight: 0.5", "tokens_per_minute: .inf", "providers.openai.keys[1].tokens_per_minute", "out_of_range"),
    ("weight: 0.5", "max_in_flight: 0", "providers.openai.keys[1].max_in_flight", "out_of_range"),
    ("weight: 0.5", "quota_group: org 1", "providers.openai.keys[1].quota_group", "bad_name"),
    ("weight: 0.5", "burst_s: 61, requests_per_minute: 1", "providers.openai.keys[1].burst_s", "out_of_range"),
    # models
    ("  openai/gpt-4o-mini:", "  gpt-4o-mini:", "models.gpt-4o-mini", "bad_target"),
    ("context_tokens: 128000", "regions: eu", "models.openai/gpt-4o-mini.regions", "wrong_type"),
    ("context_tokens: 128000", "regions: [e u]", "models.openai/gpt-4o-mini.regions[0]", "bad_name"),
    ("context_tokens: 128000", "context_tokens: 0", "models.openai/gpt-4o-mini.context_tokens", "out_of_range"),
    ("context_tokens: 128000", "context_tokens: null", "models.openai/gpt-4o-mini.context_tokens", "empty_value"),
    # aliases
    ("  default:\n", "  de/fault:\n", "aliases.de/fault", "bad_name"),
    (ALIAS_FALLBACK, "      - []", "aliases.default.tiers[1]", "empty_list"),
    (ALIAS_FALLBACK, "      - {targets: []}", "aliases.default.tiers[1].targets", "empty_list"),
    (ALIAS_FALLBACK, "      - local/llama", "aliases.default.tiers[1]", "wrong_type"),
    (ALIAS_FALLBACK, "      - {target: local/llama}", "aliases.default.tiers[1].targets", "missing_field"),
    (ALIAS_FALLBACK, "      - [llama]", "aliases.default.tiers[1][0]", "bad_target"),
    (ALIAS_FALLBACK, "      - [7]", "aliases.default.tiers[1][0]", "wrong_type"),
    (ALIAS_FALLBACK, "      -\n        - target: local/llama\n          weight: -1  # HERE",
     "aliases.default.tiers[1][0].weight", "out_of_range"),
    (ALIAS_FALLBACK, "      - targets:\n          - target: local/llama\n            weight: -1  # HERE",
     "aliases.default.tiers[1].targets[0].weight", "out_of_range"),
    (ALIAS_FALLBACK, "      - [locl/llama]", "aliases.default.tiers[1][0]", "unknown_provider"),
    (ALIAS_FALLBACK, "      - {targets: [{target: locl/llama}]}", "aliases.default.tiers[1].targets[0].target",
     "unknown_provider"),
    (ALIAS_FALLBACK, "      - [local/llama]\n      - [local/llama]  # HERE", "aliases.default.tiers[2][0]",
     "repeated_target"),
    ("variant: b}", "variant: b c}", "aliases.default.tiers[0].targets[1].variant", "bad_name"),
    ("strategy: weighted", "strategy: wieghted", "aliases.default.tiers[0].strategy", "bad_value"),
    ("on_break: FAIL", "on_break: fail", "aliases.default.on_break", "bad_value"),
    ("on_key_rejected: next_target", "on_key_rejected: retry", "aliases.default.on_key_rejected", "bad_value"),
    ("on_break: FAIL", "allow_prompted_continuation: RESTART", "aliases.default.allow_prompted_continuation",
     "wrong_type"),
    ("on_break: FAIL", "hedge: {percentile: 49.9}", f"{HEDGE}.percentile", "out_of_range"),
    ("on_break: FAIL", "hedge: {percentile: 100}", f"{HEDGE}.percentile", "out_of_range"),
    ("on_break: FAIL", "hedge: {max_extra: 0}", f"{HEDGE}.max_extra", "out_of_range"),
    ("on_break: FAIL", "hedge: {max_extra: 0.11}", f"{HEDGE}.max_extra", "out_of_range"),
    ("on_break: FAIL", "hedge: {enabled: 1}", f"{HEDGE}.enabled", "wrong_type"),
    ("on_break: FAIL", "hedge: {percentil: 95}", f"{HEDGE}.percentil", "unknown_field"),
    ("on_break: FAIL", "hedge: true", HEDGE, "wrong_type"),
    ("max_attempts: 5", "max_attempts: 0", "aliases.default.max_attempts", "out_of_range"),
    ("on_break: FAIL", "max_cost_usd: 0", "aliases.default.max_cost_usd", "out_of_range"),
    ("on_break: FAIL", "max_first_token_s: 0", "aliases.default.max_first_token_s", "out_of_range"),
    # callers
    ("models: [local/llama]", "criticality: critical", "callers[0].criticality", "bad_value"),
    ("models: [local/llama]", "criticality: 1", "callers[0].criticality", "wrong_type"),
    ("  - id: checkout", "  - id: check/out", "callers[0].id", "bad_name"),
    (HASH, "abc", "callers[0].token_sha256", "bad_token_hash"),
    (HASH, "g" * 64, "callers[0].token_sha256", "bad_token_hash"),
    ("aliases: [default]", "aliases: [defalt]", "callers[0].aliases[0]", "unknown_alias"),
    ("aliases: [default]", "aliases: default", "callers[0].aliases", "wrong_type"),
    ("models: [local/llama]", "models: [lcal/llama]", "callers[0].models[0]", "unknown_provider"),
    ("models: [local/llama]", "models: [llama]", "callers[0].models[0]", "bad_target"),
    ("provider_options: [service_tier]", 'provider_options: [""]', "callers[0].provider_options[0]",
     "bad_option_key"),
    ("server:", f"  - {{id: other, token_sha256: {HASH.upper()}, models: [local/llama]}}  # HERE\nserver:",
     "callers[1].token_sha256", "duplicate_token"),
    ("server:", f"  - {{id: checkout, token_sha256: {'1' * 64}, models: [local/llama]}}  # HERE\nserver:",
     "callers[1].id", "duplicate_id"),
    # server
    ("write_timeout_s: 10", "write_timeout_s: 0", "server.write_timeout_s", "out_of_range"),
    ("write_timeout_s: 10", "detach_s: 0", "server.detach_s", "out_of_range"),
    ("max_deadline_s: 600", "max_deadline_s: 29", "server.max_deadline_s", "deadlines_disagree"),
    (SERVER, "server: {default_deadline_s: 4000}\n", "server.default_deadline_s", "deadlines_disagree"),
    (SERVER, "server: {max_deadline_s: 60}\n", "server.max_deadline_s", "deadlines_disagree"),
    (SERVER, "server: 7\n", "server", "wrong_type"),
]  # fmt: skip

WARNINGS = [
    ("callers:\n", "callers: []\nx-callers:\n", "callers", "no_callers"),
    ("server:", f"  - {{id: idle, token_sha256: {'1' * 64}}}  # HERE\nserver:", "callers[1]", "caller_without_models"),
    ("models:\n", "models:\n  opnai/x: {}  # HERE\n", "models.opnai/x", "unknown_provider"),
    ("[tools]", "[tool]", "models.openai/gpt-4o-mini.capabilities[0]", "unknown_capability"),
    ("default_deadline_s: 60", "default_deadline_s: 601", "aliases.default.default_deadline_s", "deadline_cut"),
    ("max_in_flight: 10,", "burst: 3, max_in_flight: 10,", "providers.openai.gate.burst", "no_effect"),
    ("weight: 0.5", "burst_s: 3", "providers.openai.keys[1].burst_s", "no_effect"),
    ("on_break: FAIL", "on_break: CONTINUE", "aliases.default.on_break", "nobody_continues"),
]


def line_of_change(before: str, after: str) -> int:
    """Return the line marked HERE, else the first one that differs, from 1."""
    lines = after.splitlines()
    marked = [number for number, line in enumerate(lines, 1) if "HERE" in line]
    if marked:
        return marked[0]
    pairs = zip(before.splitlines(), lines, strict=False)
    return next(number for number, (old, new) in enumerate(pairs, 1) if old != new)


def test_the_good_document_has_no_finding() -> None:
    """The document that the examples change is itself accepted, without a warning."""
    parsed = parse(GOOD, name="routes.yaml")
    assert parsed.findings == ()
    assert parsed.document is not None


@pytest.mark.parametrize(("old", "new", "path", "code"), ERRORS)
def test_each_mistake_is_told_with_path_line_and_code(old: str, new: str, path: str, code: str) -> None:
    """A document with one mistake has an error for exactly that path and line, and is not accepted."""
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    parsed = parse(text, name="routes.yaml")
    assert parsed.document is None
    found = [finding for finding in parsed.findings if finding.severity == "error" and finding.code == code]
    assert [finding.path for finding in found] == [path], parsed.findings
    if code != "missing_field":  # that has no line of its own, and gets its parent's
        assert found[0].line == line_of_change(GOOD, text)


@pytest.mark.parametrize(("old", "new", "path", "code"), WARNINGS)
def test_each_doubtful_setting_is_a_warning(old: str, new: str, path: str, code: str) -> None:
    """What is allowed but seldom meant is told as a warning with its path and line."""
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    found = [finding for finding in parse(text, name="routes.yaml").findings if finding.code == code]
    assert [(finding.severity, finding.path) for finding in found] == [("warning", path)]
    assert found[0].line == line_of_change(GOOD, text)


def test_targets_without_a_price_are_told_where_the_price_decides() -> None:
    """`max_cost_usd` and `lowest_cost` need prices; those of the shipped catalogue count, and so do the document's."""
    limited = GOOD.replace("on_break: FAIL", "max_cost_usd: 1")
    unpriced = [each for each in parse(limited, name="routes.yaml").findings if each.code == "unpriced_target"]
    assert [each.path for each in unpriced] == [
        "aliases.default.tiers[1][0]",
        "aliases.default.tiers[1][1].target",
    ]
    assert all("max_cost_usd does not hold it back" in each.message for each in unpriced)
    prices = "{input_usd_per_million: 0, output_usd_per_million: 0}"
    priced = limited.replace("models:\n", f"models:\n  local/llama: {prices}\n  local/org/model: {prices}\n", 1)
    assert parse(priced, name="routes.yaml").findings == ()
    cheapest = GOOD.replace("strategy: weighted", "strategy: lowest_cost").replace(
        "target: openai/gpt-4o,", "target: openai/x,"
    )
    (found,) = parse(cheapest.replace("[gpt-4o-mini, gpt-4o]", '["*"]'), name="routes.yaml").findings
    assert (found.severity, found.path) == ("warning", "aliases.default.tiers[0].targets[1].target")
    assert "lowest_cost" in found.message


def test_somebody_who_can_go_on_is_enough() -> None:
    """CONTINUE is not doubted where one target takes a prefill, or models may be asked in words."""
    asked = GOOD.replace("on_break: FAIL", "on_break: CONTINUE")
    able = asked.replace("models:\n", "models:\n  local/llama: {capabilities: [prefill]}\n", 1)
    prompted = asked.replace("max_attempts: 5", "allow_prompted_continuation: true")
    for text in (able, prompted):
        assert parse(text, name="routes.yaml").findings == ()


def test_a_target_that_no_key_may_serve_is_an_error() -> None:
    """A pool whose lists leave no key for an alias' or a caller's model is told at that target."""
    text = GOOD.replace("env:OPENAI_API_KEY_A\n", "env:OPENAI_API_KEY_A\n        models: [other]\n")
    text = text.replace("models: [local/llama]", "models: [openai/nothing, openai/other]")
    found = [(finding.path, finding.code) for finding in parse(text, name="routes.yaml").findings]
    assert found == [
        ("aliases.default.tiers[0].targets[1].target", "no_key_for_model"),
        ("callers[0].models[0]", "no_key_for_model"),
    ]


def test_all_mistakes_are_told_at_once_in_the_order_of_lines() -> None:
    """Errors of single settings, of references and of presets come together, sorted by line."""
    text = (
        GOOD.replace("id: team-b", "id: team-a")
        .replace("stall_s: 3,", "stall: 3,")
        .replace("protocol: openai\n    base_url: http:", "preset: x\n    base_url: http:")
        .replace("aliases: [default]", "aliases: [defaul]")
    )
    found = parse(text, name="routes.yaml").findings
    assert [finding.code for finding in found] == ["duplicate_id", "unknown_field", "unknown_preset", "unknown_alias"]
    assert [finding.line for finding in found] == sorted(finding.line or 0 for finding in found)
    assert "did you mean stall_s?" in found[1].message
    assert "did you mean default?" in found[3].message


def test_a_setting_in_the_wrong_place_is_sent_home() -> None:
    """A known name at the wrong place is told where it belongs."""
    text = GOOD.replace("    transport: httpx\n", "    max_wait_s: 5\n")
    (finding,) = parse(text, name="routes.yaml").findings
    assert (finding.code, finding.line) == ("unknown_field", 12)
    assert "providers.*.gate" in finding.message


@pytest.mark.parametrize(
    "url",
    ["http://localhost:1/v1", "http://127.0.0.1", "http://127.9.9.9/", "http://[::1]:8080/v1", "https://10.0.0.1/v1"],
)
def test_http_to_loopback_needs_no_permission(url: str) -> None:
    """Plain http is accepted where nothing leaves the machine, https everywhere."""
    parsed = parse(GOOD.replace("https://api.openai.com/v1", url), name="routes.yaml")
    assert parsed.findings == ()


def test_plaintext_can_be_allowed() -> None:
    """`allow_plaintext: true` lets a provider be reached over http beyond loopback."""
    text = GOOD.replace("https://api.openai.com/v1", "http://10.0.0.1/v1\n    allow_plaintext: true")
    assert parse(text, name="routes.yaml").findings == ()


def test_empty_callers_and_aliases_of_the_wrong_shape_are_no_warnings() -> None:
    """Only absent or empty sections are warned of; a wrong shape is an error and nothing else."""
    text = GOOD[: GOOD.index("callers:")] + "callers: 3\n"
    assert [finding.code for finding in parse(text, name="routes.yaml").findings] == ["wrong_type"]
