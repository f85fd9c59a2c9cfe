"""A secret as a bearer token."""

from __future__ import annotations

import pytest

from trunkline_server.compile import CREDENTIALS
from trunkline_server.providers.base import NO_TERMS
from trunkline_server.providers.credentials.base import CredentialError, StaticHeaders
from trunkline_server.providers.credentials.openai import credential


def test_the_credential_is_a_bearer_token() -> None:
    """A key travels in the authorization header alone, and does not show."""
    made = credential("sk-1", NO_TERMS)
    assert isinstance(made, StaticHeaders)
    assert dict(made.headers) == {"authorization": "Bearer sk-1"}
    assert "sk-1" not in repr(made)


@pytest.mark.parametrize("secret", ["sk-1\r\nx-admin: 1", "{\n}", "sk-\u00fc", "sk-\x00"])
@pytest.mark.parametrize("protocol", CREDENTIALS)
def test_no_header_can_be_smuggled_in(protocol: str, secret: str) -> None:
    """What no header can carry is no key of any protocol, and is not repeated where that is said."""
    with pytest.raises(CredentialError) as caught:
        CREDENTIALS[protocol](secret, NO_TERMS)
    assert not secret.strip() or secret not in str(caught.value)
