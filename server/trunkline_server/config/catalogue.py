"""What is known of well-known models: the shipped catalogue, and what a routes file says over it, field by field.

The catalogue is data (`catalogue/models.yaml`), read once a process. Reading blocks for 30 ms; checking a document
reads it, so that whoever compiles one later finds it in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from trunkline_server.config.fields import FILLED, GIVEN, BaseUrl, split_target
from trunkline_server.config.model import ModelFacts
from trunkline_server.config.tree import read_tree

if TYPE_CHECKING:
    from trunkline_server.config.model import RoutesDocument

UNKNOWN = ModelFacts()
"""Nothing is known, which restricts nothing."""


class CatalogueModel(ModelFacts):
    """What is known of one model of a vendor."""

    as_of: Annotated[date | None, GIVEN] = None
    """Where this entry came from another source than its vendor's: the day of that."""

    source: Annotated[BaseUrl | None, GIVEN] = None
    """Likewise its URL."""


class Vendor(BaseModel):
    """The models of one vendor, and how a provider is known to be this vendor."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hosts: Annotated[tuple[str, ...], FILLED]
    """Hosts of its API, exactly."""

    protocol: str | None = None
    """The wire protocol that is its own: providers of that protocol at an unknown host are taken for proxies of it."""

    as_of: date
    """The day on which `source` was as it is told here."""

    source: BaseUrl
    """Where the facts were read."""

    prices: BaseUrl
    """The vendor's own page of prices."""

    models: Annotated[Mapping[str, CatalogueModel], FILLED]
    """By the vendor's own names."""


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    vendors: Annotated[Mapping[str, Vendor], Field(min_length=1)]


class Catalogue:
    """Facts by provider and model."""

    def __init__(self, vendors: Mapping[str, Vendor]) -> None:
        self.vendors = vendors
        self._by_host = {host: vendor for vendor in vendors.values() for host in vendor.hosts}
        self._by_protocol = {vendor.protocol: vendor for vendor in vendors.values() if vendor.protocol}

    def vendor_of(self, protocol: str, base_url: str) -> Vendor | None:
        """Return whose models a provider serves: by its URL's host, else by its protocol; None if that is nobody's."""
        try:
            host = urlsplit(base_url).hostname
        except ValueError:
            host = None
        return self._by_host.get(host or "") or self._by_protocol.get(protocol)

    def facts(self, protocol: str, base_url: str, model: str) -> ModelFacts:
        """Return what is known of `model` at a provider; UNKNOWN if that is nothing."""
        vendor = self.vendor_of(protocol, base_url)
        return UNKNOWN if vendor is None else vendor.models.get(model, UNKNOWN)


def read_catalogue(text: bytes) -> Catalogue:
    """Return the catalogue in a YAML text. Raises ValueError, with what is wrong, for one that is not sound."""
    tree, findings = read_tree(text)
    if tree is None or findings:
        raise ValueError("; ".join(f"line {finding.line}: {finding.message}" for finding in findings))
    return Catalogue(_Document.model_validate(tree.value).vendors)


@cache
def shipped_catalogue() -> Catalogue:
    """Return the catalogue that comes with this release."""
    return read_catalogue((files("trunkline_server") / "catalogue" / "models.yaml").read_bytes())


def overridden(given: ModelFacts, shipped: ModelFacts) -> ModelFacts:
    """Return the facts of `shipped` with those over them that `given` has."""
    said = given.model_fields_set
    return ModelFacts.model_construct(
        **{name: getattr(given if name in said else shipped, name) for name in ModelFacts.model_fields}
    )


def facts_of(document: RoutesDocument, name: str) -> ModelFacts:
    """Return what is known of the model `provider/model` in a valid document: its own `models`, then the catalogue."""
    parts = split_target(name)
    provider = document.providers.get(parts[0]) if parts else None
    given = document.models.get(name, UNKNOWN)
    if parts is None or provider is None:
        return given
    return overridden(given, shipped_catalogue().facts(provider.protocol, provider.base_url, parts[1]))


def named_models(document: RoutesDocument) -> Iterator[str]:
    """Yield every `provider/model` that a document names, each once: in `models`, in aliases, of callers."""
    names = dict.fromkeys(document.models)
    names |= dict.fromkeys(
        target.target for alias in document.aliases.values() for tier in alias.tiers for target in tier.targets
    )
    names |= dict.fromkeys(name for caller in document.callers for name in caller.models)
    return iter(names)
