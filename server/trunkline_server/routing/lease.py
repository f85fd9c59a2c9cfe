"""A lease: the right to have one call in flight, a gate's slot and a provider's key in one piece."""

from __future__ import annotations

from collections.abc import Callable


class LeaseError(RuntimeError):
    """Our own fault: a slot or a key was given back twice, or never taken. Nothing was changed by the attempt."""


class Lease:
    """One slot of one gate and one call of one key, held from before dispatch until the upstream answer has ended.

    Whoever was given the lease owns it and calls `release` exactly once, on every way out; before that, at most once,
    `settle`, where the provider told what the call used.
    """

    __slots__ = (
        "_give_back",
        "_released",
        "_settle",
        "_settled",
        "fingerprint",
        "granted_at",
        "key_id",
        "model",
        "provider",
        "terms",
        "tokens",
    )

    def __init__(
        self,
        provider: str,
        key_id: str,
        model: str,
        *,
        granted_at: float,
        fingerprint: str,
        give_back: Callable[[Lease], None],
        tokens: int = 0,
        settle: Callable[[Lease, int | None], None] | None = None,
        terms: object = None,
    ) -> None:
        self.provider = provider
        self.key_id = key_id
        self.model = model
        self.granted_at = granted_at
        """The clock's time, in seconds, at which slot and key were taken."""
        self.fingerprint = fingerprint
        """Of the secret that the key had when it was taken: what is reported of this call speaks of that secret."""
        self.tokens = tokens
        """Tokens, prompt and answer, that were reserved on the key's limit when the lease was granted."""
        self.terms = terms
        """What held at the gate when it was granted, for whoever makes the call; routing never looks into it."""
        self._give_back = give_back
        self._settle = settle
        self._released = False
        self._settled = False

    @property
    def released(self) -> bool:
        """Whether slot and key were given back."""
        return self._released

    @property
    def settled(self) -> bool:
        """Whether the reservation of tokens was settled."""
        return self._settled

    def settle(self, used: int | None) -> None:
        """Tell what the call used, in tokens: the difference to what was reserved is booked on the key's limit.

        None: nobody knows, so the reservation stands. Raises LeaseError on the second call and after `release`, which
        settles as None if nobody did; it changes nothing then.
        """
        if self._settled:
            raise LeaseError(f"settled twice: {self!r}")
        self._settled = True
        if self._settle is not None:
            self._settle(self, used)

    def release(self) -> None:
        """Give slot and key back; waiters that can go now are granted inside this call.

        Raises LeaseError on the second call, which changes nothing.
        """
        if self._released:
            raise LeaseError(f"released twice: {self!r}")
        if not self._settled:
            self.settle(None)
        self._released = True
        self._give_back(self)

    def __repr__(self) -> str:
        state = "released" if self._released else "held"
        return f"<Lease {self.provider}/{self.model} key {self.key_id} granted at {self.granted_at:.3f}, {state}>"
