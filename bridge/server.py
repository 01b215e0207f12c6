"""Serves a bridge over HTTP until it is told to stop, and then lets go within seconds."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import uvicorn

from bridge.app import running
from bridge.settings import Settings

log = structlog.get_logger()

GRACE_SECONDS = 5
"""How long open requests may take to end. Calls to the agent are not waited for: they are resumed."""


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT: no new work, in-flight calls left to be resumed, exit within ten seconds."""
    host, port = settings.bridge.listen
    async with running(settings) as bridge:
        config = uvicorn.Config(
            bridge.asgi,
            host=host,
            port=port,
            lifespan="off",
            log_config=None,
            access_log=False,  # a status URL carries a token
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        server = _Server(config)
        loop = asyncio.get_running_loop()
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signal_number, server.stop)
        log.info("serving", listen=str(settings.bridge.listen), sources=sorted(settings.sources))
        await server.serve()
        log.info("stopping")


class _Server(uvicorn.Server):
    """uvicorn's own handling would raise the signal again, before what runs around the server could let go."""

    def stop(self) -> None:
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
