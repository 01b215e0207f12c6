"""The embedded agent inside this process: its own server on a private socket, reached by the very same client."""

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import uvicorn

from bridge.agent.server.app import create_app
from bridge.agent.server.attachments import Attachments
from bridge.agent.server.chat import Chat
from bridge.agent.server.demo import Demo
from bridge.agent.server.desk import Agent
from bridge.agent.server.function import load_function
from bridge.agent.server.runs import Keep
from bridge.clock import Clock
from bridge.egress import open_client
from bridge.errors import ConfigError
from bridge.options import EmbeddedAgent
from bridge.serving import QuietServer
from bridge.store.database import Store
from bridge.store.embedded import EmbeddedRows
from bridge.store.embedded_backlog import EmbeddedBacklog

BASE_URL = "http://embedded-agent"


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """How to reach it."""

    http: httpx2.AsyncClient
    base_url: str
    api_key: str
    pages: Sequence[Any]
    """What people have to reach themselves: login links."""


@asynccontextmanager
async def embedded_server(
    options: Mapping[str, EmbeddedAgent],
    store: Store,
    clock: Clock,
    *,
    public_url: str,
    http: httpx2.AsyncClient,
    attach: Attachments,
    keep: Keep,
) -> AsyncIterator[EmbeddedServer]:
    """Serve these agents until the block ends. The socket's folder and the key are this process's alone.

    A socket and not an ASGI transport: that one buffers whole responses, so it cannot carry a stream.
    """
    api_key = secrets.token_urlsafe(32)
    agents = {name: agent_from(name, option, http) for name, option in options.items()}
    asgi = create_app(
        rows=EmbeddedRows(store),
        backlog=EmbeddedBacklog(store),
        agents=agents,
        api_keys=[api_key],
        clock=clock,
        public_url=public_url,
        attach=attach,
        keep=keep,
    )
    with tempfile.TemporaryDirectory(prefix="agent-bridge-") as folder:
        socket_path = str(Path(folder) / "agent.sock")
        config = uvicorn.Config(
            asgi,
            uds=socket_path,
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
        server = QuietServer(config)
        serving = asyncio.create_task(server.serve(), name="embedded agent")
        try:
            while not server.started:
                await asyncio.sleep(0.005)
                if serving.done():
                    await serving
            async with open_client(socket_path=socket_path) as own:
                yield EmbeddedServer(own, BASE_URL, api_key, asgi.state.public_routes)
        finally:
            server.should_exit = True
            await serving


def agent_from(name: str, options: EmbeddedAgent, http: httpx2.AsyncClient) -> Agent:
    """The agent a table of the configuration describes. Raises ConfigError with what is missing."""
    return _AGENTS[options.brain](name, options, http)


def _demo(name: str, _: EmbeddedAgent, __: httpx2.AsyncClient) -> Agent:
    return Agent(name=name, brain=Demo())


def _openai(name: str, options: EmbeddedAgent, http: httpx2.AsyncClient) -> Agent:
    if options.base_url is None or options.model is None:
        missing = "base_url" if options.base_url is None else "model"
        example = '"https://api.openai.com/v1"' if missing == "base_url" else '"gpt-5"'
        raise ConfigError([f'agents.{name}.{missing}: is required with brain = "openai"; for example {example}'])
    key = options.api_key.get_secret_value() if options.api_key else ""
    brain = Chat(http, base_url=options.base_url, api_key=key, model=options.model, instructions=options.instructions)
    return Agent(name=name, brain=brain, model=options.model)


def _python(name: str, options: EmbeddedAgent, _: httpx2.AsyncClient) -> Agent:
    if options.function is None:
        raise ConfigError([f'agents.{name}.function: is required with brain = "python"; for example "my.agent:answer"'])
    try:
        return Agent(name=name, brain=load_function(options.function), model=options.function)
    except ConfigError as error:
        raise ConfigError([f"agents.{name}.function: {problem}" for problem in error.problems]) from error


_AGENTS = {"demo": _demo, "openai": _openai, "python": _python}
