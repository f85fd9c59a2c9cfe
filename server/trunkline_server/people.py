"""From a routes document to those who may call and operate, by their tokens and by the names in their certificates."""

from __future__ import annotations

from trunkline_server.config.model import RoutesDocument
from trunkline_server.config.people import CallerSettings
from trunkline_server.control.types import Role
from trunkline_server.routing.caller_limits import NO_LIMITS, CallerLimits
from trunkline_server.routing.types import Caller, Criticality
from trunkline_server.rpc.auth import OPEN_ADMINS, OPEN_TABLE, Administrator, AdminTable, CallerTable

_NANOUSD_PER_USD = 1_000_000_000


def caller_table(document: RoutesDocument) -> CallerTable:
    """Return who may call; open to everybody if no callers are configured."""
    if not document.callers:
        return OPEN_TABLE
    known = [(settings, caller_of(settings)) for settings in document.callers]
    return CallerTable(
        {each.token_sha256: caller for each, caller in known if each.token_sha256 is not None},
        by_san={each.mtls_san: caller for each, caller in known if each.mtls_san is not None},
    )


def admin_table(document: RoutesDocument) -> AdminTable:
    """Return who may look and operate; open to everybody if no admins are configured."""
    if not document.admins:
        return OPEN_ADMINS
    known = [(settings, Administrator(settings.id, Role(settings.role))) for settings in document.admins]
    return AdminTable(
        {each.token_sha256: admin for each, admin in known if each.token_sha256 is not None},
        by_san={each.mtls_san: admin for each, admin in known if each.mtls_san is not None},
    )


def callers_of(document: RoutesDocument) -> tuple[Caller, ...] | None:
    """Return the callers, for `CallerAccounts.retune`; None if no callers are configured: open to everybody."""
    return tuple(caller_of(settings) for settings in document.callers) or None


def caller_of(settings: CallerSettings) -> Caller:
    """Return a caller as the core knows it: without token and certificate."""
    return Caller(
        settings.id,
        frozenset(settings.aliases),
        frozenset(settings.models),
        frozenset(settings.provider_options),
        Criticality[settings.criticality],
        _limits_of(settings),
    )


def _limits_of(settings: CallerSettings) -> CallerLimits | None:
    budget_usd = settings.budget_usd_per_day
    limits = CallerLimits(
        settings.requests_per_minute,
        settings.tokens_per_minute,
        settings.max_in_flight,
        None if budget_usd is None else round(budget_usd * _NANOUSD_PER_USD),
    )
    return None if limits == NO_LIMITS else limits
