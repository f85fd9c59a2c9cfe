"""Whatever a document holds, it is loaded or refused with findings, and no finding repeats a secret."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline_server.config.findings import InvalidRoutesError
from trunkline_server.config.report import format_findings
from trunkline_server.config.routes import LoadedRoutes, parse_routes
from trunkline_server.config.secrets import SecretResolver

PLANTED = "sk-live-Zq81xv7Kd02mW95tRb34"
PLANTED_HASH = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"
DOCUMENT: dict[str, Any] = {
    "version": 1,
    "providers": {
        "openai": {
            "protocol": "openai",
            "base_url": "https://api.openai.com/v1",
            "keys": [
                {"id": "a", "secret": "env:OPENAI_API_KEY", "weight": 3, "models": ["*"], "block_models": ["x"]},
                {"id": "b", "secret": "env:TRUNKLINE_SECRET_B", "tokens_per_minute": 9, "quota_group": "g"},
            ],
            "gate": {"max_in_flight": 5, "queue": 1, "max_wait_s": 0.5, "adaptive": {"min": 1, "max": 9}},
            "timeouts": {"connect_s": 1},
            "retry_budget": {"ratio": 0.2, "floor_per_s": 1},
            "transport": "aiohttp",
        },
        "local": {"protocol": "openai", "base_url": "http://localhost:1"},
    },
    "models": {"openai/m": {"context_tokens": 1000, "capabilities": ["tools", "prefill"], "regions": ["eu"]}},
    "aliases": {
        "default": {
            "tiers": [{"strategy": "weighted", "targets": [{"target": "openai/m", "weight": 1}]}, ["local/m"]],
            "on_break": "CONTINUE",
            "hedge": {"enabled": True, "max_extra": 0.01},
        }
    },
    "callers": [{"id": "c", "token_sha256": PLANTED_HASH, "aliases": ["default"], "models": ["local/m"]}],
    "admins": [{"id": "d", "mtls_san": "spiffe://prod/d", "role": "viewer"}],
    "server": {"default_deadline_s": 10, "max_deadline_s": 20},
}
RESOLVER = SecretResolver(
    Path(__file__).parent / "none",
    frozenset(),
    {"OPENAI_API_KEY": PLANTED, "TRUNKLINE_SECRET_B": PLANTED, "BAD_API_KEY": f"{PLANTED}\x01"},
)

odd_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        [
            PLANTED,
            "env:BAD_API_KEY",
            f"env:{PLANTED}",
            f"file:{PLANTED}",
            f"https://u:{PLANTED}@h/",
            f"openai/{PLANTED}",
        ]
    ),
    st.sampled_from([PLANTED_HASH, PLANTED_HASH.upper(), f"{PLANTED_HASH} "]),
    st.lists(st.sampled_from(["*", "openai/m", PLANTED, PLANTED_HASH]), max_size=3),
    st.dictionaries(st.sampled_from(["id", "target", "targets", "weight", PLANTED, PLANTED_HASH]), st.just(PLANTED)),
)
odd_names = st.one_of(st.text(max_size=8), st.sampled_from([PLANTED, PLANTED_HASH, "a/b"]))


def places(node: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every path of a document."""
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for step, child in entries:
        yield (*path, step)
        yield from places(child, (*path, step))


def load(text: bytes | str) -> None:
    """Load a document; every way in which it may end is checked, others fail the test."""
    try:
        loaded = parse_routes(text, RESOLVER, name="routes.yaml")
    except InvalidRoutesError as error:
        findings = error.findings
        assert any(finding.severity == "error" for finding in findings)
        told = f"{error!r} {error} {format_findings(findings, 'routes.yaml')} {findings}"
    else:
        assert isinstance(loaded, LoadedRoutes)
        findings = loaded.findings
        assert all(finding.severity == "warning" for finding in findings)
        # Ids are there to be shown: who writes a secret into one has published it. Their secrets' values are not.
        told = f"{list(loaded.secrets.values())} {format_findings(findings, 'routes.yaml')}"
    assert PLANTED not in told
    assert PLANTED_HASH not in told.lower()


def test_the_unchanged_document_is_valid() -> None:
    """The changes start from a document that loads."""
    assert parse_routes(yaml.safe_dump(DOCUMENT), RESOLVER, name="routes.yaml").findings == ()


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_changed_values_are_loaded_or_refused(data: st.DataObject) -> None:
    """Any values, renamed and removed settings end as routes or as findings without a secret in them."""
    document = copy.deepcopy(DOCUMENT)
    for _ in range(data.draw(st.integers(1, 4), label="changes")):
        path = data.draw(st.sampled_from(sorted(places(document), key=str)), label="path")
        parent: Any = document
        for step in path[:-1]:
            parent = parent[step]
        last: Any = path[-1]
        change = data.draw(st.sampled_from(["replace", "remove", "rename", "append"]), label="change")
        if change == "replace" or (change == "rename" and isinstance(parent, list)):
            parent[last] = data.draw(odd_values, label="value")
        elif change == "remove":
            del parent[last]
        elif change == "rename":
            name = data.draw(
                st.one_of(st.text(max_size=8), st.sampled_from([PLANTED, PLANTED_HASH, "a/b"])), label="name"
            )
            parent[name] = parent.pop(last)
        elif isinstance(parent, list):
            parent.append(copy.deepcopy(parent[last]))
        else:
            parent[data.draw(st.sampled_from(["hedge", "regions", "circuit", "admins", PLANTED]))] = PLANTED
    load(yaml.safe_dump(document, allow_unicode=True))


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_changed_text_is_loaded_or_refused(data: st.DataObject) -> None:
    """Lines that are lost, doubled, moved, indented or broken by stray characters end in the same two ways."""
    lines = yaml.safe_dump(DOCUMENT).splitlines()
    for _ in range(data.draw(st.integers(1, 5), label="changes")):
        at = data.draw(st.integers(0, len(lines) - 1), label="line")
        change = data.draw(st.sampled_from(["lose", "double", "swap", "indent", "stray"]), label="change")
        if change == "lose" and len(lines) > 1:
            del lines[at]
        elif change == "double":
            lines.insert(at, lines[at])
        elif change == "swap":
            other = data.draw(st.integers(0, len(lines) - 1), label="other")
            lines[at], lines[other] = lines[other], lines[at]
        elif change == "indent":
            lines[at] = " " * data.draw(st.integers(0, 6), label="blanks") + lines[at].lstrip()
        else:
            column = data.draw(st.integers(0, len(lines[at])), label="column")
            stray = data.draw(
                st.sampled_from([*"{}[]:,#&*!|>'\"%@`\t\x00\x07", f"*{PLANTED}", f"&{PLANTED} ", f": {PLANTED}"])
            )
            lines[at] = lines[at][:column] + stray + lines[at][column:]
    load("\n".join(lines))


@settings(deadline=None, max_examples=200)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200)))
def test_any_bytes_are_loaded_or_refused(text: bytes | str) -> None:
    """Bytes and characters of any kind end as findings."""
    load(text)
