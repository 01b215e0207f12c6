"""The embedded agent as a service of its own: `agent-bridge agent`."""

import asyncio
from contextlib import AsyncExitStack
from typing import Annotated

import structlog
from pydantic import Field, ValidationError

from bridge.addresses import Guard
from bridge.agent.server.app import create_app
from bridge.agent.server.attachments import Attachments
from bridge.clock import SystemClock
from bridge.cpu import Workers
from bridge.egress import open_client
from bridge.embedded import agent_from
from bridge.errors import ConfigError
from bridge.options import EmbeddedAgent, FunctionName, Options
from bridge.places import DatabaseUrl, ListenAddress
from bridge.problems import problems_of
from bridge.serving import listen
from bridge.store.database import Store
from bridge.store.embedded import EmbeddedRows
from bridge.store.embedded_backlog import EmbeddedBacklog
from bridge.store.migrations import migrate

log = structlog.get_logger()


class Standalone(Options):
    """What the command line says."""

    listen: ListenAddress = Field(examples=["127.0.0.1:8090"])
    api_key: tuple[Annotated[str, Field(min_length=1)], ...]
    database: DatabaseUrl = Field(examples=["sqlite:///data/agent.db"])
    agent_id: str = Field(pattern=r"^[A-Za-z0-9._~-]+$", examples=["demo"])
    """It is part of an address."""
    function: FunctionName | None = Field(default=None, examples=["package.module:function"])

    @property
    def brain(self) -> EmbeddedAgent:
        """The agent's own options."""
        return EmbeddedAgent(kind="embedded", brain="python" if self.function else "demo", function=self.function)


def standalone(**words: object) -> Standalone:
    """The options of the command, checked. Raises ConfigError."""
    try:
        return Standalone.model_validate(words)
    except ValidationError as error:
        found = problems_of(error, Standalone, words, ())
        raise ConfigError([f"--{problem}".replace("_", "-", 1) for problem in found]) from None


async def serve(options: Standalone) -> None:
    """Run until SIGTERM. What was at work is taken up again at the next start."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        store = Store.open(options.database, clock)
        stack.push_async_callback(store.close)
        await asyncio.to_thread(migrate, store.engine)
        http = await stack.enter_async_context(open_client())
        guarded = await stack.enter_async_context(open_client(guard=Guard()))
        workers = Workers()
        stack.push_async_callback(workers.aclose)
        asgi = create_app(
            rows=EmbeddedRows(store),
            backlog=EmbeddedBacklog(store),
            agents={options.agent_id: agent_from(options.agent_id, options.brain, http)},
            api_keys=options.api_key,
            clock=clock,
            public_url=f"http://{options.listen}",
            attach=Attachments(guarded, workers),
        )
        async with asgi.router.lifespan_context(asgi):
            log.info("serving", listen=str(options.listen), agent=options.agent_id)
            await listen(asgi, *options.listen)
