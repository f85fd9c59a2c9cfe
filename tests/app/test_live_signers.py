"""Keys that sign over reloads: a token outlasts what does not concern it, and nothing of a key that has gone."""

from __future__ import annotations

import json
from typing import Any

from tests.app.live_house import Document, House, document, key, provider

from trunkline_server.engine.endpoint import Endpoint
from trunkline_server.providers.credentials.base import Signer

SMALL = {"max_in_flight": 1}


def azure(*keys: Document, **fields: Any) -> Document:
    """Return a provider whose keys are identities of Entra ID."""
    return {**provider(*keys), "protocol": "azure_openai", "base_url": "https://name.openai.azure.com", **fields}


def identity(secret: str, tenant: str = "t") -> str:
    """Return the secret of an application."""
    return json.dumps({"tenant_id": tenant, "client_id": "c", "client_secret": secret})


class SigningHouse(House):
    """Live routes with one provider, whose keys sign."""

    def __init__(self, *keys: str, **fields: Any) -> None:
        super().__init__(document({"one": azure(*map(key, keys or ("a",)), **fields)}))

    def blueprint(self, made: Document) -> Any:
        for name in self.secrets:
            if self.secrets[name].startswith("sk-"):
                self.secrets[name] = identity(self.secrets[name])
        return super().blueprint(made)

    def signer(self, key_id: str = "a") -> Signer:
        """Return what signs the calls of a published key."""
        return self.provider().endpoint.signers[key_id]

    def known(self) -> int:
        """Return how many signers are kept."""
        return len(self.live._signers._known)


def closed(signer: Signer) -> bool:
    """Return whether a signer fetches nothing any more."""
    return bool(signer._source._closed)  # type: ignore[attr-defined]


def test_a_signer_outlasts_what_does_not_concern_it() -> None:
    """Another weight, another limit, a trial and its end: the key goes on with the token that it has."""
    house = SigningHouse()
    first = house.signer()
    house.publish(document({"one": azure(key("a", weight=2), gate=SMALL)}))
    assert house.signer() is first
    house.begin_trial(document({"one": azure(key("a"), gate={"max_in_flight": 2})}))
    trial = house.live.snapshots.trial
    assert trial is not None
    assert trial.providers["one"].endpoint.signers["a"] is first
    house.live.end_trial()
    assert house.signer() is first
    assert not closed(first)


def test_another_secret_tenant_or_address_is_another_signer() -> None:
    """What a token was given for is never carried over, and the old signer fetches no more."""
    house = SigningHouse()
    signers = [house.signer()]
    for change in (identity("another"), identity("another", "other-tenant")):
        house.secrets["A_API_KEY"] = change
        house.publish(document({"one": azure(key("a"))}))
        signers.append(house.signer())
    house.publish(document({"one": azure(key("a"), base_url="https://other.openai.azure.com")}))
    signers.append(house.signer())
    assert len(set(map(id, signers))) == 4
    assert [closed(signer) for signer in signers] == [True, True, True, False]
    assert house.known() == 1


def test_a_key_that_goes_takes_its_signer_along() -> None:
    """With a key, a provider or a trial's own key its signer is closed and forgotten; the others stay."""
    house = SigningHouse("a", "b")
    first, second = house.signer("a"), house.signer("b")
    house.begin_trial(document({"one": azure(key("a"), key("c"))}))
    trial = house.live.snapshots.trial
    assert trial is not None
    third = trial.providers["one"].endpoint.signers["c"]
    house.live.end_trial()
    assert [closed(signer) for signer in (first, second, third)] == [False, False, True]
    house.publish(document({"one": azure(key("a"))}))
    assert [closed(signer) for signer in (first, second)] == [False, True]
    house.publish(document({"other": provider(key("d"))}, {"default": [["other/m"]]}))
    assert closed(first)
    assert house.known() == 0


def test_a_promoted_trial_keeps_its_signers() -> None:
    """What was on trial signs on once it is published, and whoever still waits at the trial's provider too."""
    house = SigningHouse()
    changed = document({"one": azure(key("a"), key("b"))})
    blueprint = house.begin_trial(changed)
    trial = house.live.snapshots.trial
    assert trial is not None
    endpoint: Endpoint = trial.providers["one"].endpoint
    house.live.publish(blueprint, house.version)
    assert house.signer("b") is endpoint.signers["b"]
    assert not closed(house.signer("b"))
