"""`trunkline routes`: the commands on the routes of a running server."""

from __future__ import annotations

from cyclopts import App

from trunkline_server.cli import routes_change, routes_plan, routes_show, routes_watch


def routes_app() -> App:
    """Return the command with its sub-commands."""
    app = App(name="routes", help="Look at the routes of a running server, and change them.")
    for command in (
        routes_show.show,
        routes_plan.plan,
        routes_change.reload,
        routes_change.rollback,
        routes_show.history,
        routes_watch.watch,
    ):
        app.command(command)
    return app
