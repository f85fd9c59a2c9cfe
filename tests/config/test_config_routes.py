"""A routes file ready for use, or everything that is wrong with it, as people and programs read it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from trunkline_server.config.findings import Finding, InvalidRoutesError, format_path, shown, why_unreadable
from trunkline_server.config.report import findings_as_json, format_findings
from trunkline_server.config.routes import load_routes, parse_routes
from trunkline_server.config.secret import Secret
from trunkline_server.config.secrets import SecretResolver

ROUTES = """\
version: 1
providers:
  openai:
    protocol: openai
    base_url: https://api.openai.com/v1
    keys:
      - {id: a, secret: env:OPENAI_API_KEY}
      - {id: b, secret: file:b}
  local: {protocol: openai, base_url: "http://localhost:1"}
aliases: {default: {tiers: [[openai/gpt-4o-mini], [local/llama]]}}
"""


def resolver(base: Path) -> SecretResolver:
    return SecretResolver(base, frozenset(), {"OPENAI_API_KEY": "sk-one"})


def test_routes_come_with_every_secret(tmp_path: Path) -> None:
    """A valid file gives its document, a secret for each key, its hash and its warnings."""
    (tmp_path / "b").write_text("sk-two\n")
    file = tmp_path / "routes.yaml"
    file.write_text(ROUTES)
    loaded = load_routes(file, resolver(tmp_path))
    assert loaded.secrets == {("openai", "a"): Secret("sk-one"), ("openai", "b"): Secret("sk-two")}
    assert loaded.sha256 == hashlib.sha256(ROUTES.encode()).hexdigest()
    assert [finding.code for finding in loaded.findings] == ["no_callers"]
    assert loaded.document.providers["local"].keys == ()
    assert "sk-" not in repr(loaded)


def test_a_document_that_is_no_file_is_loaded_alike(tmp_path: Path) -> None:
    """Text from elsewhere, such as an embedded default, goes the same way."""
    (tmp_path / "b").write_text("sk-two")
    assert parse_routes(ROUTES, resolver(tmp_path), name="embedded").document.version == 1


def test_secrets_and_settings_are_wrong_at_once(tmp_path: Path) -> None:
    """Missing secrets are told beside the other errors, each at its own line, and the values nowhere."""
    text = ROUTES.replace("file:b", "file:none").replace("[local/llama]", "[locl/llama]")
    text = text.replace("env:OPENAI_API_KEY", "env:OTHER_API_KEY")
    with pytest.raises(InvalidRoutesError) as caught:
        parse_routes(text, resolver(tmp_path), name="x")
    assert [(finding.line, finding.path, finding.code) for finding in caught.value.findings] == [
        (1, "callers", "no_callers"),
        (7, "providers.openai.keys[0].secret", "secret_not_found"),
        (8, "providers.openai.keys[1].secret", "secret_not_found"),
        (10, "aliases.default.tiers[1][0]", "unknown_provider"),
    ]
    assert "3 error(s)" in str(caught.value)


def test_secrets_alone_can_make_a_document_invalid(tmp_path: Path) -> None:
    """A document without any other error is refused for a secret that is missing."""
    with pytest.raises(InvalidRoutesError) as caught:
        parse_routes(ROUTES, resolver(tmp_path), name="x")
    assert [finding.code for finding in caught.value.findings] == ["no_callers", "secret_not_found"]


@pytest.mark.parametrize(("name", "said"), [("none.yaml", "no such file"), ("", "is a directory")])
def test_a_file_that_cannot_be_read_is_one_finding_without_a_line(tmp_path: Path, name: str, said: str) -> None:
    """A missing file and a directory are told as such, in plain words."""
    with pytest.raises(InvalidRoutesError) as caught:
        load_routes(tmp_path / name, resolver(tmp_path))
    (finding,) = caught.value.findings
    assert (finding.line, finding.path, finding.code) == (None, "", "unreadable_file")
    assert said in finding.message


def test_reasons_of_the_system_are_plain_words_without_paths() -> None:
    """What the operating system says of a file is told without its name."""
    assert why_unreadable(PermissionError(13, "Permission denied", "/secret/path")) == "this user may not read it"
    assert why_unreadable(OSError(5, "Input/output error", "/secret/path")) == "input/output error"


def test_findings_are_printed_like_a_compiler_does() -> None:
    """One line a finding: source, line, severity, path, message, code; what is absent is left out."""
    findings = [
        Finding("error", "providers.openai.keys[0].secret", 12, "secret_not_found", "names nothing"),
        Finding("error", "providers.groq.preset", 3, "not_built", "not built yet: providers.groq.preset"),
        Finding("warning", "", 1, "x", "is odd"),
        Finding("error", "", None, "unreadable_file", "can't be read"),
    ]
    assert format_findings(findings, "routes.yaml").splitlines() == [
        "routes.yaml:12: error: providers.openai.keys[0].secret: names nothing [secret_not_found]",
        "routes.yaml:3: error: not built yet: providers.groq.preset [not_built]",
        "routes.yaml:1: warning: is odd [x]",
        "routes.yaml: error: can't be read [unreadable_file]",
    ]
    assert not format_findings([], "routes.yaml")


def test_findings_are_plain_values_for_programs() -> None:
    """Any JSON encoder takes them, with every field of a finding."""
    finding = Finding("error", "version", None, "bad_version", "must be 1")
    assert json.loads(json.dumps(findings_as_json([finding]))) == [
        {"severity": "error", "path": "version", "line": None, "code": "bad_version", "message": "must be 1"}
    ]


def test_paths_show_no_names_that_could_be_secrets() -> None:
    """A key pasted as a name, control characters and overlong names become a question mark."""
    assert format_path(("models", "openai/gpt-4o-mini-2024-07-18", "stall_s")) == (
        "models.openai/gpt-4o-mini-2024-07-18.stall_s"
    )
    assert format_path(("callers", 0, "sk-proj-4f9a8b7c6d5e4f3a2b1c0d")) == "callers[0].?"
    assert shown("a" * 64) == "a" * 64
    assert [shown(name) for name in ("", "a\x1b[31m", "naïve", "x" * 129, "0f" * 32)] == ["?"] * 5
