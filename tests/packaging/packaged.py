"""What is packaged for operators, read in."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

TOP = Path(__file__).parents[2]
PACKAGING = TOP / "server" / "packaging"
KUBERNETES = PACKAGING / "kubernetes"
UNIT = PACKAGING / "systemd" / "trunkline.service"
DOCKERFILE = PACKAGING / "Dockerfile"


@cache
def serve_flags() -> frozenset[str]:
    """Return the flags of `trunkline serve`."""
    told = subprocess.run(
        [sys.executable, "-m", "trunkline_server", "serve", "--help"], capture_output=True, text=True, check=True
    ).stdout
    return frozenset(re.findall(r"(?<![\w-])--[a-z][a-z-]*", told))


def flags_of(args: list[str]) -> dict[str, str]:
    """Return the flags of a command line with their values, however they are joined."""
    words = [part for arg in args for part in arg.split("=", 1)]
    return {word: value for word, value in zip(words, [*words[1:], ""], strict=True) if word.startswith("--")}


@cache
def manifests() -> dict[str, dict[str, Any]]:
    """Return every manifest by `Kind/name`."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(KUBERNETES.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if "kind" in document and "metadata" in document:
                found[f"{document['kind']}/{document['metadata']['name']}"] = document
    return found


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions, each with its arguments on one line."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if line and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]
