from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from trunkline_server.cli import later
from trunkline_server.cli.exits import UsageError

if TYPE_CHECKING:
    from tests.cli.conftest import Run


def test_help_names_every_command(run: Run) -> None:
    """`--help` lists the commands and ends well."""
    ended = run("--help")
    assert ended.code == 0
    for name in ("serve", "check", "upstream", "complete", "explain", "models"):
        assert re.search(rf"\b{name}\b", ended.out)


def test_no_words_show_the_help(run: Run) -> None:
    """The bare command says what there is."""
    assert "Commands" in run().out


def test_help_is_light() -> None:
    """`--help` imports none of the libraries that only a running command needs, so it stays quick."""
    heavy = ("grpc", "google.protobuf", "pydantic", "aiohttp", "httpx", "asyncio", "yaml", "rich.markdown", "structlog")
    code = (
        "import sys; from trunkline_server.cli.main import main; main(['--help']); main(['serve', '--help'])\n"
        f"sys.exit(', '.join(name for name in {heavy!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr.strip() == ""


def test_runs_as_a_module() -> None:
    """`python -m trunkline_server` is the command."""
    done = subprocess.run(
        [sys.executable, "-m", "trunkline_server", "--version"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert re.fullmatch(r"trunkline \d+\.\d+\.\d+\n", done.stdout)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["serv"], 'Did you mean "serve"'),
        (["serve", "--rutes", "x"], "Did you mean --routes"),
        (["serve", "--listen", "nowhere"], "HOST:PORT"),
        (["serve", "--listen", "::1:5"], "HOST:PORT"),
        (["serve", "--http-listen", "127.0.0.1:65536"], "HOST:PORT"),
        (["serve", "--drain-grace-s", "soon"], "--drain-grace-s"),
        (["serve", "--drain-grace-s", "-1"], "0 or more"),
        (["serve", "--log-level", "loud"], "--log-level"),
        (["serve", "--tls-cert", "c"], "--tls-cert and --tls-key"),
        (["serve", "--tls-client-ca", "c"], "--tls-cert and --tls-key"),
        (["upstream"], "--listen"),
        (["upstream", "--listen", "host:port"], "HOST:PORT"),
        (["check"], "FILE"),
        (["complete"], "PROMPT"),
        (["complete", "hi", "there"], "there"),
        (["complete", "--strem", "hi"], "Did you mean --stream"),
        (["complete", "-v"], "unknown option: -v"),
        (["complete", "--server", "localhost", "hi"], "HOST:PORT"),
        (["complete", "--server", "localhost:0", "hi"], "port 0"),
        (["complete", "--timeout-s", "0", "hi"], "--timeout-s"),
        (["complete", "--timeout-s", "nan", "hi"], "--timeout-s"),
        (["complete", "--max-output-tokens", "0", "hi"], "--max-output-tokens"),
        (["complete", "--server", "example.com:443", "--token", "t", "hi"], "--plaintext-token"),
        (["complete", "--token", "two words", "hi"], "printable ASCII"),
    ],
)
def test_a_wrong_command_line_is_explained(run: Run, words: list[str], said: str) -> None:
    """What cannot be meant ends with exit code 2 and one clear line on standard error."""
    ended = run(*words)
    assert ended.code == 2
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["serve", "--workers", "4"], "--workers"),
        (["serve", "--state=redis://x"], "--state"),
        (["rehearse"], "trunkline rehearse"),
    ],
)
def test_what_is_not_built_yet_is_refused_by_name(run: Run, words: list[str], name: str) -> None:
    """Documented names of later versions are no misspellings."""
    ended = run(*words)
    assert ended.code == 2
    assert f"not built yet: {name}\n" in ended.err


def test_a_variable_of_a_later_flag_is_refused() -> None:
    """A setting in the environment is never accepted and ignored."""
    with pytest.raises(UsageError, match="not built yet: TRUNKLINE_WORKERS"):
        later.refuse(["serve"], {"TRUNKLINE_WORKERS": "2"})
    later.refuse(["serve"], {"TRUNKLINE_WORKERS": ""})
    later.refuse(["complete", "hi"], {"TRUNKLINE_WORKERS": "2"})


def test_a_reader_that_leaves_is_no_error() -> None:
    """`| head` gets its lines and nobody a traceback."""
    process = subprocess.Popen(
        [sys.executable, "-m", "trunkline_server", "serve", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(60), err) == (1, b"")
