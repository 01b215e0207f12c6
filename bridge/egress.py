"""The one HTTP client: httpx2's API over connections of our own, with the guard where it dials.

A call costs a quarter of aiohttp's processor time, and aiohttp's a seventh of httpx2's own at fifty in flight
(measured); and every failure says whether the request had left.
"""

from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import version
from typing import Final, Protocol

import httpx2

from bridge.addresses import Guard
from bridge.dialling import Local, Network, Resolve
from bridge.gate import Gate
from bridge.transport import Answer, ResponseTooLarge, Seconds, Transport

__all__ = ["NEVER_SENT", "USER_AGENT", "Answer", "Exchange", "Guard", "ResponseTooLarge", "exchange_of", "open_client"]

USER_AGENT: Final = f"agent-bridge/{version('agent-bridge')}"
NEVER_SENT: Final = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.UnsupportedProtocol,
    httpx2.LocalProtocolError,
)
"""No byte of the request left, so it may be made again. Every other TransportError is ambiguous.

For GET, HEAD, OPTIONS, TRACE, PUT and DELETE, which are repeated once where an idle connection turned out to be
dead (RFC 9110 9.2.2), it speaks of the last try only.
"""


class Exchange(Protocol):
    """One request, sent as it is given, and its answer as it comes. Raises httpx2's errors."""

    async def __call__(
        self, method: str, address: str, *, headers: Mapping[str, str], content: bytes | None, seconds: Seconds
    ) -> Answer: ...


class EgressClient(httpx2.AsyncClient):
    """What `open_client` opens; `exchange` is its short way past httpx2's objects."""

    def __init__(self, transport: Transport, *, timeout: httpx2.Timeout | float, headers: Mapping[str, str]) -> None:
        super().__init__(
            transport=transport,
            timeout=timeout,
            headers=headers,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            follow_redirects=False,
            trust_env=False,
        )
        self.exchange: Exchange = transport.exchange


def exchange_of(http: httpx2.AsyncClient) -> Exchange:
    """The short way where the client has one, else the same over whatever client it is."""
    if isinstance(http, EgressClient):
        return http.exchange

    async def exchange(
        method: str, address: str, *, headers: Mapping[str, str], content: bytes | None, seconds: Seconds
    ) -> Answer:
        request = httpx2.Request(method, address, headers=headers, content=content, extensions={"timeout": seconds})
        response = await http.send(request, stream=True, follow_redirects=False)
        return Answer(response.status_code, response.headers.raw, response.aiter_bytes(), response.aclose)

    return exchange


def open_client(
    *,
    guard: Guard | None = None,
    resolve: Resolve | None = None,
    socket_path: str | None = None,
    timeout: httpx2.Timeout | float = 30.0,
    max_connections: int = 1000,
) -> httpx2.AsyncClient:
    """A client without cookies, redirects or proxies from the environment; close it with `aclose`.

    With a guard: https or a permitted private address only, no user in the URL, a cap on the answer
    and on the time of the whole exchange (one request may ask for others with the extensions
    `max_response_bytes` and `deadline_seconds`), and every address is checked when it is dialled.
    A refusal raises Denied before any byte is sent.
    With `socket_path`, every request goes to that Unix socket, whatever its host.
    """
    headers = {"User-Agent": USER_AGENT}
    if guard:
        headers["Accept-Encoding"] = "identity"  # a few bytes of gzip can become gigabytes, past any cap
    transport = Transport(
        gate=Gate(guard) if guard else None,
        dial=Local(socket_path) if socket_path else Network(resolve),
        max_connections=max_connections,
    )
    return EgressClient(transport, timeout=timeout, headers=headers)
