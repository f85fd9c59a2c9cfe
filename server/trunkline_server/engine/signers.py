"""The signers of live routes: kept over reloads, so that a token is not fetched anew because a weight changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trunkline_server.engine.provider import ProviderSpec
from trunkline_server.providers.credentials.base import Signer


class SignerBook:
    """Every signer that calls may be signed with, by what it was made of. Owns them: whoever drops one closes it.

    A key that comes back with the same secret, at a provider of the same terms, gets the signer that it had.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Signer] = {}

    def of(self, spec: ProviderSpec) -> Mapping[str, Signer]:
        """Return the signers of a provider's keys: those that are known, else those of `spec`, kept from now on."""
        if not spec.signers:
            return {}
        fingerprints = {key.id: key.fingerprint for key in spec.keys}
        terms = spec.terms
        found: dict[str, Signer] = {}
        for key_id, signer in spec.signers.items():
            made_of = (spec.name, spec.protocol, terms.base_url, terms.region, key_id, fingerprints[key_id])
            found[key_id] = self._known.setdefault(made_of, signer)
        return found

    def keep(self, used: Iterable[Signer]) -> None:
        """Close and forget all signers but these: nothing new is sent with any other, and its secret is to be gone."""
        kept = frozenset(map(id, used))
        for made_of, signer in tuple(self._known.items()):
            if id(signer) not in kept:
                del self._known[made_of]
                signer.close()

    def close(self) -> None:
        """Close every signer. Idempotent."""
        known, self._known = self._known, {}
        for signer in known.values():
            signer.close()
