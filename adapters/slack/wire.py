"""The bridge's own connections, in the form in which slack_sdk takes a session."""

import json
from types import TracebackType
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp

from bridge.egress import Answer, Exchange

_LIMITS: Final = {"connect": 10.0, "pool": 30.0, "read": 30.0, "write": 30.0}
_encoded = json.JSONEncoder(separators=(",", ":")).encode
_OWN: Final = frozenset({"headers", "params", "json"})


class Wire:
    """What AsyncWebClient asks of its session: `request` and `closed`.

    A call with JSON or a query, which is nearly every one, goes by the short way (a whole turn costs a tenth less,
    measured); one with a form, a file or a proxy by aiohttp's.
    """

    def __init__(self, exchange: Exchange, pool: aiohttp.ClientSession) -> None:
        self._exchange = exchange
        self.pool = pool

    @property
    def closed(self) -> bool:
        """Whether another one is needed."""
        return self.pool.closed

    def request(self, verb: str, url: str, **given: Any) -> Any:
        """An asynchronous context manager that gives the response. Raises httpx2's errors, or aiohttp's."""
        given = {name: value for name, value in given.items() if value is not None}
        if given.keys() - _OWN:
            return self.pool.request(verb, url, **given)
        return _Call(self._exchange, verb, url, given)


class _Call:
    def __init__(self, exchange: Exchange, verb: str, url: str, given: dict[str, Any]) -> None:
        self._exchange = exchange
        self._verb = verb
        self._url = f"{url}?{urlencode(given['params'])}" if given.get("params") else url
        self._headers = given.get("headers", {})
        self._content = _encoded(given["json"]).encode() if "json" in given else None

    async def __aenter__(self) -> "_Response":
        answer = await self._exchange(
            self._verb, self._url, headers=self._headers, content=self._content, seconds=_LIMITS
        )
        try:
            return _Response(answer, b"".join([chunk async for chunk in answer.chunks]))
        finally:
            await answer.aclose()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class _Response:
    """As much of aiohttp's as slack_sdk looks at."""

    def __init__(self, answer: Answer, body: bytes) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self._body = body

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def read(self) -> bytes:
        return self._body

    async def text(self) -> str:
        return self._body.decode(errors="replace")

    async def json(self) -> Any:
        """Raises JSONDecodeError, whatever the type of the content says: a gateway's page is no answer of Slack."""
        return json.loads(await self.text())
