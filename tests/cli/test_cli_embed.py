from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING

import pytest

from trunkline_server.simulator.vectors import vector

if TYPE_CHECKING:
    from tests.cli.conftest import Embedded, Run


@pytest.mark.usefixtures("embedded")
def test_embed_prints_the_beginning_of_each_vector(run: Run) -> None:
    """A row a text on standard output; attempts and figures on standard error."""
    ended = run("embed", "hello", "a\nlonger " + "text " * 20, "--dimensions", "6")
    assert ended.code == 0
    head, first, second = ended.out.splitlines()
    assert head.split() == ["#", "text", "numbers", "in", "all"]
    numbers = [f"{number:+.4f}" for number in vector("vectors", "hello", 6)[:4]]
    assert first.split() == ["0", "hello", *numbers, "...", "6"]
    assert second.split()[:3] == ["1", "a", "longer"]
    assert "attempt 1: simulated/vectors key key-" in ended.err
    assert "served by simulated/vectors" in ended.err
    assert "tokens in" in ended.err


@pytest.mark.usefixtures("embedded")
def test_embed_as_json_has_all_numbers(run: Run) -> None:
    """`--json` prints the response as protobuf JSON on one line, and nothing on standard error."""
    ended = run("embed", "--json", "hello")
    assert (ended.code, ended.err, ended.out.count("\n")) == (0, "", 1)
    response = json.loads(ended.out)
    assert response["embeddings"][0]["values"] == pytest.approx(list(vector("vectors", "hello", 1536)))
    assert (response["dimensions"], response["model"]) == (1536, "vectors")


@pytest.mark.usefixtures("embedded")
def test_embed_reads_a_text_a_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` is standard input."""

    class Stdin:
        buffer = io.BytesIO("naïve\nlines\n".encode())

    monkeypatch.setattr(sys, "stdin", Stdin())
    response = json.loads(run("embed", "-", "--json", "--dimensions", "2").out)
    assert [embedding["values"] for embedding in response["embeddings"]] == [
        pytest.approx(list(vector("vectors", text, 2))) for text in ("naïve", "lines")
    ]


@pytest.mark.usefixtures("embedded")
def test_what_the_vectors_are_for_is_passed_on(run: Run) -> None:
    """A provider that knows no difference is told of in a warning."""
    ended = run("embed", "hello", "--input-type", "query", "--allow-other-models")
    assert ended.code == 0
    assert "warning: UNSUPPORTED_FIELD: left out" in ended.err


def test_a_failed_call_is_told_and_fails(run: Run, embedded: Embedded) -> None:
    """With class and provider's status for people; as one object for programs."""
    embedded.control({"scenario": {"default": {"status": 400}}})
    ended = run("embed", "hello")
    assert (ended.code, ended.out) == (1, "")
    assert "CALLER_INVALID (HTTP 400)" in ended.err
    ended = run("embed", "--json", "hello")
    assert (ended.code, json.loads(ended.out)["reason"]) == (1, "BAD_REQUEST")


@pytest.mark.parametrize(
    ("words", "told"), [((), "at least one text"), (("hi", "--dimensions", "0"), "--dimensions must be at least 1")]
)
def test_a_wrong_command_line_is_refused(run: Run, words: tuple[str, ...], told: str) -> None:
    """Before anything is asked."""
    ended = run("embed", *words)
    assert ended.code == 2
    assert told in ended.err
