"""The routes as they run: every live provider and every transport, and the snapshots that requests are given.

Whatever can fail is done before the first thing that lives is changed, so a publish happens whole or not at all.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from trunkline_server.compile import Blueprint, prepare, with_models_of
from trunkline_server.config.pause import Pause, no_pause
from trunkline_server.config.routes import LoadedRoutes
from trunkline_server.engine.defects import report_defect
from trunkline_server.engine.endpoint import Endpoint
from trunkline_server.engine.provider import LiveProvider, ProviderSpec
from trunkline_server.engine.signers import SignerBook
from trunkline_server.engine.snapshot import Snapshot, Snapshots
from trunkline_server.providers.transport.base import Transport, TransportName
from trunkline_server.providers.transport.choose import make_transport
from trunkline_server.routing.clock import Clock

_Told = TypeVar("_Told")

PublishListener = Callable[[Blueprint], None]
ProviderListener = Callable[[LiveProvider], None]


@dataclass(frozen=True, slots=True)
class _Trial:
    """Routes on trial: those of their providers that are not the published ones."""

    own: Mapping[str, LiveProvider]


class LiveRoutes:
    """Implements `control.live.Live`. All but `prepare` belongs to one event loop.

    Transports are made when routes first name them, one of a kind, and kept to the end: what runs may still need them,
    and there are no more than kinds. Idle connections of theirs close by themselves.
    """

    def __init__(
        self,
        first: Blueprint,
        version: int,
        *,
        clock: Clock,
        rng: random.Random,
        transport: Callable[[TransportName], Transport] = make_transport,
    ) -> None:
        """Run `first` as `version`. `transport` makes a transport of a kind."""
        self._clock = clock
        self._rng = rng
        self._make_transport = transport
        self._transports: dict[str, Transport] = {}
        self._signers = SignerBook()
        self._trial: _Trial | None = None
        self._ending: list[LiveProvider] = []
        """Providers of a trial that was published: nothing new comes to them, and who waits there is still served."""
        self.listeners: list[PublishListener] = []
        """Told of each publish, once requests run on it; see `blueprint` for what runs already."""
        self.provider_listeners: list[ProviderListener] = []
        """Told of each provider that was built or changed, before any call is granted a key of it."""
        self._published = first
        self._providers = {name: self._build(spec, first) for name, spec in first.providers.items()}
        self.snapshots = Snapshots(_snapshot(first, version, self._providers))

    @property
    def blueprint(self) -> Blueprint:
        """What is published."""
        return self._published

    @property
    def transports(self) -> tuple[Transport, ...]:
        """Every transport that was made; `aclose` closes them."""
        return tuple(self._transports.values())

    @property
    def providers(self) -> tuple[LiveProvider, ...]:
        """Every provider that calls may be sent to: the published ones, then those that only a trial has."""
        return (*self._providers.values(), *(() if self._trial is None else self._trial.own.values()))

    def prepare(self, routes: LoadedRoutes, pause: Pause = no_pause) -> Blueprint:
        """Build all of a document that needs no live state. Pure, for any thread; may take some time."""
        return prepare(routes, pause)

    def publish(self, prepared: Blueprint, version: int) -> None:
        """Let all new requests run on these routes; a trial ends.

        Providers that stay are changed in place, and those that go take nothing new. A trial is made the published
        routes by its own version; who waits at a provider of its own is then still served there. Raises ValueError,
        and changes nothing, unless `version` is newer than the published one.
        """
        self.snapshots.check(version)
        changed = {
            name: self._endpoint(spec)
            for name, spec in prepared.providers.items()
            if name in self._providers and spec != self._published.providers[name]
        }
        providers = {
            name: self._providers[name] if name in self._providers else self._build(spec, prepared)
            for name, spec in prepared.providers.items()
        }
        snapshot = _snapshot(prepared, version, providers, self.snapshots.current)
        gone = [provider for name, provider in self._providers.items() if name not in providers]
        promoted = self.snapshots.trial is not None and self.snapshots.trial.version == version
        self.snapshots.publish(snapshot)
        # Nothing fails from here on.
        self._published, self._providers = prepared, providers
        self._retire(gone, promoted=promoted)
        for name, endpoint in changed.items():
            spec, models = prepared.providers[name], prepared.models_of(name)
            providers[name].apply(spec, endpoint, models, before_grants=self._tell_provider)
        self._name_models(providers, prepared)
        self._keep_signers()
        for listener in tuple(self.listeners):
            _tell(listener, prepared)

    def begin_trial(self, prepared: Blueprint, version: int, fraction: float) -> None:
        """Let a share of the new requests run on these routes, above 0 and below 1.

        Providers that are set as the published ones, down to their secrets, are shared with them; all others are new
        ones with keys, gate and circuits of their own. Raises ValueError, and changes nothing, if another trial runs,
        or `version` is not newer than the published one.
        """
        self.snapshots.check_trial(version, fraction)
        own = {
            name: self._build(spec, prepared)
            for name, spec in prepared.providers.items()
            if name not in self._providers or not spec.may_share(self._published.providers[name])
        }
        providers = {name: own.get(name) or self._providers[name] for name in prepared.providers}
        snapshot = _snapshot(prepared, version, providers, self.snapshots.current)
        wider = {
            name: self._endpoint(with_models_of(self._published.providers[name], spec))
            for name, spec in prepared.providers.items()
            if name not in own and spec != self._published.providers[name]
        }
        self.snapshots.begin_trial(snapshot, fraction)
        self._trial = _Trial(own)
        for name, endpoint in wider.items():
            self._providers[name].use(endpoint)
        self._name_models(self._providers, self._published, prepared)

    def end_trial(self) -> None:
        """Take the trial back: new requests run on the published routes alone. Does nothing if none runs."""
        if self.snapshots.end_trial() is not None:
            self._retire((), promoted=False)
            self._name_models(self._providers, self._published)
            self._keep_signers()

    async def aclose(self) -> None:
        """Close every transport, once nothing is sent any more. Idempotent."""
        self._signers.close()
        for transport in self.transports:
            await transport.aclose()

    def _build(self, spec: ProviderSpec, blueprint: Blueprint) -> LiveProvider:
        endpoint, models = self._endpoint(spec), blueprint.models_of(spec.name)
        provider = LiveProvider.build(spec, endpoint, models, clock=self._clock, rng=self._rng)
        self._tell_provider(provider)
        return provider

    def _endpoint(self, spec: ProviderSpec) -> Endpoint:
        if spec.transport not in self._transports:
            self._transports[spec.transport] = self._make_transport(spec.transport)
        if spec.adapter is None:
            raise ValueError(f"{spec.name} has no adapter: its document was not prepared")
        return Endpoint(
            spec.base_url,
            spec.adapter,
            self._transports[spec.transport],
            spec.auth,
            spec.timeouts,
            spec.wires,
            self._signers.of(spec),
        )

    def _retire(self, gone: Iterable[LiveProvider], *, promoted: bool) -> None:
        """Let nobody in any more at providers that no new request comes to. `promoted`: the trial was published.

        Its own providers then serve who is there already, until the next change.
        """
        trial, self._trial = self._trial, None
        own = [] if trial is None else list(trial.own.values())
        closing = [*gone, *self._ending, *([] if promoted else own)]
        self._ending = own if promoted else []
        for provider in closing:
            provider.close()

    def _keep_signers(self) -> None:
        """Let go of the signers of keys that are in no routes any more, and of secrets that were replaced."""
        self._signers.keep(
            signer for provider in (*self.providers, *self._ending) for signer in provider.endpoint.signers.values()
        )

    def _name_models(self, providers: Mapping[str, LiveProvider], *blueprints: Blueprint) -> None:
        """Keep the health of those models that these routes name, and of no others."""
        for name, provider in providers.items():
            provider.name_models(frozenset().union(*(blueprint.models_of(name) for blueprint in blueprints)))

    def _tell_provider(self, provider: LiveProvider) -> None:
        for listener in tuple(self.provider_listeners):
            _tell(listener, provider)


def _snapshot(
    blueprint: Blueprint, version: int, providers: Mapping[str, LiveProvider], before: Snapshot | None = None
) -> Snapshot:
    table = blueprint.table()
    if before is not None:
        table.take_over(before.table)
    return Snapshot(version, table, dict(providers), blueprint.limits, blueprint.named)


def _tell(listener: Callable[[_Told], None], told: _Told) -> None:
    """Tell a listener; if it fails that is reported, since what it is told of has happened."""
    try:
        listener(told)
    except Exception as defect:  # noqa: BLE001  somebody else's, and the others are to hear of it too
        report_defect("a listener of the routes failed", defect)
