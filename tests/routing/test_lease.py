"""A lease: released once, settled once, whatever comes first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_server.routing.lease import Lease, LeaseError

Booked = list[tuple[str, int | None]]


def make(booked: Booked) -> Lease:
    return Lease(
        "openai",
        "a",
        "m",
        granted_at=5.0,
        fingerprint="f",
        give_back=lambda _: booked.append(("given back", None)),
        tokens=700,
        settle=lambda lease, used: booked.append(("settled", lease.tokens if used is None else used)),
    )


@given(st.lists(st.sampled_from(["release", "settle", "settle unknown"]), max_size=8))
def test_a_lease_is_settled_and_given_back_once(calls: list[str]) -> None:
    """Whatever is called in whatever order, nothing is booked twice, and the reservation before the slot."""
    booked: Booked = []
    lease = make(booked)
    acts: dict[str, Callable[[], None]] = {
        "release": lease.release,
        "settle": partial(lease.settle, 300),
        "settle unknown": partial(lease.settle, None),
    }
    for call in calls:
        allowed = not lease.released and (call == "release" or not lease.settled)
        if allowed:
            acts[call]()
        else:
            with pytest.raises(LeaseError):
                acts[call]()
    if not lease.released:
        lease.release()
    assert [what for what, _ in booked] == ["settled", "given back"]
    assert booked[0][1] == (300 if calls and calls[0] == "settle" else 700)


def test_a_lease_without_a_limit_settles_too() -> None:
    """Who settles need not know whether there is anything to settle with; twice is wrong all the same."""
    lease = Lease("openai", "a", "m", granted_at=5.0, fingerprint="f", give_back=lambda _: None)
    lease.settle(10)
    with pytest.raises(LeaseError, match="settled twice"):
        lease.settle(10)
    lease.release()
