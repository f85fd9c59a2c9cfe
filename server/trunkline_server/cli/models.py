"""`trunkline models`: what this caller may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from trunkline_server.cli import exits
from trunkline_server.cli.calling import DEFAULT_SERVER, CallFailedError, Server, calls, checked_timeout

if TYPE_CHECKING:
    from trunkline.v1 import ListModelsResponse, Model


def models(
    *,
    timeout_s: Annotated[float, Parameter(help="The call's deadline, in seconds.")] = 10.0,
    json_output: Annotated[bool, Parameter(name="--json", help="Print protobuf JSON on one line.")] = False,
    server: Server = DEFAULT_SERVER,
) -> int:
    """List the aliases and models that this caller may use.

    With windows, prices and capabilities; for an alias those that hold
    whichever of its targets serves.
    """
    from trunkline.v1 import ListModelsRequest

    deadline_s = checked_timeout(timeout_s)
    try:
        with calls(server) as stub:
            response = stub.ListModels(ListModelsRequest(), timeout=deadline_s)
    except CallFailedError as error:
        from trunkline_server.cli.failure_output import show_failure

        return show_failure(error, server, as_json=json_output)
    if json_output:
        from trunkline import to_json

        print(to_json(response))
    else:
        _show(response)
    return exits.OK


def _show(response: ListModelsResponse) -> None:
    from trunkline_server.cli.tables import make_table, show
    from trunkline_server.cli.wording import target_name

    figures = frozenset({"window", "max out", "$/M in", "$/M out"})
    table = make_table("name", "kind", "window", "max out", "$/M in", "$/M out", "targets", "can", right=figures)
    for model in response.models:
        table.add_row(
            model.name,
            "alias" if model.is_alias else "model",
            str(model.context_tokens) if model.HasField("context_tokens") else "?",
            str(model.max_output_tokens) if model.HasField("max_output_tokens") else "?",
            *_prices(model),
            " ".join(map(target_name, model.targets)) if model.is_alias else "",
            " ".join(model.capabilities),
        )
    show(table)


def _prices(model: Model) -> tuple[str, str]:
    """Return US dollars for a million tokens, of prompt and of answer."""
    known_in = model.HasField("input_nanousd_per_million")
    known_out = model.HasField("output_nanousd_per_million")
    return (
        f"{model.input_nanousd_per_million / 1e9:g}" if known_in else "?",
        f"{model.output_nanousd_per_million / 1e9:g}" if known_out else "?",
    )
