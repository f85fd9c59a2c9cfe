"""The image: small, without root, from archives that are held to their hashes.

Nothing here builds it: that needs a Docker daemon and a registry, which a gate cannot count on. hadolint is no Python
and no Go program, so it cannot be had by an ordinary installer either; what it would say that matters is held here.
"""

from __future__ import annotations

import json
import re
import tomllib

from tests.packaging.packaged import TOP, instructions

_FROM_SYSTEM = {"pip", "python", "groupadd", "useradd", "install"}
"""What the base has: Python, and Debian's essential packages."""


def arguments(word: str) -> list[str]:
    return [rest for each, rest in instructions() if each == word]


def test_both_stages_are_of_one_pinned_base() -> None:
    """The environment that the first stage makes finds the same Python in the second."""
    bases = [rest.split()[0] for rest in arguments("FROM")]
    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.12-slim-\w+", bases[0])


def test_it_does_not_run_as_root() -> None:
    """The last user is a number above 0, and no instruction after it needs more."""
    words = [word for word, _ in instructions()]
    (user,) = arguments("USER")
    assert all(int(part) > 0 for part in user.split(":"))
    after = words[words.index("USER") + 1 :]
    assert not {"RUN", "COPY", "ADD", "USER"} & set(after)


def test_nothing_comes_from_elsewhere() -> None:
    """No ADD, which may fetch; the lock is held to its hashes; all else is installed from what that brought."""
    assert not arguments("ADD")
    installs = [
        command.strip()
        for run in arguments("RUN")
        for command in run.split("&&")
        if re.search(r"\bpip\b.*\b(install|wheel|download)\b", command)
    ]
    assert len(installs) == 4
    download, *offline = installs
    assert "--require-hashes" in download
    assert "--only-binary=:all:" in download
    assert all("--no-index" in command for command in offline)


def test_no_secret_has_a_way_in() -> None:
    """There is no build argument at all, and no variable that could hold a secret."""
    assert not arguments("ARG")
    assert not re.search(r"(?i)key|token|secret|password", " ".join(arguments("ENV")))


def test_each_command_is_there() -> None:
    """What RUN calls is of the base, or was made by an earlier command."""
    made: set[str] = set()
    for run in arguments("RUN"):
        for command in run.split("&&"):
            program = command.split()[0]
            assert program in _FROM_SYSTEM or any(program.startswith(place) for place in made), program
            if (venv := re.search(r"-m venv (?:--\S+ )?(\S+)", command)) is not None:
                made.add(f"{venv[1]}/bin/")


def test_it_starts_the_server_and_asks_after_it() -> None:
    """The entry point is the command, and the health check runs on what the image has."""
    scripts = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["scripts"]
    assert json.loads(arguments("ENTRYPOINT")[0]) == list(scripts)
    assert json.loads(arguments("CMD")[0]) == ["serve"]
    check = json.loads(arguments("HEALTHCHECK")[0].partition("CMD ")[2])
    assert check[:2] == ["python", "-c"]
    compile(check[2], "HEALTHCHECK", "exec")
    assert "http://127.0.0.1:50053/healthz" in check[2]
    assert arguments("EXPOSE") == ["50051 50052 50053"]


def test_the_build_sees_what_it_needs_and_no_more() -> None:
    """The context holds both distributions with what their builds read; tests, drafts and `.git` stay out."""
    lines = (TOP / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    assert all((TOP / path).exists() for path in allowed)
    project = tomllib.loads((TOP / "pyproject.toml").read_text())
    needed = {"pyproject.toml", "requirements.lock", "clients/python", project["project"]["readme"]}
    needed.update(
        project["project"]["license-files"], project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    )
    assert needed <= allowed
    assert not {"tests", ".git", ".", "server", "scripts"} & allowed
