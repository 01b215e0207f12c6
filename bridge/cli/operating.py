"""Commands that change something: done by the running server, else here under the store's own lock."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
from pydantic import TypeAdapter

from bridge import console
from bridge.cli.reading import FAILED, check_database, settings_from
from bridge.clock import SystemClock
from bridge.egress import open_client
from bridge.errors import BridgeError, Conflict, Missing
from bridge.operations import Operations, report
from bridge.settings import Settings
from bridge.store.database import Store
from bridge.trial import local_url

_ANY: TypeAdapter[Any] = TypeAdapter(Any)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One thing to be done: how to ask a server for it, and how to do it without one."""

    id: str
    method: str
    path: str
    """Below `/v1/`."""
    body: dict[str, Any] = field(default_factory=dict)
    alone: Callable[[Operations], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Fulfilled:
    """What became of a wish: what was done, or why not."""

    id: str
    done: dict[str, Any] | None
    refusal: str | None


def fulfil(config: Path | None, wishes: Sequence[Wish], *, noun: str, as_json: bool) -> None:
    """Do all that can be done and print what became of each. Exits 1 if any was refused."""
    outcomes = asyncio.run(_fulfil(settings_from(config), wishes))
    if as_json:
        console.print_json([one.done or {f"{noun}_id": one.id, "refused": one.refusal} for one in outcomes])
    else:
        for one in outcomes:
            if one.done:
                console.print_line(f"{one.id}: {one.done['does']}")
            else:
                console.print_error(f"{one.id}: refused. {one.refusal}")
        if not outcomes:
            console.print_line("(none)")
    if any(one.refusal for one in outcomes):
        sys.exit(FAILED)


async def _fulfil(settings: Settings, wishes: Sequence[Wish]) -> list[Fulfilled]:
    if not wishes:
        return []
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(open_client())
        ask = await _way(settings, http, stack)
        return [await ask(wish) for wish in wishes]


async def _way(
    settings: Settings, http: httpx2.AsyncClient, stack: AsyncExitStack
) -> Callable[[Wish], Awaitable[Fulfilled]]:
    """Through the server that listens where the configuration says, else by this process."""
    base = local_url(settings)
    try:
        await http.get(f"{base}/healthz")
    except httpx2.ConnectError:
        clock = SystemClock()
        await asyncio.to_thread(check_database, settings.bridge.database_url)
        store = Store.open(settings.bridge.database_url, clock)  # takes the lock, or says who has it
        stack.push_async_callback(store.close)
        operations = Operations(store, clock, agents=settings.asked(), keeps_keys=settings.keeping_keys())
        return lambda wish: _alone(operations, wish)
    except httpx2.TransportError as error:
        raise BridgeError(f"The server at {base} does not answer: {error}") from error
    token = settings.bridge.admin_token
    headers = {"authorization": f"Bearer {token.get_secret_value() if token else ''}"}
    return lambda wish: _ask(http, base, headers, wish)


async def _alone(operations: Operations, wish: Wish) -> Fulfilled:
    try:
        done = report(await wish.alone(operations))
    except (Conflict, Missing) as error:
        return Fulfilled(wish.id, None, str(error))
    return Fulfilled(wish.id, _ANY.dump_python(done, mode="json"), None)


async def _ask(http: httpx2.AsyncClient, base: str, headers: dict[str, str], wish: Wish) -> Fulfilled:
    url = f"{base}/v1/" + "/".join(quote(part, safe="") for part in wish.path.split("/"))
    try:
        response = await http.request(wish.method, url, json=wish.body, headers=headers)
        content = response.json()
    except (httpx2.TransportError, ValueError) as error:
        raise BridgeError(f"The server at {base} gave no usable answer: {error}") from error
    if response.status_code == HTTPStatus.UNAUTHORIZED:
        raise BridgeError(f"The server at {base} has another admin_token: use the configuration it runs with.")
    if response.is_success:
        return Fulfilled(wish.id, content, None)
    return Fulfilled(wish.id, None, str(content.get("detail", response.status_code)))
