"""A secret as a bearer token."""

from __future__ import annotations

from trunkline_server.providers.base import NO_TERMS
from trunkline_server.providers.credentials.base import StaticHeaders
from trunkline_server.providers.credentials.openai import credential


def test_the_credential_is_a_bearer_token() -> None:
    """A key travels in the authorization header alone, and does not show."""
    made = credential("sk-1", NO_TERMS)
    assert isinstance(made, StaticHeaders)
    assert dict(made.headers) == {"authorization": "Bearer sk-1"}
    assert "sk-1" not in repr(made)
