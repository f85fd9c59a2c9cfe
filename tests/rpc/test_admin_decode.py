from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import Sized

from trunkline import v1 as pb
from trunkline_server.config.tree import MAX_BYTES
from trunkline_server.control.types import OverrideMode
from trunkline_server.rpc import decode_admin as decode
from trunkline_server.rpc.violations import InvalidRequestError

DAY = 86_400


def paths_of(call: Callable[[bytes], object], request: Message) -> list[str]:
    """Return the paths of all that is wrong with a request; none if it is taken."""
    try:
        call(request.SerializeToString())
    except InvalidRequestError as error:
        return [violation.path for violation in error.violations]
    return []


def reload_paths(**fields: Any) -> list[str]:
    return paths_of(decode.decode_reload, pb.ReloadRoutesRequest(**fields))


def guard_paths(guard: pb.CanaryGuard) -> list[str]:
    return reload_paths(canary_fraction=0.5, guard=guard)


def target_paths(**fields: Any) -> list[str]:
    usual: dict[str, Any] = {"target": "a/b", "mode": pb.OVERRIDE_MODE_DRAIN, "ttl": Duration(seconds=1)}
    return paths_of(decode.decode_override_target, pb.OverrideTargetRequest(**{**usual, **fields}))


def key_paths(**fields: Any) -> list[str]:
    usual: dict[str, Any] = {"provider": "a", "key_id": "b", "mode": pb.OVERRIDE_MODE_DRAIN, "ttl": Duration(seconds=1)}
    return paths_of(decode.decode_override_key, pb.OverrideKeyRequest(**{**usual, **fields}))


@pytest.mark.parametrize("fraction", [0.0, 1e-9, 0.5, 0.999999])
def test_a_share_of_the_calls_is_taken(fraction: float) -> None:
    """A canary gets any share above 0 and below 1; 0 asks for none."""
    assert reload_paths(canary_fraction=fraction) == []


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5, math.nan, math.inf, -math.inf])
def test_what_is_no_share_of_the_calls_is_refused(fraction: float) -> None:
    """Shares from 1 on, below 0, and numbers that are none are refused by their path."""
    assert reload_paths(canary_fraction=fraction) == ["canary_fraction"]


def test_a_guard_needs_a_canary() -> None:
    """A guard without a share is refused, since it would guard nothing."""
    assert reload_paths(guard=pb.CanaryGuard()) == ["guard"]


@pytest.mark.parametrize(
    ("guard", "path"),
    [
        (pb.CanaryGuard(window=Duration()), "guard.window"),
        (pb.CanaryGuard(window=Duration(seconds=-1)), "guard.window"),
        (pb.CanaryGuard(window=Duration(seconds=DAY, nanos=1)), "guard.window"),
        (pb.CanaryGuard(window=Duration(seconds=1, nanos=-1)), "guard.window"),
        (pb.CanaryGuard(window=Duration(seconds=1, nanos=1_000_000_000)), "guard.window"),
        (pb.CanaryGuard(error_ratio=-0.1), "guard.error_ratio"),
        (pb.CanaryGuard(error_ratio=1.1), "guard.error_ratio"),
        (pb.CanaryGuard(error_ratio=math.nan), "guard.error_ratio"),
        (pb.CanaryGuard(first_token_ratio=0), "guard.first_token_ratio"),
        (pb.CanaryGuard(first_token_ratio=math.inf), "guard.first_token_ratio"),
        (pb.CanaryGuard(first_token_ratio=math.nan), "guard.first_token_ratio"),
    ],
)
def test_a_guard_out_of_range_is_refused(guard: pb.CanaryGuard, path: str) -> None:
    """Windows beyond a day, ratios that are none, and durations that are not well formed are refused by their path."""
    assert guard_paths(guard) == [path]


def test_a_guard_at_its_bounds_is_taken() -> None:
    """A window of a day, and an error ratio of 0, which allows no error, are taken as they are."""
    guard = pb.CanaryGuard(window=Duration(seconds=DAY), error_ratio=0.0)
    order = decode.decode_reload(pb.ReloadRoutesRequest(canary_fraction=0.1, guard=guard).SerializeToString())
    assert (order.guard.window_s, order.guard.error_ratio, order.guard.first_token_ratio) == (DAY, 0.0, 2.0)


@pytest.mark.parametrize(
    ("field", "most"), [("reason", 1024), ("request_id", 128), ("if_match_etag", 128), ("source", MAX_BYTES)]
)
def test_texts_are_bounded_in_bytes(field: str, most: int) -> None:
    """A text of as many bytes as it may have is taken, and one more is refused by its path."""
    assert reload_paths(**{field: "x" * most}) == []
    assert reload_paths(**{field: "x" * (most + 1)}) == [field]


def test_bytes_count_and_not_characters() -> None:
    """A reason of 600 two-byte characters is above 1,024 bytes."""
    assert reload_paths(reason="ä" * 600) == ["reason"]


@pytest.mark.parametrize("request_id", ["a\nb", "ä", "\x7f"])
def test_an_id_that_would_spoil_a_log_is_refused(request_id: str) -> None:
    """A request's id is printable ASCII."""
    assert reload_paths(request_id=request_id) == ["request_id"]


def test_all_violations_are_told_at_once() -> None:
    """Whatever is wrong with a request is told together, in the order of its fields."""
    guard = pb.CanaryGuard(window=Duration(), error_ratio=2)
    told = reload_paths(reason="x" * 2000, canary_fraction=2.0, guard=guard)
    assert told == ["reason", "canary_fraction", "guard.window", "guard.error_ratio"]


@pytest.mark.parametrize("target", ["", "a", "/b", "a/", "/", "a/" + "x" * 255])
def test_a_target_is_provider_and_model(target: str) -> None:
    """What is not provider/model, or too long, is refused."""
    assert target_paths(target=target) == ["target"]


@pytest.mark.parametrize("mode", [0, 6, 99, -1])
def test_an_unknown_mode_is_refused(mode: int) -> None:
    """A mode that is not said, or that this version does not know, is refused."""
    assert target_paths(mode=mode) == ["mode"]
    assert key_paths(mode=mode) == ["mode"]


@pytest.mark.parametrize("mode", [pb.OVERRIDE_MODE_FORCE_OPEN, pb.OVERRIDE_MODE_FORCE_CLOSED])
def test_a_key_has_no_circuit_to_force(mode: int) -> None:
    """Forcing is for targets only."""
    assert key_paths(mode=mode) == ["mode"]
    assert target_paths(mode=mode) == []


@pytest.mark.parametrize("seconds", [0, -1, 7 * DAY + 1, 400_000_000_000])
def test_a_ttl_ends(seconds: int) -> None:
    """A time to live is above 0 and at most 7 days."""
    assert target_paths(ttl=Duration(seconds=seconds)) == ["ttl"]
    assert key_paths(ttl=Duration(seconds=seconds)) == ["ttl"]


def test_a_ttl_is_mandatory_but_to_clear() -> None:
    """An override without a time to live is refused, and taking one back needs none."""
    assert target_paths(ttl=None) == ["ttl"]
    assert target_paths(ttl=None, mode=pb.OVERRIDE_MODE_CLEAR) == []
    assert target_paths(ttl=Duration(seconds=7 * DAY)) == []


def test_a_key_is_named_by_provider_and_id() -> None:
    """An override of a key needs both names."""
    assert key_paths(provider="", key_id="x" * 257) == ["provider", "key_id"]


@pytest.mark.parametrize("nanos", [0, 99_999_999, -1])
def test_a_status_is_not_watched_too_often(nanos: int) -> None:
    """A watch of the status has at least 0.1 s between two messages."""
    assert paths_of(decode.decode_watch_status, pb.WatchStatusRequest(every=Duration(nanos=nanos))) == ["every"]


def test_a_status_is_watched_every_second_unless_told() -> None:
    """Without an interval it is a second; from 0.1 s to 60 s it is what was asked for."""
    assert decode.decode_watch_status(b"") == 1.0
    asked = pb.WatchStatusRequest(every=Duration(seconds=60))
    assert decode.decode_watch_status(asked.SerializeToString()) == 60.0
    over = pb.WatchStatusRequest(every=Duration(seconds=60, nanos=1))
    assert paths_of(decode.decode_watch_status, over) == ["every"]


@pytest.mark.parametrize(("seconds", "paths"), [(-1, ["grace"]), (DAY, []), (DAY + 1, ["grace"]), (0, [])])
def test_a_grace_is_at_most_a_day(seconds: int, paths: list[str]) -> None:
    """A drain's grace is from nothing to a day."""
    assert paths_of(decode.decode_drain, pb.DrainRequest(grace=Duration(seconds=seconds))) == paths


def test_a_page_is_bounded() -> None:
    """A page has at most 100 versions, and its token is bounded too."""
    request = pb.ListRouteVersionsRequest(page_size=101, page_token="x" * 257)
    assert paths_of(decode.decode_list_versions, request) == ["page_size", "page_token"]


@given(seconds=st.integers(-(2**63), 2**63 - 1), nanos=st.integers(-(2**31), 2**31 - 1))
def test_every_ttl_that_is_taken_is_in_range(seconds: int, nanos: int) -> None:
    """Whatever stands in a Duration, an order's time to live is above 0 and at most 7 days, or it is refused."""
    request = pb.OverrideTargetRequest(
        target="a/b", mode=pb.OVERRIDE_MODE_DRAIN, ttl=Duration(seconds=seconds, nanos=nanos)
    )
    wrong = paths_of(decode.decode_override_target, request)
    assert wrong in ([], ["ttl"])
    if not wrong:
        order = decode.decode_override_target(request.SerializeToString())
        assert order.mode is OverrideMode.DRAIN
        assert order.ttl_s is not None
        assert 0 < order.ttl_s <= 7 * DAY


DECODERS: list[tuple[Callable[[bytes], object], Message]] = [
    (decode.decode_plan, pb.PlanRoutesRequest(source="version: 1", base_etag="e")),
    (
        decode.decode_reload,
        pb.ReloadRoutesRequest(
            source="x",
            if_match_etag="e",
            reason="r",
            request_id="i",
            canary_fraction=0.5,
            guard=pb.CanaryGuard(window=Duration(seconds=5), error_ratio=0.5, first_token_ratio=2),
        ),
    ),
    (decode.decode_rollback, pb.RollbackRoutesRequest(to_version=5, if_match_etag="e", reason="r")),
    (decode.decode_list_versions, pb.ListRouteVersionsRequest(page_size=5, page_token="t")),  # noqa: S106  names a page
    (decode.decode_watch_status, pb.WatchStatusRequest(every=Duration(seconds=5))),
    (
        decode.decode_override_target,
        pb.OverrideTargetRequest(target="a/b", mode=pb.OVERRIDE_MODE_DRAIN, ttl=Duration(seconds=5)),
    ),
    (
        decode.decode_override_key,
        pb.OverrideKeyRequest(provider="a", key_id="b", mode=pb.OVERRIDE_MODE_DRAIN, ttl=Duration(seconds=5)),
    ),
    (decode.decode_drain, pb.DrainRequest(grace=Duration(seconds=5), reason="r")),
]


def mutated(raw: bytes, rng: random.Random) -> bytes:
    """Return a message with some bytes changed, left out, added or doubled."""
    changed = bytearray(raw)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(4):
            case 0:
                changed[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del changed[at : at + rng.randint(1, 4)]
            case 2:
                changed[at:at] = rng.randbytes(rng.randint(1, 8))
            case _:
                changed[at:at] = changed[: rng.randint(1, 16)]
    return bytes(changed)


def test_mutated_admin_messages_are_taken_or_refused(sized: Sized, rng: random.Random) -> None:
    """Whatever bytes come, an admin message is decoded or refused as invalid; nothing else is ever raised."""
    refused = 0
    rounds = sized(full=100_000, gate=4_000)
    for index in range(rounds):
        call, message = DECODERS[index % len(DECODERS)]
        try:
            call(mutated(message.SerializeToString(), rng))
        except InvalidRequestError:
            refused += 1
    assert 0 < refused < rounds
