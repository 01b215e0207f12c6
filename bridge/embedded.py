"""The embedded agent inside this process: its own server on a private socket, reached by the very same client."""

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import uvicorn

from bridge.agent.server.app import create_app
from bridge.agent.server.demo import Demo
from bridge.agent.server.desk import Agent
from bridge.clock import Clock
from bridge.egress import open_client
from bridge.errors import ConfigError
from bridge.options import EmbeddedAgent
from bridge.serving import QuietServer
from bridge.store.database import Store
from bridge.store.embedded import EmbeddedRows

BASE_URL = "http://embedded-agent"


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """How to reach it."""

    http: httpx2.AsyncClient
    base_url: str
    api_key: str


@asynccontextmanager
async def embedded_server(
    options: Mapping[str, EmbeddedAgent], store: Store, clock: Clock, *, public_url: str
) -> AsyncIterator[EmbeddedServer]:
    """Serve these agents until the block ends. The socket's folder and the key are this process's alone.

    A socket and not an ASGI transport: that one buffers whole responses, so it cannot carry a stream.
    """
    api_key = secrets.token_urlsafe(32)
    agents = {name: agent_from(name, option) for name, option in options.items()}
    asgi = create_app(rows=EmbeddedRows(store), agents=agents, api_keys=[api_key], clock=clock, public_url=public_url)
    with tempfile.TemporaryDirectory(prefix="agent-bridge-") as folder:
        socket_path = str(Path(folder) / "agent.sock")
        config = uvicorn.Config(
            asgi, uds=socket_path, lifespan="on", log_config=None, access_log=False, timeout_graceful_shutdown=1
        )
        server = QuietServer(config)
        serving = asyncio.create_task(server.serve(), name="embedded agent")
        try:
            while not server.started:
                await asyncio.sleep(0.005)
                if serving.done():
                    await serving
            async with open_client(socket_path=socket_path) as http:
                yield EmbeddedServer(http, BASE_URL, api_key)
        finally:
            server.should_exit = True
            await serving


def agent_from(name: str, options: EmbeddedAgent) -> Agent:
    """The agent a table of the configuration describes. Raises ConfigError."""
    if options.brain == "demo":
        return Agent(name=name, brain=Demo())
    raise ConfigError([f'agents.{name}.brain: {options.brain!r} is not there; use brain = "demo".'])
