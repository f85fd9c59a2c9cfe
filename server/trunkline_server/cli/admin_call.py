"""What all commands on the admin port do alike: how they call, and one unary call with its outcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

from cyclopts import Parameter

from trunkline_server.cli import exits
from trunkline_server.cli.calling import (
    DEFAULT_ADMIN_SERVER,
    AdminServer,
    CallFailedError,
    admin_calls,
    checked_timeout,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from trunkline.v1 import AdminServiceStub

    R = TypeVar("R", bound=Message)


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """How a command that watches calls, and how it prints."""

    server: AdminServer = DEFAULT_ADMIN_SERVER
    json_output: Annotated[bool, Parameter(name="--json", help="Print protobuf JSON, one line a message.")] = False


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Admin(Watching):
    """How a command that asks once calls, and how it prints."""

    timeout_s: Annotated[float, Parameter(help="The call's deadline, in seconds.")] = 30.0


DEFAULT_WATCHING: Final = Watching()
DEFAULT_ADMIN: Final = Admin()


def ask(
    admin: Admin,
    pick: Callable[[AdminServiceStub], Callable[..., R]],
    request: Message,
    show: Callable[[R], None],
    code_of: Callable[[R], int] = lambda _: exits.OK,
) -> int:
    """Make the call that `pick` names and print its answer: by `show` for people, as JSON for programs.

    Return what `code_of` says of the answer, or 1 for a failed call, which is told. Raises UsageError.
    """
    deadline_s = checked_timeout(admin.timeout_s)
    try:
        with admin_calls(admin.server) as stub:
            response = pick(stub)(request, timeout=deadline_s)
    except CallFailedError as error:
        from trunkline_server.cli.failure_output import show_failure

        return show_failure(error, admin.server, as_json=admin.json_output)
    if admin.json_output:
        from trunkline import to_json

        print(to_json(response))
    else:
        show(response)
    return code_of(response)
