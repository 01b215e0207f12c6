"""A server on loopback that says exactly what a test tells it to, and counts what reached it."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Speak = Callable[["Peer"], Awaitable[None]]


@dataclass
class Peer:
    """One connection, from the server's side."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int
    wire: "Wire"

    async def request(self) -> bytes:
        """Read one request: its head and as many bytes of body as it announces."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        body = b""
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                body = await self.reader.readexactly(int(line.split(b":")[1]))
            elif line.startswith(b"transfer-encoding: chunked"):
                body = await self.reader.readuntil(b"0\r\n\r\n")
        self.wire.requests.append(head + body)
        self.wire.asked.set()
        return head + body

    async def say(self, text: bytes) -> None:
        self.writer.write(text)
        await self.writer.drain()

    def reset(self) -> None:
        """Close with RST instead of FIN, as a killed process with unread input does."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass
class Wire:
    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


@asynccontextmanager
async def serving(
    speak: Speak, *, path: str | None = None, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Wire]:
    """Serve each connection with `speak` until the block ends."""
    wire, tasks = Wire(), set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire.connections += 1
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        try:
            await speak(Peer(reader, writer, wire.connections, wire))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client went away, as many tests want it to
        finally:
            writer.close()

    if path:
        server = await asyncio.start_unix_server(serve, path)
    else:
        server = await asyncio.start_server(serve, host, 0, ssl=tls)
        wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def answer(body: bytes = b"ok", *, status: str = "200 OK", headers: tuple[str, ...] = ()) -> Speak:
    """Answer every request of a connection alike."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}"]
    text = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body

    async def speak(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.say(text)

    return speak
