"""Serves a bridge over HTTP until it is told to stop, and then lets go within seconds."""

import structlog

from bridge.app import running
from bridge.serving import listen
from bridge.settings import Settings

log = structlog.get_logger()


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT: no new work, in-flight calls left to be resumed, exit within ten seconds."""
    async with running(settings) as bridge:
        log.info("serving", listen=str(settings.bridge.listen), sources=sorted(settings.sources))
        patience = settings.bridge.max_arrival.total_seconds()
        await listen(bridge.asgi, *settings.bridge.listen, arrival_seconds=patience, release=bridge.release)
        log.info("stopping")
