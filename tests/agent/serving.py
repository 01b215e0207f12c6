"""The embedded agent as a process of its own, for the tests that kill it and for those that run foreign clients.

    python -m tests.agent.serving DATABASE [--port N]

Prints its address once it listens.
"""

import argparse
import asyncio
import socket

import uvicorn

from bridge.agent.server.app import create_app
from bridge.agent.server.demo import Demo
from bridge.agent.server.desk import Agent
from bridge.clock import SystemClock
from bridge.store.database import Store
from bridge.store.embedded import EmbeddedRows
from bridge.store.engine import open_engine
from bridge.store.migrations import migrate


async def serve(database: str, port: int) -> None:
    url, clock = f"sqlite:///{database}", SystemClock()
    engine = open_engine(url)
    migrate(engine)
    engine.dispose()
    store = Store.open(url, clock)
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    app = create_app(
        rows=EmbeddedRows(store),
        agents={"demo": Agent(name="Demo", brain=Demo())},
        api_keys=["key-1"],
        clock=clock,
        public_url=address,
    )
    config = uvicorn.Config(app, log_level="warning", ws="none", access_log=False)
    print(address, flush=True)  # noqa: T201 - the parent reads it
    await uvicorn.Server(config).serve([listener])
    await store.close()


if __name__ == "__main__":
    cli = argparse.ArgumentParser()
    cli.add_argument("database")
    cli.add_argument("--port", type=int, default=0)
    options = cli.parse_args()
    asyncio.run(serve(options.database, options.port))
