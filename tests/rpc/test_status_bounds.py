from __future__ import annotations

import base64
from urllib.parse import unquote

from google.rpc import error_details_pb2, status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline import v1 as pb
from trunkline_server.chat.answer import Usage, UsageSource
from trunkline_server.engine.frames import AttemptSummary, CallFailure, FieldViolation, ServedBy
from trunkline_server.routing.events import Why
from trunkline_server.routing.failures import Failure, FailureClass
from trunkline_server.routing.types import Reason, TargetId
from trunkline_server.rpc.bounded_text import cut_grpc_message, cut_utf8
from trunkline_server.rpc.status import MAX_MESSAGE_BYTES, RpcStatus, status_of

HEADER_OVERHEAD_BYTES = 32
"""What HTTP/2 counts for an entry besides its name and value."""

alphabets = st.one_of(st.characters(), st.characters(categories=["Cs"]), st.sampled_from("%\n\x00aä漢😀"))
texts = st.one_of(st.text(alphabets), st.builds(str.__mul__, st.text(alphabets, max_size=3), st.integers(0, 3000)))
names = st.text(st.characters(codec="utf-8"), max_size=300)
times_s = st.floats()
counts = st.one_of(st.none(), st.integers(-(2**70), 2**70))
failures = st.builds(
    Failure,
    st.sampled_from(FailureClass),
    texts,
    retry_after_s=st.one_of(st.none(), times_s),
    http_status=st.one_of(st.none(), st.integers(100, 999)),
    upstream_code=st.one_of(st.none(), texts),
    upstream_request_id=st.one_of(st.none(), texts),
    upstream_text=st.one_of(st.none(), texts),
)
attempts = st.builds(
    AttemptSummary,
    st.integers(1, 100),
    st.builds(ServedBy, st.builds(TargetId, names, names), names),
    st.sampled_from(Why),
    times_s,
    st.one_of(st.none(), times_s),
    times_s,
    st.one_of(st.none(), failures),
    st.one_of(
        st.none(), st.builds(Usage, counts, counts, counts, counts, counts, st.sampled_from(UsageSource), st.none())
    ),
    st.integers(0, 2**40),
    discarded=st.booleans(),
)
call_failures = st.builds(
    CallFailure,
    st.sampled_from(Reason),
    texts,
    st.one_of(st.none(), st.sampled_from(FailureClass)),
    st.one_of(st.none(), times_s),
    st.lists(st.builds(FieldViolation, texts, texts), max_size=40).map(tuple),
    st.dictionaries(texts, texts, max_size=20),
    st.lists(attempts, max_size=8).map(tuple),
    st.one_of(st.none(), failures),
    st.one_of(st.none(), st.integers(100, 999)),
    not_made=st.lists(texts, max_size=5).map(tuple),
)


def percent_encoded(message: str) -> str:
    """Return grpc-message as the gRPC protocol has it on the wire."""
    raw = message.encode()
    return "".join(chr(byte) if 0x20 <= byte <= 0x7E and byte != 0x25 else f"%{byte:02X}" for byte in raw)


def trailers_bytes(status: RpcStatus) -> int:
    """Return what all trailers of a failed RPC take, those that grpc adds included."""
    sent = [
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-status", "16"),
        ("grpc-message", percent_encoded(status.message)),
    ]
    for name, value in status.trailing_metadata():
        sent.append((name, base64.b64encode(value).decode() if isinstance(value, bytes) else value))
    return sum(len(name) + len(value) + HEADER_OVERHEAD_BYTES for name, value in sent)


@settings(deadline=None)  # the machine may be busy
@given(failure=call_failures)
def test_any_failure_fits_4_kb_and_parses_back(failure: CallFailure) -> None:
    """Whatever texts and times a failure holds, its trailers stay in bounds and each entry is told or counted."""
    status = status_of(failure)
    assert trailers_bytes(status) < 4096
    assert len(percent_encoded(status.message)) <= 256
    assert status.pushback_ms is None or -1 <= int(status.pushback_ms) < 2**31
    parsed = status_pb2.Status.FromString(status.details)
    assert (parsed.code, parsed.message) == (status.code.value[0], status.message)
    told = 0
    info = error_details_pb2.ErrorInfo()
    for detail in parsed.details:
        bad_request, route = error_details_pb2.BadRequest(), pb.RouteFailure()
        if detail.Unpack(bad_request):
            told += len(bad_request.field_violations)
        elif detail.Unpack(route):
            told += len(route.attempts)
        else:
            detail.Unpack(info)
    metadata = dict(info.metadata)
    omitted = int(metadata.pop("omitted", "0"))
    entries = len(failure.metadata) + bool(failure.not_made)
    assert told + omitted + len(metadata) <= len(failure.violations) + len(failure.attempts) + entries
    assert len(metadata.get("not_made", "").encode()) <= 300
    assert told + omitted >= len(failure.violations) + len(failure.attempts)


@settings(deadline=None)
@given(text=texts, room=st.integers(3, 300))
def test_texts_are_cut_between_characters(text: str, room: int) -> None:
    """What is left is the front of the text, whole characters only, within the bound."""
    clean = text.encode("utf-8", "replace").decode()
    plain, message = cut_utf8(text, room), cut_grpc_message(text, room)
    assert len(plain.encode()) <= room
    assert len(percent_encoded(message)) <= room
    for cut in (plain, message):
        assert cut == clean or (cut.endswith("...") and clean.startswith(cut[:-3]))


def test_a_message_that_fits_is_not_touched() -> None:
    """256 plain characters pass; one that needs three bytes more does not."""
    assert cut_grpc_message("x" * 256, MAX_MESSAGE_BYTES) == "x" * 256
    assert cut_grpc_message("%" + "x" * 253, MAX_MESSAGE_BYTES) == "%" + "x" * 253
    assert cut_grpc_message("%" + "x" * 254, MAX_MESSAGE_BYTES) == "%" + "x" * 250 + "..."
    assert unquote(percent_encoded("50 % ü")) == "50 % ü"
