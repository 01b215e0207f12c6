"""The guard at work: it sees every URL before it is used and every address before it is dialled."""

import errno
import socket
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

import httpx2
import structlog
from aiohappyeyeballs import AddrInfoType

from bridge.addresses import Guard
from bridge.errors import Denied

_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
log = structlog.get_logger()


@dataclass(slots=True)
class Dial:
    """What the dialling of one request is about, and what came of it."""

    host: str
    scheme: str
    refusal: str | None = None
    """Why an address of the host was refused; set while dialling."""


class Gate:
    """Applies a Guard. One for each client."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard

    def admit(self, url: httpx2.URL) -> Dial:
        """Refuse what needs no lookup to be refused. Raises Denied."""
        port = url.port or _DEFAULT_PORTS.get(url.scheme, 0)
        refusal = None
        if url.scheme not in _DEFAULT_PORTS:
            refusal = f"{url.scheme or 'no scheme'} is not https"
        elif not url.host:
            refusal = "it names no host"
        elif url.userinfo:
            refusal = "it carries a user or a password"
        elif self.guard.allow_ports is not None and port not in self.guard.allow_ports:
            refusal = f"port {port} is not among the allowed ones"
        if refusal:
            _log(url.host, None, refusal)
            raise denied(refusal)
        return Dial(url.host.lower().rstrip("."), url.scheme)

    def open_socket(self, dial: Dial, info: AddrInfoType) -> socket.socket:
        """Names and literals alike come by here, with the very address that is about to be dialled.

        Raises PermissionError, and the next address is tried as after any OSError; `Dial.refusal` tells why.
        """
        family, kind, protocol, _, where = info
        address = str(where[0])
        refusal = self.guard.refusal(ip_address(address), host=dial.host, scheme=dial.scheme)
        _log(dial.host, address, refusal)
        if refusal:
            dial.refusal = f"{dial.host} is at {address}, which is {refusal}"
            raise PermissionError(errno.EACCES, dial.refusal)
        return socket.socket(family=family, type=kind, proto=protocol)


def denied(refusal: str) -> Denied:
    """The error for a refusal."""
    return Denied(f"The egress policy does not allow this address: {refusal}.")


def _log(host: str, address: str | None, refusal: str | None) -> None:
    if refusal:
        log.warning("egress_denied", host=host, address=address, reason=refusal)
    else:
        log.debug("egress_allowed", host=host, address=address)
