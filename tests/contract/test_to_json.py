"""Messages as JSON text."""

from __future__ import annotations

import json

from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from trunkline import to_json
from trunkline.v1 import (
    ROLE_USER,
    CompleteRequest,
    Delta,
    Deltas,
    Heartbeat,
    Message,
    Part,
    StreamFrame,
    Target,
    Usage,
)


def test_zero_scalars_are_printed_and_unset_fields_are_not() -> None:
    """A message of a type always has the same keys, and "unset" stays visible as a missing key."""
    assert json.loads(to_json(Target(provider="openai"))) == {
        "provider": "openai",
        "model": "",
        "key_id": "",
        "region": "",
    }
    assert json.loads(to_json(Usage(input_tokens=0))) == {"input_tokens": "0"}


def test_names_are_the_protos_own_and_large_numbers_are_strings() -> None:
    """Names are snake_case, 64-bit integers are strings, durations are text with their unit."""
    frame = StreamFrame(seq=2**63, heartbeat=Heartbeat(waited=Duration(seconds=1, nanos=500_000_000)))
    assert json.loads(to_json(frame)) == {
        "seq": "9223372036854775808",
        "attempt": 0,
        "heartbeat": {"waited": "1.500s"},
    }


def test_lists_of_messages_are_filled_in_too() -> None:
    """Zero scalars are printed at every depth."""
    frame = StreamFrame(seq=1, attempt=1, deltas=Deltas(items=[Delta(text="")]))
    assert json.loads(to_json(frame))["deltas"]["items"] == [
        {"part": 0, "offset": "0", "text": "", "logprobs": [], "thinking_redacted": False}
    ]


@given(st.text(max_size=50))
def test_any_text_stays_on_one_line_and_comes_back(text: str) -> None:
    """No text breaks the line, whatever a reader takes for a line's end, and none is changed."""
    request = CompleteRequest(model="default", messages=[Message(role=ROLE_USER, parts=[Part(text=text)])])
    line = to_json(request)
    assert len(line.splitlines()) == 1
    assert json_format.Parse(line, CompleteRequest()) == request


def test_shortest_call_of_the_contract_is_a_request() -> None:
    """The shortest call, written as JSON, is understood."""
    line = '{"model":"default","messages":[{"role":"ROLE_USER","parts":[{"text":"hi"}]}]}'
    expected = CompleteRequest(model="default", messages=[Message(role=ROLE_USER, parts=[Part(text="hi")])])
    assert json_format.Parse(line, CompleteRequest()) == expected
