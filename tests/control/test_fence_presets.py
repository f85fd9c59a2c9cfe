"""A preset brings a base URL: over the wire it may be changed no more than the URL that it stands for."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from trunkline_server.config.load import parse
from trunkline_server.config.model import RoutesDocument
from trunkline_server.control.fence import check_wire

KEYS = [{"id": "a", "secret": "env:GROQ_API_KEY"}]
GROQ = "https://api.groq.com/openai/v1"
PRESET = {"preset": "groq", "keys": KEYS}
ELSEWHERE = {"preset": "groq", "base_url": "https://llm.example/v1", "keys": KEYS}
WRITTEN = {"protocol": "openai", "base_url": GROQ, "keys": KEYS}


def text(provider: dict[str, Any]) -> str:
    return yaml.safe_dump({"version": 1, "providers": {"fast": provider}})


def typed(provider: dict[str, Any]) -> RoutesDocument:
    parsed = parse(text(provider), name="x")
    assert parsed.document is not None, parsed.findings
    return parsed.document


def refused(given: dict[str, Any], trusted: dict[str, Any]) -> list[tuple[str, str]]:
    found = check_wire(parse(text(given), name="x"), typed(trusted), None)
    return [(finding.path.removeprefix("providers.fast."), finding.code) for finding in found]


MOVED = "remote_destination"


@pytest.mark.parametrize(
    ("trusted", "given", "expected"),
    [
        (PRESET, {"preset": "together", "keys": KEYS}, [("preset", MOVED)]),
        (PRESET, PRESET | {"base_url": "https://evil.example/v1"}, [("base_url", MOVED)]),
        (ELSEWHERE, PRESET, [("preset", MOVED)]),
        (WRITTEN, {"preset": "openai", "keys": KEYS}, [("preset", MOVED)]),
        (WRITTEN, PRESET, [("preset", MOVED)]),
        (PRESET, WRITTEN, [("preset", MOVED)]),
        (PRESET, {"preset": "nobody", "keys": KEYS}, [("preset", MOVED)]),
        (PRESET, {"preset": ["groq"], "keys": KEYS}, [("preset", MOVED)]),
        (PRESET, PRESET | {"protocol": "anthropic"}, [("protocol", MOVED)]),
        (PRESET, PRESET | {"keys": []}, []),
        (PRESET, PRESET | {"base_url": GROQ}, []),
        (PRESET, PRESET | {"gate": {"max_in_flight": 3}}, []),
        (PRESET, {"preset": "together"}, [("preset", MOVED)]),
        ({"preset": "ollama"}, {"preset": "vllm"}, []),
    ],
)
def test_a_preset_moves_keys_no_further_than_its_url(
    trusted: dict[str, Any], given: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    """Another preset, a URL over the preset's, or a dropped URL moves the keys; it is told where it stands."""
    assert refused(given, trusted) == expected


def test_a_preset_reaches_no_secret_of_another_provider() -> None:
    """A new provider by preset gets the secrets of nobody else."""
    document = {"version": 1, "providers": {"fast": PRESET, "new": {"preset": "groq", "keys": KEYS}}}
    found = check_wire(parse(yaml.safe_dump(document), name="x"), typed(PRESET), None)
    assert [(finding.path, finding.code) for finding in found] == [("providers.new.keys[0].secret", "remote_secret")]
