"""What an adapter is given, from plain values: a clock that tests advance, stores in dicts, a wire in a function."""

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import httpx2

from bridge.adapter import Kit
from bridge.errors import TooLarge
from bridge.model import FileRef
from bridge.tokens import Tokens

R = TypeVar("R")
Wire = Callable[[httpx2.Request], httpx2.Response]


class FakeClock:
    """Stands still until a test moves it."""

    def __init__(self, now: datetime = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


class DictVault:
    """A vault whose values live as long as the test."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[bytes, int]] = {}

    async def get(self, name: str) -> tuple[bytes, int] | None:
        return self._values.get(name)

    async def put(
        self,
        name: str,
        value: bytes,
        *,
        version: int | None,
        keep: timedelta | None = None,
        conversation_id: str | None = None,
    ) -> bool:
        assert conversation_id is None or conversation_id.startswith("cnv_"), "what goes along with a conversation"
        assert keep is None or keep > timedelta(0), "what is put is wanted for a while at least"
        stored = self._values.get(name)
        if (stored[1] if stored else None) != version:
            return False
        self._values[name] = (value, (version or 0) + 1)
        return True

    async def delete(self, name: str) -> None:
        self._values.pop(name, None)

    async def names(self, prefix: str = "") -> Sequence[str]:
        return sorted(name for name in self._values if name.startswith(prefix))


class DictFiles:
    """Files kept by their content."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.max_bytes = 1 << 30

    async def store(self, name: str, media_type: str | None, content: bytes, *, origin: str) -> FileRef:
        assert origin, "every file says where it came from"
        if len(content) > self.max_bytes:
            raise TooLarge(f"The file {name} is too large.")
        url = f"file:fil_{hashlib.sha256(content).hexdigest()[:12]}"
        self.contents[url] = content
        return FileRef(url=url, name=name, media_type=media_type, size=len(content))

    async def load(self, ref: FileRef) -> bytes:
        return self.contents[ref.url]

    def link(self, ref: FileRef, lifetime: timedelta) -> str:
        return f"https://bridge.example.com/files/{ref.url.partition(':')[2]}-{lifetime.days}/{ref.name}"


class SameProcess:
    """Runs at once; nothing in these tests is hostile enough for a process of its own."""

    async def run(self, function: Callable[..., R], *args: object, seconds: float) -> R:
        assert seconds > 0, "a limit is always given"
        return function(*args)


def nobody_answers(request: httpx2.Request) -> httpx2.Response:
    raise httpx2.ConnectError("connection refused", request=request)


@asynccontextmanager
async def open_kit(
    source: str = "acme", *, wire: Wire = nobody_answers, clock: FakeClock | None = None, max_body: int = 1 << 20
) -> AsyncIterator[Kit]:

    def streamed(request: httpx2.Request) -> httpx2.Response:
        answer = wire(request)  # handed on as a stream, as a real connection does
        return httpx2.Response(answer.status_code, headers=answer.headers, stream=httpx2.ByteStream(answer.content))

    async with (
        httpx2.AsyncClient(transport=httpx2.MockTransport(streamed)) as http,
        httpx2.AsyncClient(transport=httpx2.MockTransport(streamed)) as guarded_http,
    ):
        yield Kit(
            source=source,
            public_url=f"https://hooks.example.com/in/{source}",
            http=http,
            guarded_http=guarded_http,
            clock=clock or FakeClock(),
            tokens=Tokens(["a-key-of-the-tests"]),
            vault=DictVault(),
            files=DictFiles(),
            cpu=SameProcess(),
            max_body=max_body,
            options={},
        )
