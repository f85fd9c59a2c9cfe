from __future__ import annotations

import io
import json
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from trunkline.v1 import Delta, Deltas, End, Started, StreamFrame
from trunkline_server.cli.exits import CommandError
from trunkline_server.cli.streaming import StreamOutput

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Embedded, Run


@pytest.mark.usefixtures("embedded")
def test_complete_prints_the_answer_alone(run: Run) -> None:
    """Standard output is the answer; attempts and figures go to standard error."""
    ended = run("complete", "hello", "--system", "be short")
    assert (ended.code, ended.out) == (0, "You said: hello\n")
    assert "attempt 1: simulated/small key key-" in ended.err
    assert " FIRST: ok after " in ended.err
    assert "served by simulated/small" in ended.err


@pytest.mark.usefixtures("embedded")
def test_an_empty_token_is_none(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty TRUNKLINE_TOKEN, as compose files leave it, is no token."""
    monkeypatch.setenv("TRUNKLINE_TOKEN", "")
    assert run("complete", "hello").code == 0


@pytest.mark.usefixtures("embedded")
def test_complete_reads_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The prompt `-` is standard input."""

    class Stdin:
        buffer = io.BytesIO("naïve\nlines\n".encode())

    monkeypatch.setattr(sys, "stdin", Stdin())
    assert run("complete", "-").out == "You said: naïve\nlines\n"


@pytest.mark.usefixtures("embedded")
def test_a_prompt_behind_two_dashes_may_look_like_an_option(run: Run) -> None:
    """Behind `--` everything is the prompt, except what would be taken for a misspelt option."""
    assert run("complete", "--", "-v").out == "You said: -v\n"


@pytest.mark.usefixtures("embedded")
def test_complete_as_json_is_one_line(run: Run) -> None:
    """`--json` prints the response as protobuf JSON on one line, and nothing on standard error."""
    ended = run("complete", "--json", "hello")
    assert (ended.code, ended.err, ended.out.count("\n")) == (0, "", 1)
    response = json.loads(ended.out)
    assert response["message"]["parts"] == [{"text": "You said: hello"}]
    assert response["attempts"][0]["why"] == "WHY_FIRST"


@pytest.mark.usefixtures("embedded")
def test_a_stream_is_printed_as_it_comes_and_its_end_is_told(run: Run) -> None:
    """`--stream` prints the same text, then how the stream ended."""
    ended = run("complete", "--stream", "one two three")
    assert (ended.code, ended.out) == (0, "You said: one two three\n")
    assert "end: COMPLETE by simulated/small" in ended.err


@pytest.mark.usefixtures("embedded")
def test_a_stream_as_json_is_a_line_a_frame(run: Run) -> None:
    """`--stream --json` prints every frame, numbered without gaps, the `end` last."""
    ended = run("complete", "--stream", "--json", "one two three")
    frames = [json.loads(line) for line in ended.out.splitlines()]
    assert [int(frame["seq"]) for frame in frames] == list(range(1, len(frames) + 1))
    assert "started" in frames[0]
    assert frames[-1]["end"]["outcome"] == "OUTCOME_COMPLETE"


def test_a_cut_stream_is_shown_clearly(run: Run, embedded: Embedded) -> None:
    """A broken stream shows what came, the partial-stream error frame, the end once, and the status; exit code 1."""
    embedded.control({"scenario": {"default": {"content": "a b c d e f", "cut_after_chunks": 3}}})
    ended = run("complete", "--stream", "go")
    assert (ended.code, ended.out) == (1, "a b c \n")
    assert "attempt_failed: attempt 1 broke: simulated/small key key-" in ended.err
    assert "6 bytes delivered; on_break FAIL; next: GIVING_UP" in ended.err
    assert "end: FAILED" in ended.err
    assert "failed: ABORTED STREAM_BROKEN (TRUNCATED)" in ended.err
    assert ended.err.count("attempt 1: ") == 1


def test_a_cut_stream_as_json_ends_with_the_error(run: Run, embedded: Embedded) -> None:
    """Programs get the frames, then one object with the status and its details."""
    embedded.control({"scenario": {"default": {"content": "a b c d e f", "cut_after_chunks": 3}}})
    ended = run("complete", "--stream", "--json", "go")
    *frames, failure = [json.loads(line) for line in ended.out.splitlines()]
    assert ended.code == 1
    assert "attempt_failed" in frames[-2]
    assert frames[-1]["end"]["outcome"] == "OUTCOME_FAILED"
    assert (failure["code"], failure["reason"]) == ("ABORTED", "STREAM_BROKEN")
    assert failure["retry_pushback_ms"] == -1
    assert failure["route_failure"]["failure_class"] == "FAILURE_CLASS_TRUNCATED"


def test_a_failed_call_tells_every_attempt(run: Run, embedded: Embedded) -> None:
    """When all targets fail, people see each attempt, the status, its reason and what the library may do."""
    embedded.control({"scenario": {"default": {"status": 400}}})
    ended = run("complete", "hello")
    assert (ended.code, ended.out) == (1, "")
    assert "attempt 1: simulated/small" in ended.err
    assert "FIRST: CALLER_INVALID (HTTP 400)" in ended.err
    assert "failed: INVALID_ARGUMENT BAD_REQUEST (CALLER_INVALID)" in ended.err


@pytest.mark.usefixtures("embedded")
@pytest.mark.parametrize("command", [["complete"], ["complete", "--stream"], ["explain"]])
def test_an_unknown_model_is_told(run: Run, command: list[str]) -> None:
    """An alias that does not exist ends with NOT_FOUND and its reason, on every command that takes one."""
    ended = run(*command, "--model", "defualt", "hello")
    assert ended.code == 1
    assert "failed: NOT_FOUND UNKNOWN_MODEL" in ended.err


@pytest.mark.usefixtures("embedded")
def test_an_error_as_json_has_always_the_same_keys(run: Run) -> None:
    """With --json a failure is one object on standard output."""
    ended = run("complete", "--json", "--model", "nope", "hello")
    assert (ended.code, ended.err) == (1, "")
    assert " ".join(json.loads(ended.out)) == (
        "code reason message metadata retry_after_s retry_pushback_ms violations route_failure"
    )


def test_a_server_that_is_not_there_is_told(run: Run) -> None:
    """Nobody at the address: exit code 1 and a hint, on every command that calls."""
    with socket.create_server(("127.0.0.1", 0)) as once:
        address = f"127.0.0.1:{once.getsockname()[1]}"
    for command in (["complete", "hi"], ["complete", "--stream", "hi"], ["explain"], ["models"]):
        ended = run(*command, "--server", address)
        assert ended.code == 1
        assert f"cannot reach a server at {address}" in ended.err
        assert "Traceback" not in ended.err


def test_the_wrong_port_is_told(run: Run, embedded: Embedded) -> None:
    """A call to the admin port says that this is not where callers go."""
    ended = run("models", "--server", embedded.admin)
    assert ended.code == 1
    assert "no Trunkline port for callers" in ended.err


def test_tokens(run: Run, start: Any, routes_file: Path) -> None:
    """Where callers are configured, a wrong or missing token is told as such, and the right one works."""
    environment = {"CLI_TEST_SECRET": "sk-1", "TRUNKLINE_SECRET_ENV": "CLI_TEST_SECRET"}
    ports = ("--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0")
    with start("serve", "--routes", str(routes_file), *ports, environment=environment) as running:
        server = ("--server", running.ready.split()[1].removeprefix("listen="))
        missing = run("models", *server)
        wrong = run("models", *server, "--token", "guess")
        right = run("models", *server, "--token", "token")
    assert (missing.code, wrong.code, right.code) == (1, 1, 0)
    assert "no token was given: use --token or TRUNKLINE_TOKEN" in missing.err
    assert "the token that was given is not one of its callers'" in wrong.err
    assert "guess" not in wrong.err
    assert "default" in right.out


def test_ctrl_c_ends_a_call_without_a_traceback(embedded: Embedded) -> None:
    """Ctrl-C during a stream ends with exit code 130, and the text so far stays."""
    embedded.control({"scenario": {"default": {"content": "first second", "stall_after_chunks": 1}}})
    process = subprocess.Popen(
        [sys.executable, "-m", "trunkline_server", "complete", "--stream", "--server", embedded.listen, "go"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    first = process.stdout.read(len(b"first "))
    process.send_signal(signal.SIGINT)
    rest, err = process.communicate(timeout=60)
    assert (process.returncode, first + rest, err) == (130, b"first \n", b"\n")


@pytest.mark.parametrize(
    ("numbers", "said"),
    [((1, 3), "frames are missing before number 3"), ((1, 2), "its `end` frame did not come")],
)
def test_a_stream_that_is_not_whole_is_no_success(
    capsys: pytest.CaptureFixture[str], numbers: tuple[int, ...], said: str
) -> None:
    """A gap, or no `end`, is told whatever the status says."""
    frames = [StreamFrame(seq=numbers[0], started=Started())]
    frames += [StreamFrame(seq=number, deltas=Deltas(items=[Delta(text="x")])) for number in numbers[1:]]
    with pytest.raises(CommandError, match=said):
        StreamOutput(as_json=False).show_all(frames)
    assert capsys.readouterr().out == "x\n"


def test_warnings_resets_and_drains_are_remarks(capsys: pytest.CaptureFixture[str]) -> None:
    """What befalls a stream never stands in the middle of a line of its text."""
    first = StreamFrame(seq=1, started=Started())
    first.started.warnings.add(code="LOWERED", field="f", message="less than asked")
    text = StreamFrame(seq=2, deltas=Deltas(items=[Delta(text="half a li")]))
    draining = StreamFrame(seq=3)
    draining.draining.time_left.FromMilliseconds(1500)
    reset = StreamFrame(seq=4)
    reset.reset.keep_through_seq = 1
    end = StreamFrame(seq=5, end=End(outcome=End.OUTCOME_INCOMPLETE))
    assert StreamOutput(as_json=False).show_all([first, text, draining, reset, end]) == 0
    captured = capsys.readouterr()
    assert captured.out == "half a li\n"
    assert captured.err.splitlines()[:3] == [
        "warning: LOWERED: less than asked",
        "draining: the server goes down in 1.500 s",
        "reset: what came after frame 1 does not count",
    ]
    assert "end: INCOMPLETE" in captured.err
