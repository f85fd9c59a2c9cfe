"""`trunkline complete`: a call from the shell, whole or as it comes."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from trunkline_server.cli import exits
from trunkline_server.cli.calling import DEFAULT_SERVER, CallFailedError, Server, calls, checked_timeout

if TYPE_CHECKING:
    from trunkline.v1 import CompleteRequest, CompleteResponse

STDIN = "-"


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for beside the prompt; taken by `complete` and `explain` alike."""

    model: Annotated[str, Parameter(help="An alias, or provider/model.")] = "default"
    system: Annotated[str | None, Parameter(help="Instructions that stand before the prompt.")] = None
    max_output_tokens: Annotated[int | None, Parameter(help="The most tokens that the answer may have.")] = None


DEFAULT_ASKED = Asked()


def complete(
    prompt: Annotated[str, Parameter(help="What to ask; `-` reads standard input. Dashes go behind `--`.")],
    /,
    *,
    asked: Asked = DEFAULT_ASKED,
    stream: Annotated[bool, Parameter(help="Print the answer as it comes.")] = False,
    on_break: Annotated[
        Literal["fail", "restart", "continue"] | None,
        Parameter(help="What follows a stream that breaks after content came. Without it: as the alias says."),
    ] = None,
    timeout_s: Annotated[float, Parameter(help="The call's deadline, in seconds.")] = 120.0,
    json_output: Annotated[
        bool, Parameter(name="--json", help="Print protobuf JSON on one line; with --stream, one line a frame.")
    ] = False,
    server: Server = DEFAULT_SERVER,
) -> int:
    """Ask a model and print the answer, whole or as it comes.

    How it was routed goes to standard error, attempt by attempt. Exit code
    0 with an answer, 1 if the call failed.

    The call is made once: what the server says is shown, also where a
    service's client library would try again. With --json a failure is one
    JSON object on standard output too.
    """
    deadline_s = checked_timeout(timeout_s)
    request = make_request(prompt, asked)
    if on_break is not None:
        _set_on_break(request, on_break)
    if stream:
        return _stream(request, deadline_s, server, as_json=json_output)
    try:
        with calls(server) as stub:
            response = stub.Complete(request, timeout=deadline_s)
    except CallFailedError as error:
        from trunkline_server.cli.failure_output import show_failure

        return show_failure(error, server, as_json=json_output)
    if json_output:
        from trunkline import to_json

        print(to_json(response))
    else:
        _show(response)
    return exits.OK


def make_request(prompt: str, asked: Asked) -> CompleteRequest:
    """Return the request for a prompt; `-` reads standard input, less one line end. Raises UsageError."""
    from trunkline.v1 import ROLE_SYSTEM, ROLE_USER, CompleteRequest, Message, Part, Sampling

    messages = [] if asked.system is None else [Message(role=ROLE_SYSTEM, parts=[Part(text=asked.system)])]
    messages.append(Message(role=ROLE_USER, parts=[Part(text=read_stdin() if prompt == STDIN else prompt)]))
    request = CompleteRequest(model=asked.model, messages=messages)
    if asked.max_output_tokens is not None:
        if asked.max_output_tokens < 1:
            raise exits.UsageError("--max-output-tokens must be at least 1")
        request.sampling.CopyFrom(Sampling(max_output_tokens=asked.max_output_tokens))
    return request


def _set_on_break(request: CompleteRequest, on_break: str) -> None:
    from trunkline.v1 import OnBreak

    request.routing.on_break = OnBreak.Value(f"ON_BREAK_{on_break.upper()}")


def _stream(request: CompleteRequest, deadline_s: float, server: Server, *, as_json: bool) -> int:
    from trunkline_server.cli.streaming import StreamOutput

    output = StreamOutput(as_json=as_json)
    try:
        with calls(server) as stub:
            return output.show_all(stub.StreamComplete(request, timeout=deadline_s))
    except CallFailedError as error:
        from trunkline_server.cli.failure_output import show_failure

        return show_failure(error, server, as_json=as_json, attempts_told=output.ended)


def read_stdin() -> str:
    """Return the text on standard input, less one line end. Raises CommandError if it is none."""
    try:
        return sys.stdin.buffer.read().decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise exits.CommandError("standard input is no UTF-8 text") from None


def _show(response: CompleteResponse) -> None:
    from trunkline_server.cli.wording import attempt_line, finish_text, target_name, usage_text

    texts = []
    for part in response.message.parts:
        kind = part.WhichOneof("content")
        if kind in {"text", "refusal"}:
            texts.append(part.text or part.refusal)
        elif kind == "tool_call":
            texts.append(f"\n[tool call {part.tool_call.name} {part.tool_call.arguments_json}]\n")
    print("".join(texts), flush=True)
    for warning in response.warnings:
        print(f"warning: {warning.code}: {warning.message}", file=sys.stderr)
    for attempt in response.attempts:
        print(attempt_line(attempt), file=sys.stderr)
    by = response.route.served_by
    figures = ", ".join(filter(None, (finish_text(response.finish_reason), usage_text(response.usage))))
    print(f"served by {target_name(by)} key {by.key_id}: {figures}", file=sys.stderr)
