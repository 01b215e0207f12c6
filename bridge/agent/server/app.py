"""The embedded agent as an ASGI app: wiring, nothing else."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bridge.agent.server.access import Access, refusal, refuse
from bridge.agent.server.backlog import Backlog
from bridge.agent.server.brains import Attachment
from bridge.agent.server.controller import Controller
from bridge.agent.server.desk import Agent, Desk, Invalid
from bridge.agent.server.front import Front
from bridge.agent.server.gateway import Gateway
from bridge.agent.server.logins import Logins
from bridge.agent.server.openapi import document
from bridge.agent.server.reading import Attach, Reading
from bridge.agent.server.rest import Rest
from bridge.agent.server.runs import Keep, Limits, Runs
from bridge.agent.server.tasks import TaskRows
from bridge.agent.server.workers import Workers
from bridge.clock import Clock
from bridge.errors import StoreUnavailable

MAX_BODY: Final = 8 << 20


def create_app(  # noqa: PLR0913 - every part it stands on, each once
    *,
    rows: TaskRows,
    backlog: Backlog,
    agents: Mapping[str, Agent],
    api_keys: Sequence[str],
    clock: Clock,
    public_url: str,
    attach: Attach | None = None,
    keep: Keep | None = None,
    limits: Limits | None = None,
    max_body: int = MAX_BODY,
) -> Starlette:
    """An agent service with these agents, over these rows. Serve it with its lifespan on.

    `public_url` is where people reach it (for login links); `attach` reads the files of a request,
    None leaves them unread; `keep` stores files that agents make, without it they can make none. Where the
    server itself listens in private, mount `app.state.public_routes` under `public_url`.
    """
    reading = Reading(rows, attach=attach or _unread, clock=clock, public_url=public_url)
    brains = {agent_id: agent.brain for agent_id, agent in agents.items()}
    workers = Workers()
    runs = Runs(
        rows, backlog, brains, workers=workers, reading=reading, clock=clock, limits=limits or Limits(), keep=keep
    )
    desk = Desk(rows, runs, agents=agents, clock=clock, max_body=max_body)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        beat = asyncio.create_task(runs.recover(), name="agent recovery")
        yield
        beat.cancel()
        with suppress(asyncio.CancelledError):
            await beat
        await runs.close()

    rest = Rest(desk)
    dialects = [*rest.routes(), *Gateway(desk, rest, backlog).routes(), *Controller(desk, workers).routes()]
    described = JSONResponse(document(dialects))
    refusals = {HTTPException: refuse, Invalid: _unusable, StoreUnavailable: _unavailable}
    app = Starlette(
        routes=[*dialects, *Logins(desk).routes(), Route("/openapi.json", described)],
        middleware=[
            Middleware(Access, api_keys=api_keys),
            Middleware(Front, invocations=rest.invocations(), refusals=refusals),
        ],
        exception_handlers=refusals,
        lifespan=lifespan,
    )
    app.state.public_routes = Logins(desk).routes()
    app.router.redirect_slashes = False  # xpander-sdk follows no redirect
    return app


async def _unread(urls: Sequence[str]) -> tuple[Attachment, ...]:
    return tuple(Attachment(url=url, name=url, note="this agent reads no files") for url in urls)


async def _unusable(_: Request, error: Exception) -> Response:
    assert isinstance(error, Invalid)
    return refusal(422, error.problems)


async def _unavailable(_: Request, __: Exception) -> Response:
    return refusal(503, "The agent's database cannot be reached; nothing was stored. Try again.", after=2)
