"""A 200 whose body is an error, asked with a stream or without: one failure, of the error's own class."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.providers.test_views_agree import EVERY, adapter_of, cut

from trunkline_server.chat.request import ChatRequest
from trunkline_server.providers.base import Adapter, AttemptError, StreamDecoder
from trunkline_server.routing.failures import FailureClass
from trunkline_server.simulator.dialects import DIALECTS
from trunkline_server.simulator.failure import Trouble

REQUEST = ChatRequest("m", (), "r")
C = FailureClass
BODIES: dict[str, tuple[bytes, FailureClass]] = {
    "openai": (b'{"error": {"message": "Rate limit", "type": "x", "code": "rate_limit_exceeded"}}', C.RATE_LIMITED),
    "azure_openai": (b'{\n  "error": {"message": "Rate limit", "code": "rate_limit_exceeded"}\n}\n', C.RATE_LIMITED),
    "anthropic": (b'{"type": "error", "error": {"type": "overloaded_error", "message": "x"}}', C.OVERLOADED),
    "gemini": (b'[{\n "error": {"code": 429, "message": "x", "status": "RESOURCE_EXHAUSTED"}\n}]', C.RATE_LIMITED),
    "cohere": (b'{"id": "1", "message": "trial token rate limit exceeded, limit is 100"}', C.RATE_LIMITED),
}
"""As vendors word them elsewhere; some servers and proxies send them under a 200."""


def failures(adapter: Adapter, body: bytes, sizes: list[int]) -> set[FailureClass]:
    """Return the classes that a body fails with, whole and as a stream in pieces of these sizes."""
    with pytest.raises(AttemptError) as whole:
        adapter.decode_answer(200, {}, body)
    decoder = adapter.stream_decoder(REQUEST)
    with pytest.raises(AttemptError) as streamed:
        read_all(decoder, cut(body, sizes))
    assert decoder.failure is streamed.value.failure
    return {whole.value.failure.failure_class, streamed.value.failure.failure_class}


def read_all(decoder: StreamDecoder, chunks: Iterable[bytes]) -> None:
    """Read a stream to its end; raise AttemptError."""
    for chunk in chunks:
        assert decoder.feed(chunk) == []
    decoder.close()


@EVERY
@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=4))
def test_an_error_under_a_200_is_that_error(protocol: str, wire: str, sizes: list[int]) -> None:
    """What a server says is believed, and not taken for an answer that broke, however the bytes are cut."""
    if protocol in BODIES:
        body, expected = BODIES[protocol]
        assert failures(adapter_of(protocol, wire), body, sizes) == {expected}


@EVERY
def test_the_dialects_own_error_under_a_200_is_one(protocol: str, wire: str) -> None:
    """As the simulator words an overload of each vendor, it is none of the caller's doing."""
    body = DIALECTS[protocol].error_body(Trouble(name="server_error", model="m"))
    assert not failures(adapter_of(protocol, wire), body, [7]) & {C.CALLER_INVALID, C.KEY_REJECTED}


@EVERY
@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"null", b"{", b"<html>502</html>", b"[" * 100_000, b'{"error": null}', b"\xff\xfe"]
)
def test_a_body_that_tells_nothing_is_no_answer(protocol: str, wire: str, body: bytes) -> None:
    """Neither of the protocol nor an error of it: PROTOCOL in both views."""
    assert failures(adapter_of(protocol, wire), body, [11]) == {C.PROTOCOL}
