"""Who may call and who may operate, as the routes file says it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trunkline_server.config.fields import (
    GIVEN,
    InFlight,
    Label,
    MaxCostUsd,
    OptionKey,
    PerMinute,
    SanName,
    Settings,
    TargetName,
    TokenHash,
)


class CallerSettings(Settings):
    """A service that may call, and what it may use. It is known by its token, its certificate, or either."""

    id: Label
    """Shown in logs and metrics; unique, among admins too."""

    token_sha256: Annotated[TokenHash | None, GIVEN, Field(repr=False)] = None
    """SHA-256 of the caller's bearer token, 64 hex digits; unique, among admins too."""

    mtls_san: Annotated[SanName | None, GIVEN] = None
    """A subject alternative name in the caller's certificate, such as ``spiffe://prod/checkout``; unique likewise."""

    aliases: tuple[Label, ...] = ()
    """Aliases that it may use. Default none."""

    models: tuple[TargetName, ...] = ()
    """Targets that it may name directly, as ``provider/model``. Default none."""

    requests_per_minute: Annotated[PerMinute | None, GIVEN] = None
    """Calls a minute; what it takes to serve one of them, fallbacks included, is one call. Default: no limit."""

    tokens_per_minute: Annotated[PerMinute | None, GIVEN] = None
    """Tokens a minute, prompts and answers of all attempts together. Default: no limit."""

    max_in_flight: Annotated[InFlight | None, GIVEN] = None
    """Calls in flight at once, streams until their end. Default: no limit."""

    budget_usd_per_day: Annotated[MaxCostUsd | None, GIVEN] = None
    """The most that its calls may cost between two midnights (UTC), in US dollars. What has no known price counts
    nothing. Default: no limit."""

    provider_options: tuple[OptionKey, ...] = ()
    """Option keys that it may pass although they would otherwise be refused. Default none."""

    criticality: Literal["CRITICAL_PLUS", "CRITICAL", "SHEDDABLE_PLUS", "SHEDDABLE"] = "CRITICAL"
    """The highest that it may ask for, and what its calls have that ask for none. Default CRITICAL."""


class AdminSettings(Settings):
    """Somebody who may use the admin port. Known by a token, a certificate, or either."""

    id: Label
    """Shown in versions, logs and the audit; unique, among callers too."""

    token_sha256: Annotated[TokenHash | None, GIVEN, Field(repr=False)] = None
    """SHA-256 of the admin's bearer token, 64 hex digits; unique, among callers too."""

    mtls_san: Annotated[SanName | None, GIVEN] = None
    """A subject alternative name in the admin's certificate, such as ``ops@example.com``; unique likewise."""

    role: Literal["viewer", "operator"]
    """Who looks only (viewer), or does everything (operator)."""
