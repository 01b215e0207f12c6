"""The embedded agent as a service of its own: `agent-bridge agent`."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

import structlog

from bridge.addresses import Guard
from bridge.agent.server.app import create_app
from bridge.agent.server.attachments import Attachments
from bridge.clock import SystemClock
from bridge.cpu import Workers
from bridge.egress import open_client
from bridge.embedded import agent_from
from bridge.errors import ConfigError
from bridge.options import EmbeddedAgent
from bridge.serving import listen
from bridge.store.database import Store
from bridge.store.embedded import EmbeddedRows
from bridge.store.embedded_backlog import EmbeddedBacklog
from bridge.store.migrations import migrate

log = structlog.get_logger()


async def serve(
    address: str, api_keys: Sequence[str], database_url: str, agent_id: str, options: EmbeddedAgent
) -> None:
    """Run until SIGTERM. What was at work is taken up again at the next start."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError([f"--listen: {address!r} is no HOST:PORT; for example 127.0.0.1:8090"])
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        store = Store.open(database_url, clock)
        stack.push_async_callback(store.close)
        await asyncio.to_thread(migrate, store.engine)
        http = await stack.enter_async_context(open_client())
        guarded = await stack.enter_async_context(open_client(guard=Guard()))
        workers = Workers()
        stack.push_async_callback(workers.aclose)
        asgi = create_app(
            rows=EmbeddedRows(store),
            backlog=EmbeddedBacklog(store),
            agents={agent_id: agent_from(agent_id, options, http)},
            api_keys=api_keys,
            clock=clock,
            public_url=f"http://{address}",
            attach=Attachments(guarded, workers),
        )
        async with asgi.router.lifespan_context(asgi):
            log.info("serving", listen=address, agent=agent_id)
            await listen(asgi, host, int(port))
