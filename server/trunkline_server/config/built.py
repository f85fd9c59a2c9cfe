"""What of the routes file's documented names is built: one table.

A name under `later` is known and refused as ``not built yet``; to build it, give it a field in `model` and move
it to `built`. A name that stands nowhere here is unknown. `*` is any name, `[]` any entry of a list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Names:
    """The documented names of one place."""

    built: tuple[str, ...]
    later: tuple[str, ...]

    @property
    def known(self) -> tuple[str, ...]:
        """Both kinds."""
        return self.built + self.later


def _names(built: str, *, later: str = "") -> Names:
    return Names(tuple(built.split()), tuple(later.split()))


SETTINGS: Final[Mapping[str, Names]] = {
    "": _names("version providers models aliases callers admins server"),
    "providers.*": _names(
        "preset protocol base_url keys gate timeouts circuit retry_budget transport allow_plaintext region api_version"
        " deployments",
    ),
    "providers.*.keys[]": _names(
        "id secret weight models block_models requests_per_minute tokens_per_minute max_in_flight quota_group burst_s"
    ),
    "providers.*.gate": _names("max_in_flight queue max_wait_s adaptive dispatches_per_s burst"),
    "providers.*.gate.adaptive": _names("min max"),
    "providers.*.timeouts": _names("connect_s first_token_s stall_s response_s"),
    "providers.*.circuit": _names(
        "recent recent_failures failures_in_row window_s error_ratio min_calls open_s open_max_s ramp_s"
    ),
    "providers.*.retry_budget": _names("ratio recovering_ratio floor_per_s"),
    "models.*": _names(
        "context_tokens max_output_tokens input_usd_per_million output_usd_per_million capabilities"
        " regions embedding_space wire first_token_s stall_s response_s"
    ),
    "aliases.*": _names(
        "tiers on_break allow_prompted_continuation on_key_rejected on_content_filtered hedge max_attempts"
        " default_deadline_s max_cost_usd max_first_token_s"
    ),
    "aliases.*.hedge": _names("enabled percentile max_extra"),
    "aliases.*.tiers[]": _names("strategy targets"),
    "aliases.*.tiers[].targets[]": _names("target weight variant"),
    "callers[]": _names(
        "id token_sha256 mtls_san aliases models requests_per_minute tokens_per_minute max_in_flight"
        " budget_usd_per_day provider_options criticality"
    ),
    "admins[]": _names("id token_sha256 mtls_san role"),
    "server": _names("write_timeout_s deadline_reserve_s default_deadline_s max_deadline_s detach_s"),
}
"""Names of settings, by the place where they stand."""

VALUES: Final[Mapping[str, Names]] = {
    "providers.*.protocol": _names("openai anthropic bedrock gemini azure_openai cohere"),
    "providers.*.transport": _names("aiohttp httpx"),
    "models.*.wire": _names("chat responses"),
    "aliases.*.tiers[].strategy": _names("weighted least_loaded lowest_cost lowest_latency"),
    "aliases.*.on_break": _names("FAIL RESTART CONTINUE"),
    "aliases.*.on_key_rejected": _names("fail next_target"),
    "aliases.*.on_content_filtered": _names("fail next_target"),
    "callers[].criticality": _names("CRITICAL_PLUS CRITICAL SHEDDABLE_PLUS SHEDDABLE"),
    "admins[].role": _names("viewer operator"),
}
"""Values of settings that choose one of several words."""

STANDS_FOR: Final[Mapping[str, tuple[str, ...]]] = {
    "providers.*.preset": ("protocol", "base_url"),
}
"""Settings that replace others: whoever gives them is not told that the others are missing."""

CAPABILITIES: Final = frozenset({"tools", "vision", "json_schema", "reasoning", "prefill", "embeddings", "chat"})
"""Capabilities that routing knows; another one is kept, with a warning, since it may be a misspelling.

A model with `embeddings` makes vectors of texts and answers nobody, unless it has `chat` beside it.
"""
