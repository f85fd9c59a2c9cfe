"""YAML with lines: what is read how, and what is refused before it grows."""

from __future__ import annotations

import time

import pytest

from trunkline_server.config.findings import MAX_FINDINGS
from trunkline_server.config.load import parse
from trunkline_server.config.tree import MAX_BYTES, MAX_DEPTH, read_tree


def value_of(text: str) -> object:
    tree, found = read_tree(text.encode())
    assert not found
    assert tree is not None
    return tree.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("FALSE", False),
        ("no", "no"),
        ("on", "on"),
        ("~", None),
        ("12", 12),
        ("-3", -3),
        ("012", 12),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("0x10", "0x10"),
        ("1" * 64, "1" * 64),
        ('"1"', "1"),
        ("'true'", "true"),
        ("|-\n  1\n", "1"),
        ("!!str 1", "1"),
        ("! 1", "1"),
        ("1.2.3", "1.2.3"),
        ("-", [None]),
        ("+", "+"),
        ("\u0661", "\u0661"),
    ],
)
def test_scalars_are_read_by_the_rules_of_yaml_1_2(text: str, value: object) -> None:
    """Only true and false are flags; dates, clock times and digits too long for a number are text."""
    got = value_of(f"a: {text}" if text != "-" else "a:\n -")
    assert got == {"a": value}
    assert isinstance(got, dict)
    assert type(got["a"]) is type(value)


def test_every_entry_knows_its_line() -> None:
    """A mapping's entry stands where its name stands, a list's where it begins; the unknown where its parent is."""
    text = b"# c\na:\n  b: 1\n  c:\n    - x\n    - {d: 1,\n       e: 2}\nf: [1,\n    2]\n"
    tree, _ = read_tree(text)
    assert tree is not None
    lines = {
        (): 2,
        ("a",): 2,
        ("a", "b"): 3,
        ("a", "c"): 4,
        ("a", "c", 0): 5,
        ("a", "c", 1): 6,
        ("a", "c", 1, "e"): 7,
        ("a", "c", 1, "missing"): 6,
        ("f", 0): 8,
        ("f", 1): 9,
        ("f", 7): 8,
    }
    assert {path: tree.line(path) for path in lines} == lines


def test_anchors_are_expanded() -> None:
    """An alias stands for the value of its anchor."""
    assert value_of("a: &x {b: &y 1}\nc: *x\nd: [*y, *x]") == {"a": {"b": 1}, "c": {"b": 1}, "d": [1, {"b": 1}]}


BOMB = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 12)
)
DEEP = "a0: &a0 [1]\n" + "".join(f"a{level}: &a{level} [*a{level - 1}]\n" for level in range(1, 40))


@pytest.mark.parametrize(
    ("text", "line", "code"),
    [
        (b"", None, "empty_document"),
        (b"# nothing\n", None, "empty_document"),
        (b"---\n...\n", None, "empty_document"),
        (b"a: [\n", 2, "yaml_syntax"),
        (b"a: 1\n b: 2\n", 2, "yaml_syntax"),
        (b"a:\n\t- b\n", 2, "yaml_syntax"),
        (b"a: 1\nb: \x07\n", 2, "yaml_syntax"),
        (b"a: 1\nb: \x00\n", 2, "yaml_syntax"),
        (b"a: 1\nb: \xff\n", 2, "not_utf8"),
        ("a: 1".encode("utf-16"), 1, "not_utf8"),
        (b"a: 1\n---\nb: 2\n", 2, "many_documents"),
        (b"a: 1\n? [x]\n: 2\n", 2, "key_not_text"),
        (b"a: &x 1\n*x : 2\n", 2, "key_not_text"),
        (b"a: 1\nb: *x\n", 2, "unknown_alias"),
        (b"a: 1\nb: &x [*x]\n", 2, "unknown_alias"),
        (b"*x", 1, "unknown_alias"),
        (b"\n" + b"[" * 100_000, 2, "too_deep"),
        (b"- " * 100_000, 1, "too_deep"),
        (BOMB.encode(), 5, "too_many_values"),
        (DEEP.encode(), MAX_DEPTH, "too_deep"),
        (b"a: [" + b"1," * 200_000 + b"]", 1, "too_many_values"),
        (b"#" * (MAX_BYTES + 1), None, "too_large"),
    ],
)
def test_unreadable_documents_are_one_finding(text: bytes, line: int | None, code: str) -> None:
    """What can't be read, or would grow without bound, ends reading with its line, in bounded time."""
    started = time.process_time()
    parsed = parse(text, name="routes.yaml")
    assert time.process_time() - started < 5
    assert parsed.document is None
    assert [(finding.line, finding.code) for finding in parsed.findings] == [(line, code)]


def test_text_with_half_a_character_is_refused() -> None:
    """A lone surrogate in a text is no UTF-8."""
    assert [finding.code for finding in parse("a: \ud800", name="x").findings] == ["not_utf8"]


def test_a_byte_order_mark_is_no_part_of_the_document() -> None:
    """Editors that write a mark before UTF-8 do no harm."""
    assert read_tree(b"\xef\xbb\xbfa: 1")[0] is not None


def test_the_first_of_two_equal_names_is_kept() -> None:
    """A repeated name is told with both lines, and its second value is left out."""
    tree, found = read_tree(b"a:\n  b: 1\n  b: {c: 1}\n")
    assert tree is not None
    assert tree.value == {"a": {"b": 1}}
    assert [(finding.path, finding.line, finding.code) for finding in found] == [("a.b", 3, "duplicate_key")]
    assert "line 2" in found[0].message


def test_a_document_of_nothing_but_mistakes_is_cut() -> None:
    """Beyond a thousand findings the rest is counted, and errors are what stays."""
    found = parse("\n".join(f"k{number}: 1" for number in range(5_000)), name="x").findings
    assert len(found) == MAX_FINDINGS + 1
    assert found[-1].code == "too_many_findings"
    assert {finding.severity for finding in found} == {"error"}


def test_a_large_document_is_parsed_at_once() -> None:
    """2,400 lines take about 35 ms of CPU; the bound leaves room for slow machines, not for another order."""
    lines = ["version: 1", "providers:"]
    for provider in range(40):
        lines += [f"  p{provider}:", "    protocol: openai", f"    base_url: https://h{provider}.example.com/v1"]
        lines += ["    gate: {max_in_flight: 200, queue: 500, max_wait_s: 5}", "    keys:"]
        for key in range(8):
            lines += [f"      - id: k{key}", f"        secret: env:API_KEY_{key}", "        weight: 3"]
    lines += ["aliases:"]
    for alias in range(150):
        lines += [f"  a{alias}:", "    tiers:"]
        lines += [f"      - [{{target: p{(alias + tier) % 40}/m, weight: 90}}]" for tier in range(3)]
    lines += ["callers:"]
    for caller in range(160):
        lines += [f"  - id: c{caller}", f"    token_sha256: {caller:064x}", f"    aliases: [a{caller % 150}]"]
    assert len(lines) > 2_350
    text = "\n".join(lines)
    spent = []
    for _ in range(5):
        started = time.process_time()
        assert parse(text, name="routes.yaml").findings == ()
        spent.append(time.process_time() - started)
    assert min(spent) < 0.15
