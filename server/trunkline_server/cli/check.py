"""`trunkline check`: every error of a routes file at once, with path and line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from trunkline_server.cli import exits
from trunkline_server.cli.routes_file import counted, resolver_for, say_findings


def check(
    file: Path,
    /,
    *,
    secrets_dir: Annotated[
        Path | None,
        Parameter(help="`file:` secrets are read below it only. Default: the directory of the routes file."),
    ] = None,
    secret_env: Annotated[
        tuple[str, ...],
        Parameter(help="Variable that `env:` may read whatever its name; repeat it, or put commas between names."),
    ] = (),
    json_output: Annotated[bool, Parameter(name="--json", help="Print one JSON object on one line.")] = False,
) -> int:
    """Validate a routes file: every finding at once.

    Exit code 0, or 1 with what is wrong, where, and what to do; secrets are
    looked up too. Nothing is started or sent.
    """
    import json

    from trunkline_server.compile import prepare
    from trunkline_server.config.findings import InvalidRoutesError
    from trunkline_server.config.report import findings_as_json, format_findings
    from trunkline_server.config.routes import load_routes

    try:
        routes = load_routes(file, resolver_for(file, secrets_dir, secret_env))
        prepare(routes)
        findings, valid = routes.findings, True
    except InvalidRoutesError as error:
        findings, valid = error.findings, False
    if json_output:
        print(json.dumps({"valid": valid, "file": str(file), "findings": findings_as_json(findings)}))
        return exits.OK if valid else exits.FAILED
    errors = sum(finding.severity == "error" for finding in findings)
    warnings = counted(len(findings) - errors, "warning") if len(findings) > errors else ""
    text = format_findings(findings, str(file))
    if valid:
        say_findings(text)
        print(f"{file}: ok{', ' * bool(warnings)}{warnings}")
        return exits.OK
    say_findings(text)
    say_findings(f"{file}: {counted(errors, 'error')}{', ' * bool(warnings)}{warnings}")
    return exits.FAILED
