"""The command `trunkline`: reads the command line, runs one command, ends with an exit code and never a traceback.

Exit codes: 0 done, 1 failed, 2 the command line is wrong, 130 Ctrl-C. `routes plan` also says 2 where it has changes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import cyclopts
from cyclopts import App, Parameter

from trunkline_server.cli import (
    check,
    complete,
    drain,
    embed,
    exits,
    explain,
    later,
    models,
    overrides,
    presets,
    routes_app,
    serve,
    status,
    top,
    upstream,
)

NAME: Final = "trunkline"

COMMANDS: Final[Mapping[str, Callable[..., int]]] = {
    "serve": serve.serve,
    "check": check.check,
    "upstream": upstream.upstream,
    "complete": complete.complete,
    "embed": embed.embed,
    "explain": explain.explain,
    "models": models.models,
    "presets": presets.presets,
    "status": status.status,
    "top": top.top,
    "drain": drain.drain,
}

GROUPS: Final[Mapping[str, Callable[[], App]]] = {
    "routes": routes_app.routes_app,
    "keys": overrides.keys_app,
    "targets": overrides.targets_app,
}
"""Commands with commands of their own."""

HELP = """A gRPC routing service between your services and their LLM providers.

Start with `trunkline serve`, which brings a simulated provider along,
then in another shell `trunkline complete --stream "hello"`.
`trunkline COMMAND --help` says what a command takes."""


def make_app() -> App:
    """Return the command line; every command imports what it needs when it runs, so that `--help` is quick."""
    app = App(
        name=NAME,
        version=_version,
        help=HELP,
        # The default format, Markdown, brings a renderer in that takes half of the time that `--help` may take.
        help_format="plaintext",
        help_formatter="default",
        default_parameter=Parameter(negative=()),
        suppress_keyboard_interrupt=False,
        exit_on_error=False,
        print_error=False,
        result_action="return_value",
    )
    for command in COMMANDS.values():
        app.command(command)
    for group in GROUPS.values():
        app.command(group())
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (default: those of the process) name; return the exit code."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _run(tokens)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return exits.INTERRUPTED
    except BrokenPipeError:
        # Whoever read us (`| head`) has enough. What is still buffered goes nowhere instead of failing at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.FAILED
    return code


def _run(tokens: list[str]) -> int:
    speaker = _speaker(tokens)
    try:
        later.refuse(tokens)
        result = make_app()(_with_stdin_as_prompt(tokens))
    except (cyclopts.CycloptsError, exits.UsageError) as error:
        print(f"{speaker}: {_one_line(error)}", file=sys.stderr)
        print(f"`{speaker} --help` says what it takes", file=sys.stderr)
        return exits.USAGE
    except exits.CommandError as error:
        print(f"{speaker}: {error}", file=sys.stderr)
        return exits.FAILED
    # `--help` and `--version` return nothing.
    return result if isinstance(result, int) else exits.OK


def _speaker(tokens: list[str]) -> str:
    """Return the words that name the command, as far as there is one: `trunkline routes plan`."""
    if not tokens or tokens[0] not in {*COMMANDS, *GROUPS}:
        return NAME
    if tokens[0] in GROUPS and len(tokens) > 1 and tokens[1] in make_app()[tokens[0]]:
        return f"{NAME} {tokens[0]} {tokens[1]}"
    return f"{NAME} {tokens[0]}"


def _version() -> str:
    from importlib.metadata import version

    return f"{NAME} {version('trunkline-server')}"


def _with_stdin_as_prompt(tokens: list[str]) -> list[str]:
    """Move a lone `-` behind `--`: it is a prompt, while every other word with a dash may be a misspelt option."""
    if complete.STDIN not in tokens or "--" in tokens:
        return tokens
    return [*(token for token in tokens if token != complete.STDIN), "--", complete.STDIN]


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:1].lower() + text[1:]


if __name__ == "__main__":
    sys.exit(main())
