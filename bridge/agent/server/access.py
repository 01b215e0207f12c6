"""Who may come in, how much they may bring, and how a refusal looks: `{"detail": …}` throughout."""

import hmac
import re
from collections.abc import Sequence
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from bridge.agent.server.tasks import encoded

_OPEN: Final = re.compile(r"/health|/v1/health|/openapi\.json|/demo/login/[^/]+")
"""Paths that need no key, as a whole: `/health/…` could be an organization's. A login link is its own secret."""


class Access:
    """Lets nothing through that does not show one of the API keys in `x-api-key`."""

    def __init__(self, app: ASGIApp, *, api_keys: Sequence[str]) -> None:
        assert all(api_keys) and api_keys, "an agent server needs at least one API key"  # noqa: PT018 - wiring
        self._app = app
        self._keys = [key.encode() for key in api_keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _OPEN.fullmatch(scope["path"]):
            given = next((value for name, value in scope["headers"] if name == b"x-api-key"), None)
            if given is None or not self._knows(given):
                detail = "API key not specified" if given is None else "Invalid API key"
                await refusal(401, detail)(scope, receive, send)
                return
            if scope["path"].startswith("//"):  # a base address with a trailing slash makes the SDK ask so
                scope = {**scope, "path": "/" + scope["path"].lstrip("/")}
        await self._app(scope, receive, send)

    def _knows(self, given: bytes) -> bool:
        """Compares with every key, each in constant time, so that the time taken tells nothing."""
        return any([hmac.compare_digest(given, key) for key in self._keys])  # noqa: C419 - no early exit


class Shown(JSONResponse):
    """A JSON answer, by the encoder that events are written with."""

    def render(self, content: Any) -> bytes:
        """As bytes for the wire."""
        return encoded(content)


def refusal(status: int, detail: Any, *, after: int | None = None) -> Response:
    """An answer that says why not."""
    headers = {} if after is None else {"retry-after": str(after)}
    return JSONResponse({"detail": detail}, status, headers=headers)


async def refuse(_: Request, error: Exception) -> Response:
    """Starlette's own refusals (unknown path, wrong method), in the same form."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"detail": error.detail}, error.status_code, headers=error.headers)


async def body_of(request: Request, most: int) -> bytes:
    """The whole body. Raises HTTPException 413 as soon as it is known to be larger than `most` bytes."""
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > most:
        raise HTTPException(413, f"The body is larger than {most} bytes.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise HTTPException(413, f"The body is larger than {most} bytes.")
    return bytes(body)
