"""What came of a message, for callers who wait for it or read its events while it happens."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

import structlog
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from bridge.clock import Clock
from bridge.errors import StoreUnavailable
from bridge.model import FileRef
from bridge.results import content_of, is_answerable, is_over
from bridge.store.database import Store
from bridge.store.events import Event
from bridge.store.outcomes import Outcome, Page, outcome, outcomes_of, page
from bridge.watching import Watch, Watchers
from bridge.web.access import Access
from bridge.web.problem import problem

log = structlog.get_logger()

HEARTBEAT_SECONDS: Final = 15.0
UNREAD_SECONDS: Final = 0.25
"""How often to look for the messages of an arrival that is read after its acknowledgement."""
_RETRY_MS: Final = (1000, 3000)
"""Spread, so that the readers of a node that stopped do not all come back at once."""
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Vary": "Accept"}


class Results:
    """Waits on rows. A caller that goes away ends its waiting, and never the work it waited for."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        watchers: Watchers,
        *,
        link: Callable[[FileRef], str],
        status_url: Callable[[str], str],
        most: timedelta,
    ) -> None:
        """`most`: the longest a caller is kept waiting."""
        self._store = store
        self._clock = clock
        self._watchers = watchers
        self._link = link
        self._status_url = status_url
        self.most_seconds = most.total_seconds()

    def routes(self, access: Access) -> list[BaseRoute]:
        """The stream of one message, for the operator and for whoever holds the message's own token."""
        return [Route("/v1/messages/{id}/events", access.own(self.events))]

    def content(self, one: Outcome) -> dict[str, Any]:
        """A result as JSON."""
        return content_of(one, self._link)

    async def read(self, envelope_id: str, received_at: datetime, until: datetime) -> Sequence[Outcome]:
        """The messages of an arrival that is read after its acknowledgement; none if that takes too long."""
        while not (found := await self._store.read(outcomes_of, envelope_id, received_at)):
            if self._clock.now() >= until or self._watchers.closing:
                return ()
            await self._clock.sleep(UNREAD_SECONDS)
        return found

    async def wait(self, message_ids: Sequence[str], until: datetime) -> Sequence[Outcome] | None:
        """What came of these messages, or None where that is not known of all of them in time.

        It is the end of the turn that holds the message: an answer, a failure, a stop; or what the
        agent waits for. None at once where nothing can come of one of them.
        """
        found = await asyncio.gather(*(self._wait(message_id, until) for message_id in message_ids))
        known = [one for one in found if one is not None]
        return known if len(known) == len(found) else None

    async def events(self, request: Request) -> Response:
        """The events of a message from the beginning, or from behind `Last-Event-ID` or `?last_event_id=`."""
        message_id = request.path_params["id"]
        if await self._store.read(outcome, message_id) is None:
            return problem(HTTPStatus.NOT_FOUND, "There is no such message.")
        given = request.headers.get("last-event-id") or request.query_params.get("last_event_id") or "0"
        # Another form than ours is a place nobody knows: the reader is told to look at the whole anew.
        last = int(given) if given.isascii() and given.isdecimal() and len(given) < 10 else -1  # noqa: PLR2004
        first = await self._store.read(page, message_id, max(last, 0))
        if first is not None and is_over(first.outcome) and last > first.last_seq:
            return Response(status_code=HTTPStatus.NO_CONTENT)  # read to its end; browsers stop asking then
        return self.stream(message_id, last=last)

    def stream(self, message_id: str, *, last: int = 0, greeting: dict[str, Any] | None = None) -> Response:
        """The events behind `last` as they come, and then the result, which is the last of them."""
        frames = _until_away(self._frames(message_id, last, greeting))
        return StreamingResponse(frames, media_type="text/event-stream", headers=_HEADERS)

    async def _wait(self, message_id: str, until: datetime) -> Outcome | None:
        one = await self._store.read(outcome, message_id)
        if one is None or one.turn_id is None:
            return one if one is not None and is_answerable(one) else None
        with self._watchers.watching(one.turn_id) as watch:
            while (one := await self._store.read(outcome, message_id)) is not None and not is_answerable(one):
                left = (until - self._clock.now()).total_seconds()
                if left <= 0 or is_over(one) or self._watchers.closing:
                    return None
                await watch.changed(left)
        return one

    async def _frames(self, message_id: str, last: int, greeting: dict[str, Any] | None) -> AsyncIterator[str]:
        one = await self._store.read(outcome, message_id)
        if one is not None and one.turn_id is not None and not is_over(one):
            await self._watchers.listen(one.turn_id)  # before the first word, so that a reader cut off may come back
        yield f"retry: {random.randint(*_RETRY_MS)}\n\n"  # noqa: S311 - spreads load, guards nothing
        if greeting is not None:
            yield _frame("accepted", greeting)
        if one is not None and one.turn_id is None:
            yield _frame("finished", self.content(one), seq=1)
        elif one is not None and one.turn_id is not None:
            with self._watchers.watching(one.turn_id) as watch:
                async for frame in self._follow(message_id, last, watch):
                    yield frame

    async def _follow(self, message_id: str, last: int, watch: Watch) -> AsyncIterator[str]:
        asked = None
        while (found := await self._store.read(page, message_id, max(last, 0))) is not None:
            if _is_gap(found, last):
                yield _frame("resync", {"status_url": self._status_url(message_id)})
                last = max(min(last, found.last_seq), 0)
                found = await self._store.read(page, message_id, last) or found
            for event in found.events:
                yield _stored_frame(event)
                last = event.seq
            if last < found.last_seq:
                continue
            if is_over(found.outcome):
                yield _frame("finished", self.content(found.outcome), seq=found.last_seq + 1)
                return
            if (asks := _asked(found.outcome)) != asked:
                asked = asks
                if asks:  # without an id: it is how things stand, and told again to whoever comes back
                    yield _frame("paused", self.content(found.outcome))
            while not self._watchers.closing and not await watch.changed(HEARTBEAT_SECONDS):
                yield ": still here\n\n"
            if self._watchers.closing:
                return  # without an end: the reader comes back to where it was


async def _until_away(frames: AsyncIterator[str]) -> AsyncIterator[str]:
    """A database that is away ends the stream; its reader comes back to where it was."""
    try:
        async for frame in frames:
            yield frame
    except StoreUnavailable as error:
        log.warning("stream_ended", error=str(error))


def _asked(one: Outcome) -> tuple[object, ...] | None:
    """What the agent waits for, to be told apart from what it waited for before."""
    return ({**(one.pause or {}), "mark": None}, one.decision_id) if one.state == "paused" else None


def _is_gap(found: Page, last: int) -> bool:
    """Whether the reader's place is one this turn has not, or has no more."""
    if found.events:
        return found.events[0].seq > max(last, 0) + 1 or last < 0
    return not 0 <= last <= found.last_seq


def _stored_frame(event: Event) -> str:
    return f'id: {event.seq}\nevent: {event.type}\ndata: {{"type":{json.dumps(event.type)},"data":{event.data}}}\n\n'


def _frame(kind: str, data: dict[str, Any], *, seq: int | None = None) -> str:
    content = json.dumps({"type": kind, "data": data}, ensure_ascii=False, default=str)
    return ("" if seq is None else f"id: {seq}\n") + f"event: {kind}\ndata: {content}\n\n"
