"""What the headers of a trial key say."""

from __future__ import annotations

import pytest
from tests.providers.cohere.cohere_golden import adapter

from trunkline_server.providers.base import AdapterTerms, RateLimitHeaders
from trunkline_server.providers.credentials.base import StaticHeaders
from trunkline_server.providers.credentials.cohere import credential


def test_a_trial_key_tells_its_calls_a_minute() -> None:
    """As https://github.com/cohere-ai/cohere-typescript/issues/222 shows them (read 2026-11-23)."""
    headers = {
        "x-endpoint-monthly-call-limit": "1000",
        "x-trial-endpoint-call-limit": "40",
        "x-trial-endpoint-call-remaining": "39",
    }
    assert adapter().limits(headers) == RateLimitHeaders(limit_requests=40, remaining_requests=39)


@pytest.mark.parametrize(
    "headers",
    [{}, {"x-endpoint-monthly-call-limit": "1000"}, {"x-trial-endpoint-call-limit": "many"},
     {"x-trial-endpoint-call-remaining": "-1"}],
)  # fmt: skip
def test_what_says_nothing_readable_is_nothing(headers: dict[str, str]) -> None:
    """The limit a month is no rate, and production keys have none of these."""
    assert adapter().limits(headers) is None


def test_the_credential_is_a_bearer_token_that_does_not_show() -> None:
    """A key travels in the authorization header alone."""
    found = credential("co-secret", AdapterTerms())
    assert isinstance(found, StaticHeaders)
    assert dict(found.headers) == {"authorization": "Bearer co-secret"}
    assert "co-secret" not in repr(found)
