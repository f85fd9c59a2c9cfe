"""The keys that the machine has itself: environment, profile, container or instance role, found as AWS's tools do.

botocore finds and renews them, with calls that block; so a thread asks it every few minutes, ahead of need, by the
policy of all access tokens. What is given out has at least ten minutes left: botocore renews what has less.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from trunkline_server.providers.base import AttemptError
from trunkline_server.providers.credentials.aws_sign import AccessKeys, load, signed
from trunkline_server.providers.credentials.oauth_token import AccessToken, TokenSource
from trunkline_server.providers.transport.base import Transport, UpstreamRequest
from trunkline_server.providers.transport.blocking import in_own_thread
from trunkline_server.routing.failures import Failure, FailureClass

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from botocore.session import Session

ASKED_AGAIN_S: Final = 300.0
"""How long keys are used before botocore is asked whether they are still good."""

_CONNECT_S: Final = 2.0
_READ_S: Final = 4.0
"""For the services that give keys: none of them takes long, and calls wait for it."""

_NONE_FOUND: Final = Failure(FailureClass.KEY_REJECTED, "the machine has no AWS credentials of its own")
_REFUSED: Final = Failure(FailureClass.KEY_REJECTED, "AWS gives no credentials to the machine's role")
_NOT_REACHED: Final = Failure(FailureClass.CONNECT, "the machine's AWS credentials could not be fetched")


class _Found(msgspec.Struct, array_like=True):
    """Keys as the text of a token."""

    access_key: str
    secret_key: str
    token: str | None


class MachineKeys:
    """Asks botocore. Its methods block and belong into a thread, one at a time."""

    __slots__ = ("_credentials", "_session")

    def __init__(self) -> None:
        self._session: Session | None = None
        self._credentials: Credentials | None = None

    def find(self) -> AccessKeys:
        """Return keys with some minutes left; raise AttemptError if there are none, or none to be had now."""
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.session import Session

        try:
            if self._credentials is None:
                if self._session is None:
                    self._session = Session()
                    self._session.set_default_client_config(
                        Config(connect_timeout=_CONNECT_S, read_timeout=_READ_S, retries={"max_attempts": 1})
                    )
                self._credentials = self._session.get_credentials()
                if self._credentials is None:
                    raise AttemptError(_NONE_FOUND)
            found = self._credentials.get_frozen_credentials()
        except ClientError:
            raise AttemptError(_REFUSED) from None  # the cause names accounts and roles
        except (BotoCoreError, OSError, ValueError):  # the last two from files that cannot be read, or are none
            raise AttemptError(_NOT_REACHED) from None
        return AccessKeys(found.access_key, found.secret_key, found.token)


class RoleSigner:
    """Signs with the machine's own keys."""

    __slots__ = ("_machine", "_region", "_source")

    def __init__(self, region: str, machine: MachineKeys | None = None) -> None:
        load()
        self._region = region
        self._machine = machine or MachineKeys()
        self._source = TokenSource(self._fetch)

    def __repr__(self) -> str:
        return f"<RoleSigner in {self._region}: {self._source!r}>"

    @property
    def hidden(self) -> tuple[str, ...]:
        """The texts of the present keys and of those before."""
        return tuple(text for known in self._source.hidden for text in _keys(known).hidden)

    async def sign(self, request: UpstreamRequest, transport: Transport) -> UpstreamRequest:
        """Return `request` signed; raise AttemptError if there are no keys."""
        return await signed(request, _keys(await self._source.token(transport)), self._region)

    def rejected(self, request: UpstreamRequest) -> None:
        """Do nothing: botocore is asked every few minutes, and knows itself when keys end."""

    def close(self) -> None:
        """Ask for no keys any more."""
        self._source.close()

    async def _fetch(self, transport: Transport) -> AccessToken:  # noqa: ARG002  botocore brings its own
        keys = await in_own_thread(self._machine.find)
        text = msgspec.json.encode(_Found(keys.access_key, keys.secret_key, keys.token)).decode()
        return AccessToken(text, ASKED_AGAIN_S)


def _keys(text: str) -> AccessKeys:
    found = msgspec.json.decode(text, type=_Found)
    return AccessKeys(found.access_key, found.secret_key, found.token)
