"""The one HTTP client: httpx2's API over aiohttp's connections, with the guard where it dials.

aiohttp's pool carries about seven times the requests of httpx2's own at fifty in flight (measured).
"""

from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import version
from typing import Final

import httpx2
from aiohttp.abc import AbstractResolver

from bridge.addresses import Guard
from bridge.gate import Gate
from bridge.transport import ResponseTooLarge, Transport

__all__ = ["NEVER_SENT", "Guard", "ResponseTooLarge", "open_client"]

NEVER_SENT: Final = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.UnsupportedProtocol,
    httpx2.LocalProtocolError,
)
"""No byte of the request left, so it may be made again. Every other TransportError is ambiguous.

For GET, HEAD, OPTIONS, TRACE, PUT and DELETE, which aiohttp repeats once by itself on a connection
that turned out to be dead (RFC 9110 9.2.2), it speaks of the last try only.
"""


def open_client(
    *,
    guard: Guard | None = None,
    resolver: AbstractResolver | None = None,
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
    headers = {"User-Agent": f"agent-bridge/{version('agent-bridge')}"}
    if guard:
        headers["Accept-Encoding"] = "identity"  # a few bytes of gzip can become gigabytes, past any cap
    return httpx2.AsyncClient(
        transport=Transport(
            gate=Gate(guard) if guard else None,
            resolver=resolver,
            socket_path=socket_path,
            max_connections=max_connections,
        ),
        timeout=timeout,
        headers=headers,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        follow_redirects=False,
        trust_env=False,
    )
