"""`trunkline explain`: the routing decision for a request, with nothing sent upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from trunkline_server.cli import exits
from trunkline_server.cli.calling import DEFAULT_SERVER, CallFailedError, Server, calls, checked_timeout
from trunkline_server.cli.complete import DEFAULT_ASKED, Asked, make_request

if TYPE_CHECKING:
    from trunkline.v1 import RouteExplanation


def explain(
    prompt: Annotated[str, Parameter(help="The prompt; `-` reads standard input.")] = "hello",
    /,
    *,
    asked: Asked = DEFAULT_ASKED,
    timeout_s: Annotated[float, Parameter(help="The call's deadline, in seconds.")] = 10.0,
    json_output: Annotated[bool, Parameter(name="--json", help="Print protobuf JSON on one line.")] = False,
    server: Server = DEFAULT_SERVER,
) -> int:
    """Show how a request would be routed; nothing is sent upstream.

    Every target with its order, what is predicted for it, and what stands
    against it or removed it.
    """
    deadline_s = checked_timeout(timeout_s)
    request = make_request(prompt, asked)
    try:
        with calls(server) as stub:
            explanation = stub.Explain(request, timeout=deadline_s)
    except CallFailedError as error:
        from trunkline_server.cli.failure_output import show_failure

        return show_failure(error, server, as_json=json_output)
    if json_output:
        from trunkline import to_json

        print(to_json(explanation))
    else:
        _show(explanation)
    return exits.OK


def _show(explanation: RouteExplanation) -> None:
    route = explanation.route
    what = f"alias {route.alias}" if route.alias else f"model {route.requested}"
    print(f"{what}, routes version {route.route_version}")
    _show_states(explanation)
    print()
    _show_order(explanation)


def _show_states(explanation: RouteExplanation) -> None:
    """Print what stands for and against each target now."""
    from trunkline_server.cli.tables import make_table, show
    from trunkline_server.cli.wording import standing_text, target_name

    columns = ("order", "target", "region", "in flight", "circuit", "what stands against it")
    table = make_table(*columns, right=frozenset({"order", "in flight"}))
    for candidate in explanation.candidates:
        table.add_row(
            _order(candidate),
            target_name(candidate.target),
            candidate.target.region or "?",
            str(candidate.in_flight) if candidate.HasField("in_flight") else "?",
            candidate.circuit.lower() or "none",
            standing_text(candidate),
        )
    show(table)


def _show_order(explanation: RouteExplanation) -> None:
    """Print what each target's place comes from, and what is predicted for it."""
    from trunkline_server.cli.tables import make_table, show
    from trunkline_server.cli.wording import score_text, seconds, target_name, usd

    columns = ("order", "tier", "target", "variant", "weight", "ordered by", "score", "first token", "cost")
    table = make_table(*columns, right=frozenset(columns) - {"target", "variant", "ordered by"})
    for candidate in explanation.candidates:
        table.add_row(
            _order(candidate),
            str(candidate.tier),
            target_name(candidate.target),
            candidate.variant,
            f"{candidate.weight:g}",
            candidate.ordered_by,
            score_text(candidate),
            seconds(candidate.predicted_first_token) if candidate.HasField("predicted_first_token") else "?",
            usd(candidate.predicted_cost_nanousd) if candidate.HasField("predicted_cost_nanousd") else "?",
        )
    show(table)


def _order(candidate: RouteExplanation.Candidate) -> str:
    return str(candidate.order) if candidate.order else "-"
