"""`trunkline embed`: texts as vectors from the shell."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Final, Literal

from cyclopts import Parameter

from trunkline_server.cli import exits
from trunkline_server.cli.calling import DEFAULT_SERVER, CallFailedError, Server, calls, checked_timeout
from trunkline_server.cli.complete import STDIN, read_stdin

if TYPE_CHECKING:
    from trunkline.v1 import EmbedRequest, EmbedResponse

SHOWN_NUMBERS: Final = 4
"""Of each vector, for people; programs read --json."""
SHOWN_CHARACTERS: Final = 40


def embed(
    *texts: Annotated[str, Parameter(help="What to embed; `-` reads standard input, one text a line.")],
    model: Annotated[str, Parameter(help="An alias, or provider/model.")] = "search",
    dimensions: Annotated[int | None, Parameter(help="How long each vector is to be, if the model can choose.")] = None,
    input_type: Annotated[
        Literal["query", "document", "classification", "clustering"] | None,
        Parameter(help="What the vectors are for, if the model makes a difference."),
    ] = None,
    allow_other_models: Annotated[
        bool, Parameter(help="Fall back to other models too, whose vectors are of another space.")
    ] = False,
    timeout_s: Annotated[float, Parameter(help="The call's deadline, in seconds.")] = 60.0,
    json_output: Annotated[bool, Parameter(name="--json", help="Print protobuf JSON on one line.")] = False,
    server: Server = DEFAULT_SERVER,
) -> int:
    """Make vectors of texts and print the beginning of each.

    How it was routed goes to standard error, attempt by attempt. With
    --json all numbers are printed, and a failure is one JSON object too.
    """
    deadline_s = checked_timeout(timeout_s)
    request = _request(_inputs(texts), model, dimensions, input_type)
    request.allow_other_models = allow_other_models
    try:
        with calls(server) as stub:
            response = stub.Embed(request, timeout=deadline_s)
    except CallFailedError as error:
        from trunkline_server.cli.failure_output import show_failure

        return show_failure(error, server, as_json=json_output)
    if json_output:
        from trunkline import to_json

        print(to_json(response))
    else:
        _show(request, response)
    return exits.OK


def _inputs(texts: tuple[str, ...]) -> list[str]:
    if texts == (STDIN,):
        return read_stdin().splitlines()
    if not texts:
        raise exits.UsageError("give at least one text, or `-` for standard input")
    return list(texts)


def _request(texts: list[str], model: str, dimensions: int | None, input_type: str | None) -> EmbedRequest:
    from trunkline.v1 import EmbedRequest

    request = EmbedRequest(model=model, inputs=texts)
    if dimensions is not None:
        if not 1 <= dimensions < 2**32:
            raise exits.UsageError("--dimensions must be at least 1")
        request.dimensions = dimensions
    if input_type is not None:
        request.input_type = EmbedRequest.InputType.Value(f"INPUT_TYPE_{input_type.upper()}")
    return request


def _show(request: EmbedRequest, response: EmbedResponse) -> None:
    from trunkline_server.cli.tables import make_table, show
    from trunkline_server.cli.wording import attempt_line, target_name, usage_text

    table = make_table("#", "text", "numbers", "in all", right=frozenset({"#", "in all"}))
    for embedding in response.embeddings:
        values = embedding.values
        shown = " ".join(f"{number:+.4f}" for number in values[:SHOWN_NUMBERS])
        more = " ..." if len(values) > SHOWN_NUMBERS else ""
        table.add_row(str(embedding.index), _short(request.inputs[embedding.index]), shown + more, str(len(values)))
    show(table)
    for warning in response.warnings:
        print(f"warning: {warning.code}: {warning.message}", file=sys.stderr)
    for attempt in response.attempts:
        print(attempt_line(attempt), file=sys.stderr)
    by = response.route.served_by
    print(f"served by {target_name(by)} key {by.key_id}: {usage_text(response.usage)}", file=sys.stderr)


def _short(text: str) -> str:
    """Return the beginning of a text on one line."""
    line = " ".join(text[: 2 * SHOWN_CHARACTERS].split())
    return line if len(line) <= SHOWN_CHARACTERS and len(text) <= len(line) + 1 else f"{line[:SHOWN_CHARACTERS]}..."
