"""Who may reach the ports: what is open to everybody is for this machine alone, unless somebody says otherwise.

Asked at the start, and of every document that is to be published: a reload must not open what the start kept shut.
"""

from __future__ import annotations

from dataclasses import dataclass

from trunkline_server.config.fields import is_loopback
from trunkline_server.config.findings import Finding, InvalidRoutesError
from trunkline_server.config.model import RoutesDocument
from trunkline_server.rpc.listen import split_address
from trunkline_server.telemetry.logs import Log


@dataclass(frozen=True, slots=True)
class Doors:
    """The ports of a process as others see them."""

    listen: str
    """`HOST:PORT` for callers."""
    admin_listen: str
    """`HOST:PORT` for operators."""
    insecure_open: bool = False
    """Serve everybody beyond loopback although no callers are configured."""
    tls: bool = False
    """Whether both ports are encrypted."""
    client_ca: bool = False
    """Whether clients show certificates."""

    def check_addresses(self) -> None:
        """Raise ListenError for what is no address."""
        split_address(self.listen)
        split_address(self.admin_listen)

    def check(self, document: RoutesDocument) -> None:
        """Raise InvalidRoutesError for a document that would open a port to whoever reaches it from elsewhere."""
        found = []
        if not document.callers and not self.insecure_open and not _is_local(self.listen):
            found.append(
                Finding(
                    "error",
                    "callers",
                    None,
                    "open_beyond_loopback",
                    f"there are none, so whoever reaches --listen {self.listen} could use the keys: add callers, "
                    "listen on loopback (127.0.0.1), or say --insecure-open",
                )
            )
        if not document.admins and not _is_local(self.admin_listen):
            found.append(
                Finding(
                    "error",
                    "admins",
                    None,
                    "admin_beyond_loopback",
                    f"there are none, so whoever reaches --admin-listen {self.admin_listen} could change the routes: "
                    "add admins, or listen on loopback (127.0.0.1)",
                )
            )
        if found:
            raise InvalidRoutesError(found)

    def say(self, document: RoutesDocument, log: Log) -> None:
        """Warn of what is open, travels in the clear, or can never be known."""
        if not document.callers:
            log.warning("open", port="listen", meaning="no callers in the routes: whoever reaches the port may call")
        if not document.admins:
            log.warning("open", port="admin", meaning="no admins in the routes: it answers on loopback only")
        for port, address in (("listen", self.listen), ("admin", self.admin_listen)):
            if not self.tls and not _is_local(address):
                log.warning(
                    "plaintext", port=port, meaning="tokens and prompts travel in the clear: see --tls-cert, --tls-key"
                )
        nameless = [caller.id for caller in document.callers if caller.token_sha256 is None]
        nameless += [admin.id for admin in document.admins if admin.token_sha256 is None]
        if nameless and not self.client_ca:
            meaning = "they are known by certificates only, which --tls-client-ca asks for"
            log.warning("no_client_ca", ids=nameless, meaning=meaning)


def _is_local(listen: str) -> bool:
    return is_loopback(split_address(listen)[0])
