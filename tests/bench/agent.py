"""What the agent's client and server cost, against a bare aiohttp client and server in the same run.

    python -m tests.bench.agent [--seconds 2]

Prints one line per figure. The server under test commits every task twice, with its request, events and result. It is
compared with a bare one that keeps nothing, and with one that commits a row twice, which is the least a promise costs.
"""

import argparse
import asyncio
import gc
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from queue import SimpleQueue

import aiohttp
import httpx2
from aiohttp import web

from bridge.agent.backend import Backend, Mode
from bridge.agent.request import InvokeRequest
from bridge.agent.sse import read_events
from bridge.egress import open_client
from tests.agent.process import AgentProcess
from tests.bench.table import Table, row
from tests.bench.usage import resident_kib

CHUNKS = 2000
FRAGMENT = "some twenty characters"
IN_FLIGHT = 50
WAITING = 500

TASK = {
    "id": "t1",
    "agent_id": "demo",
    "organization_id": "o1",
    "status": "completed",
    "input": {"text": "hello", "files": []},
    "result": "You said: hello",
    "created_at": "2026-11-22T09:00:00Z",
    "source": "sdk",
}


def line(kind: str, data: object) -> bytes:
    event = {"type": kind, "task_id": "t1", "organization_id": "o1", "time": "2026-11-22T09:00:00Z", "data": data}
    return b"data: " + json.dumps(event).encode() + b"\n\n"


class Rows:
    """The least that keeps a promise: one thread, all that waits in one transaction, answered after its commit."""

    def __init__(self, path: Path) -> None:
        self._waiting: SimpleQueue[tuple[str, asyncio.Future[None]]] = SimpleQueue()
        self._path = path
        threading.Thread(target=self._write, daemon=True).start()

    async def commit(self, text: str) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put((text, done))
        await done

    def _write(self) -> None:
        with closing(sqlite3.connect(self._path)) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.execute("CREATE TABLE tasks (text)")
            while True:
                batch = [self._waiting.get()]
                while not self._waiting.empty() and len(batch) < 256:
                    batch.append(self._waiting.get())
                database.executemany("INSERT INTO tasks VALUES (?)", [(text,) for text, _ in batch])
                database.commit()
                for _, done in batch:
                    done.get_loop().call_soon_threadsafe(done.set_result, None)


def bare_app(folder: str) -> web.Application:
    rows = Rows(Path(folder) / "bare.db")

    async def kept(request: web.Request) -> web.Response:
        await rows.commit(json.dumps(await request.json()))
        await rows.commit(json.dumps(TASK))
        return web.json_response(TASK)

    async def kept_stream(request: web.Request) -> web.StreamResponse:
        await rows.commit(json.dumps(await request.json()))
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(line("task_created", TASK | {"status": "pending"}))
        await response.write(line("chunk", FRAGMENT))
        await rows.commit(json.dumps(TASK))
        await response.write(line("task_finished", TASK))
        return response

    async def invoke(request: web.Request) -> web.Response:
        await request.json()
        return web.json_response(TASK)

    async def stream(request: web.Request) -> web.StreamResponse:
        prompt = (await request.json())["input"]["text"]
        task = TASK | {"input": {"text": prompt, "files": []}}  # or it would be another turn's end, and waited on
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(line("task_created", task | {"status": "pending"}))
        if prompt == "wait":
            await asyncio.sleep(600)
        for _ in range(CHUNKS if prompt == "long" else 1):
            await response.write(line("chunk", FRAGMENT))
        await response.write(line("task_finished", task))
        return response

    async def pending(request: web.Request) -> web.Response:
        if request.can_read_body:
            await request.json()
        return web.json_response(TASK | {"status": "pending"})

    app = web.Application()
    app.router.add_post("/v1/agents/demo/invoke", invoke)
    app.router.add_post("/v1/agents/demo/invoke/stream", stream)
    app.router.add_post("/v1/agents/demo/invoke/async", pending)
    app.router.add_post("/v1/agents/kept/invoke", kept)
    app.router.add_post("/v1/agents/kept/invoke/stream", kept_stream)
    app.router.add_get("/v1/tasks/{id}", pending)
    return app


async def rate(call: Callable[[], Awaitable[object]], seconds: float) -> tuple[float, float]:
    """Calls a second with fifty in flight, and microseconds of this process's CPU for each."""
    done = 0
    until = time.perf_counter() + seconds

    async def again() -> None:
        nonlocal done
        while time.perf_counter() < until:
            await call()
            done += 1

    await call()
    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(again() for _ in range(IN_FLIGHT)))
    return done / (time.perf_counter() - started), (time.process_time() - cpu) / done * 1e6


def backend(http: httpx2.AsyncClient, address: str, mode: Mode) -> Backend:
    return Backend(
        http, base_url=address, api_key="key-1", agent_id="demo", mode=mode, poll_every=timedelta(seconds=600)
    )


async def finished(agent: Backend, prompt: str = "hello") -> None:
    task = await agent.invoke(InvokeRequest(prompt=prompt))
    async for _ in task.aevents():
        pass


async def compare_calls(session: aiohttp.ClientSession, http: httpx2.AsyncClient, address: str, seconds: float) -> None:
    body = {"input": {"text": "hello", "files": []}, "source": "sdk"}

    async def bare() -> None:
        async with session.post(f"{address}/v1/agents/demo/invoke", json=body) as response:
            json.loads(await response.read())

    async def bare_stream() -> None:
        async with session.post(f"{address}/v1/agents/demo/invoke/stream", json=body) as response:
            async for raw in response.content:
                if raw.startswith(b"data:"):
                    json.loads(raw[6:])

    kinds: list[tuple[str, Callable[[], Awaitable[None]], Mode]] = [
        ("sync", bare, "sync"),
        ("stream of one chunk", bare_stream, "stream"),
    ]
    for kind, bare_call, mode in kinds:
        ours = backend(http, address, mode)
        _, plain_cost = await rate(bare_call, seconds)
        calls, cost = await rate(lambda ours=ours: finished(ours), seconds)  # type: ignore[misc]  # mypy cannot type the default
        show(f"µs of CPU per call, {kind} ({calls:.0f}/s)", plain_cost, cost, "client", less_is_better=True)


async def compare_chunks(session: aiohttp.ClientSession, http: httpx2.AsyncClient, address: str) -> None:
    body = {"input": {"text": "long"}}
    started = time.process_time()
    async with session.post(f"{address}/v1/agents/demo/invoke/stream", json=body) as response:
        async for raw in response.content:
            if raw.startswith(b"data:"):
                json.loads(raw[6:])
    plain = time.process_time() - started
    started = time.process_time()
    await finished(backend(http, address, "stream"), "long")
    show("chunks per second of CPU", CHUNKS / plain, CHUNKS / (time.process_time() - started), "client")


async def compare_parsers() -> None:
    """httpx2's EventSource and ours, over the same bytes in pieces as a socket gives them."""
    content = line("chunk", FRAGMENT) * CHUNKS * 5
    pieces = [content[start : start + 65536] for start in range(0, len(content), 65536)]

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    response = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body())
    response.request = httpx2.Request("GET", "http://x")
    started = time.process_time()
    async for _ in httpx2.EventSource(response):
        pass
    theirs = time.process_time() - started
    started = time.process_time()
    async for _ in read_events(body()):
        pass
    ours = time.process_time() - started
    show("events per second of CPU, EventSource and ours", CHUNKS * 5 / theirs, CHUNKS * 5 / ours, "parser")


async def memory(http: httpx2.AsyncClient, address: str) -> None:
    """Kilobytes per task that waits; the second kind beside the first, since memory that was let go is used again."""
    waiting: list[asyncio.Task[None]] = []
    modes: tuple[Mode, ...] = ("poll", "stream")
    for mode in modes:
        gc.collect()
        before = resident_kib(os.getpid())
        waiting += [asyncio.create_task(finished(backend(http, address, mode), "wait")) for _ in range(WAITING)]
        await asyncio.sleep(3)
        row(f"client: KB per waiting task, {mode}", "", f"{(resident_kib(os.getpid()) - before) / WAITING:.1f}", "")
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class Server:
    """One under comparison."""

    address: str
    pid: int
    agent: str = "demo"

    def cpu(self) -> float:
        """Seconds of processor time it has used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def compare_servers(session: aiohttp.ClientSession, bare: Server, embedded: Server, seconds: float) -> None:
    """By processor time for each task, since what else runs on the machine would decide a rate."""

    async def cost(server: Server, kind: str) -> float:
        done = 0

        async def call() -> None:
            nonlocal done
            url, headers = f"{server.address}/v1/agents/{server.agent}/invoke{kind}", {"x-api-key": "key-1"}
            async with session.post(url, json={"input": {"text": "hello"}}, headers=headers) as response:
                assert response.status == 200, await response.text()
                await response.read()
            done += 1

        before = server.cpu()
        await rate(call, seconds)
        return (server.cpu() - before) / done * 1e6

    for kind in ("", "/stream"):
        plain, ours = await cost(bare, kind), await cost(embedded, kind)
        kept = await cost(replace(bare, agent="kept"), kind)
        what = f"µs of CPU per task{kind and ', stream'}"
        show(what, plain, ours, "server", less_is_better=True)
        show(f"{what}, bare with two commits", kept, ours, "server", less_is_better=True)


def show(what: str, plain: float, ours: float, side: str, *, less_is_better: bool = False) -> None:
    overhead = ours / plain if less_is_better else plain / ours
    row(f"{side}: {what}", f"{plain:.0f}", f"{ours:.0f}", f"{overhead:.2f} times")


@contextmanager
def process(*arguments: str) -> Iterator[Server]:
    with subprocess.Popen([sys.executable, "-m", *arguments], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield Server(server.stdout.readline().strip(), server.pid)
        finally:
            server.terminate()


async def main(seconds: float) -> None:
    Table("what", "bare", "ours", "overhead")
    connector = aiohttp.TCPConnector(limit=0)
    with tempfile.TemporaryDirectory() as folder, process("tests.bench.agent", "--serve") as server:
        embedded = AgentProcess(Path(folder) / "agent.db")
        async with aiohttp.ClientSession(connector=connector) as session, open_client() as http:
            await compare_calls(session, http, server.address, seconds)
            await compare_chunks(session, http, server.address)
            await compare_parsers()
            await memory(http, server.address)
            await embedded.start()
            await compare_servers(session, server, Server(embedded.address, embedded.pid), seconds)
            await embedded.terminate()


async def serve(folder: str) -> None:
    runner = web.AppRunner(bare_app(folder), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    cli = argparse.ArgumentParser()
    cli.add_argument("--seconds", type=float, default=2.0)
    cli.add_argument("--serve", action="store_true")
    options = cli.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        asyncio.run(serve(scratch) if options.serve else main(options.seconds))
