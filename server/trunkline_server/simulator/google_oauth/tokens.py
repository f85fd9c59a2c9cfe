"""Access tokens that tell whose they are, so that the scenario can know a key behind them."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

_PREFIX = "ya29.sim-"


def token_for(key: str, number: int) -> str:
    """Return access token `number` for who is known to the scenario as `key`."""
    return f"{_PREFIX}{urlsafe_b64encode(key.encode()).decode().rstrip('=')}.{number}"


def key_of_token(token: str) -> str:
    """Return the key that a token was given out for; a token of others is a key itself."""
    if not token.startswith(_PREFIX):
        return token
    named = token.removeprefix(_PREFIX).partition(".")[0]
    try:
        return urlsafe_b64decode(named + "=" * (-len(named) % 4)).decode()
    except ValueError:
        return token
