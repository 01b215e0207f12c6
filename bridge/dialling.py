"""Finds a connection: one that is open already, or a new one, with the guard where it dials."""

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Protocol, TypeAlias

import httpx2
from aiohappyeyeballs import AddrInfoType, SocketFactoryType, start_connection

from bridge.http1 import Connection

KEEP_SECONDS: Final = 4.0
"""Below the five seconds after which common servers close: whoever closes second never writes into the void."""
_NEXT_ADDRESS_SECONDS: Final = 0.25
"""After so long without a connection the next address is tried beside it (RFC 8305)."""

_SIX: Final = 6

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[AddrInfoType]]]
"""Looks a name up. Raises OSError where it has no address."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections of one kind lead."""

    scheme: str
    host: str
    port: int


class Dials(Protocol):
    """Opens connections. Raises ConnectError and ConnectTimeout, with no byte of a request sent."""

    async def __call__(
        self, origin: Origin, seconds: float | None, factory: SocketFactoryType | None
    ) -> Connection: ...


class Pool:
    """Open connections, the idle ones by their origin."""

    def __init__(self) -> None:
        self._open: set[Connection] = set()
        self._idle: dict[Origin, list[Connection]] = {}
        self._sweep: asyncio.TimerHandle | None = None

    def take(self, origin: Origin) -> Connection | None:
        """The one used last: it is the least likely to be closed at the other end."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if _is_fresh(connection):
                return connection
            connection.close()
        return None

    def add(self, connection: Connection) -> None:
        """A new one, in use."""
        self._open.add(connection)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(KEEP_SECONDS, self._close_old)

    def give(self, origin: Origin, connection: Connection) -> None:
        """One that is no longer in use; what cannot serve again is closed."""
        if connection.is_idle:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.setdefault(origin, []).append(connection)
        else:
            connection.close()

    async def close(self) -> None:
        """All of them; returns when their sockets are gone."""
        if self._sweep:
            self._sweep.cancel()
            self._sweep = None
        for connection in self._open:
            connection.close()
        for connection in self._open:
            await connection.gone()
        self._open.clear()
        self._idle.clear()

    def _close_old(self) -> None:
        for origin, connections in list(self._idle.items()):
            kept = [one for one in connections if _is_fresh(one)]
            for connection in set(connections).difference(kept):
                connection.close()
            if kept:
                self._idle[origin] = kept
            else:
                del self._idle[origin]
        self._open = {one for one in self._open if not one.is_gone}
        loop = asyncio.get_running_loop()
        self._sweep = loop.call_later(KEEP_SECONDS, self._close_old) if self._open else None


def _is_fresh(connection: Connection) -> bool:
    return connection.is_open and asyncio.get_running_loop().time() - connection.idle_since < KEEP_SECONDS


class Network:
    """Dials over TCP, and TLS for https."""

    def __init__(self, resolve: Resolve | None) -> None:
        self._resolve = resolve or look_up

    @functools.cached_property
    def _trusted(self) -> ssl.SSLContext:
        """The machine's trust store, or SSL_CERT_FILE."""
        return httpx2.create_ssl_context()

    async def __call__(self, origin: Origin, seconds: float | None, factory: SocketFactoryType | None) -> Connection:
        with _failures(origin):
            async with asyncio.timeout(seconds):
                infos = await self._resolve(origin.host, origin.port)
                opened = await start_connection(
                    infos, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS, socket_factory=factory
                )
                return await self._spoken(origin, opened)

    async def _spoken(self, origin: Origin, opened: socket.socket) -> Connection:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        secure = origin.scheme == "https"
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                Connection,
                sock=opened,
                ssl=self._trusted if secure else None,
                server_hostname=origin.host.rstrip(".") if secure else None,
            )
        except BaseException:
            opened.close()
            raise
        return connection


class Local:
    """Dials one Unix socket, whatever the origin."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def __call__(self, origin: Origin, seconds: float | None, factory: SocketFactoryType | None) -> Connection:  # noqa: ARG002 - nothing to guard
        with _failures(origin):
            async with asyncio.timeout(seconds):
                _, connection = await asyncio.get_running_loop().create_unix_connection(Connection, self._path)
        return connection


@contextlib.contextmanager
def _failures(origin: Origin) -> Iterator[None]:
    """All that goes wrong before the first byte, under its right name."""
    try:
        yield
    except TimeoutError as error:
        raise httpx2.ConnectTimeout(f"{origin.host} did not answer in time.") from error
    except (OSError, ValueError) as error:  # ValueError: what no name or certificate can be
        raise httpx2.ConnectError(f"{origin.host}, port {origin.port}: {error}") from error


async def look_up(host: str, port: int) -> Sequence[AddrInfoType]:
    """By the machine's own resolver; what is an address already needs none."""
    with contextlib.suppress(ValueError):
        kind = socket.AF_INET6 if ip_address(host).version == _SIX else socket.AF_INET
        return [(kind, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
