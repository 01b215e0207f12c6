"""Watches a mailbox by IMAP IDLE. The cursor is UIDVALIDITY and UID: whether a mail was looked at does not matter."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import structlog
from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientAbortError, IMAPClientError, LoginError

from adapters.email.hosts import must_encrypt
from adapters.email.ingresses.connected import CUT_HEADER, REFUSED_HEADER, received, wrap
from adapters.email.oauth import AccessTokens
from bridge.adapter import Accept, Kit
from bridge.errors import Retryable

log = structlog.get_logger()

CURSOR = "imap-cursor"
BATCH = 20
LATELY = timedelta(days=1)
REFUSALS = 5
"""Of one mail, before it is noted for a person. Between them the connection is made anew."""

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Cursor:
    """Up to where the mailbox was taken over. Another UIDVALIDITY is another mailbox: what came lately is read."""

    validity: int
    uid: int


@dataclass(frozen=True, slots=True)
class _Batch:
    uids: list[int]
    end: Cursor
    """Where the cursor stands once they are stored."""


class Mailbox:
    """One mailbox of one account. A mail is marked as taken only after it is stored."""

    def __init__(self, url: str, *, kit: Kit, idle_seconds: int, tokens: AccessTokens | None = None) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or "localhost"
        self._tls = parts.scheme == "imaps"
        self._start_tls = not self._tls and must_encrypt(parts)
        self._port = parts.port or (993 if self._tls else 143)
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        self._folder = unquote(parts.path.lstrip("/")) or "INBOX"
        self._kit = kit
        self._tokens = tokens
        self._idle_seconds = idle_seconds
        self._stop = threading.Event()
        self._refused: Counter[int] = Counter()
        """How many times a mail behind the cursor was refused."""

    async def run(self, accept: Accept) -> None:
        """Take what is there, wait for more, for ever. Raises Retryable when the connection is lost."""
        with self._failures_named():
            token = await self._tokens.current() if self._tokens else ""
            client = await self._in_thread(self._connect)
            try:
                await self._log_in(client, token)
                while True:
                    await self._take_over(client, accept)
                    await self._in_thread(self._wait, client)
            finally:
                await asyncio.shield(asyncio.to_thread(_close, client))

    async def _in_thread(self, function: Callable[..., R], *args: object) -> R:
        """Run it in a thread; when we are cancelled, end it before anybody else uses the connection."""
        self._stop.clear()
        running = asyncio.ensure_future(asyncio.to_thread(function, *args))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self._stop.set()
            await asyncio.wait([running])
            raise

    @contextmanager
    def _failures_named(self) -> Iterator[None]:
        try:
            yield
        except (IMAPClientError, OSError) as error:
            raise Retryable(f"The mailbox at {self._host} cannot be read: {error}") from error

    def _connect(self) -> IMAPClient:
        client = IMAPClient(self._host, port=self._port, ssl=self._tls, timeout=60)
        try:
            if self._start_tls:
                client.starttls()
        except (IMAPClientError, OSError):
            _close(client)
            raise
        return client

    async def _log_in(self, client: IMAPClient, token: str) -> None:
        if self._tokens is None:
            await self._in_thread(client.login, self._user, self._password)
            return
        try:
            await self._in_thread(client.oauth2_login, self._user, token)
        except LoginError:
            await self._tokens.refuse(token)
            raise

    async def _take_over(self, client: IMAPClient, accept: Accept) -> None:
        """Store every mail beyond the cursor, oldest first, and move the cursor after each batch's commit."""
        while True:
            stored = await self._kit.vault.get(CURSOR)
            cursor = Cursor(**json.loads(stored[0])) if stored else None
            batch = await self._in_thread(self._fetch, client, cursor)
            for uid in batch.uids:
                try:
                    raw = await self._in_thread(self._fetch_one, client, uid)
                except IMAPClientError as error:
                    await self._do_without(accept, batch.end.validity, uid, error)
                    continue
                if raw:
                    await self._store(accept, batch.end.validity, uid, raw)
            if batch.end == cursor:
                return
            value = json.dumps(asdict(batch.end)).encode()
            if not await self._kit.vault.put(CURSOR, value, version=stored[1] if stored else None):
                raise Retryable("Another node reads this mailbox.")
            self._refused.clear()

    def _fetch(self, client: IMAPClient, cursor: Cursor | None) -> "_Batch":
        status = client.select_folder(self._folder, readonly=True)
        validity, top = int(status[b"UIDVALIDITY"]), int(status.get(b"UIDNEXT", 1)) - 1
        if cursor == Cursor(validity, top):
            # Nothing new, and no further command: it would swallow the notice of a mail that comes right now,
            # while IDLE straight after SELECT reports it.
            return _Batch([], Cursor(validity, top))
        if cursor is None or cursor.validity != validity:
            # A mailbox seen for the first time may hold years of mail: only what came lately is a question.
            after, wanted = 0, ["SINCE", (self._kit.clock.now() - LATELY).date()]
        else:
            after, wanted = cursor.uid, ["UID", f"{cursor.uid + 1}:*"]
        # "n:*" always names the last mail, even one before n (RFC 3501, 6.4.8).
        uids = sorted(uid for uid in client.search(wanted) if uid > after)
        taken = uids[:BATCH]
        end = taken[-1] if len(uids) > BATCH else max([after, top, *taken])
        return _Batch(taken, Cursor(validity, end))

    def _fetch_one(self, client: IMAPClient, uid: int) -> bytes:
        """The mail, or nothing where it was deleted meanwhile. One at a time: twenty may not fit into memory."""
        found = client.fetch([uid], ["BODY.PEEK[]"])
        return bytes(found.get(uid, {}).get(b"BODY[]") or b"")

    async def _store(self, accept: Accept, validity: int, uid: int, raw: bytes) -> None:
        envelope = wrap(
            raw[: self._kit.max_body],
            source=self._kit.source,
            ingress="imap",
            mail_from=None,
            recipients=(),
            at=self._kit.clock.now(),
        )
        if len(raw) > self._kit.max_body:  # it cannot be refused any more: a person sees its beginning
            envelope = replace(envelope, headers=(*envelope.headers, (CUT_HEADER, str(len(raw)))))
        await accept(received(f"imap:{self._folder}:{validity}:{uid}", envelope=envelope), envelope)

    async def _do_without(self, accept: Accept, validity: int, uid: int, error: IMAPClientError) -> None:
        """Note a mail that the server has refused to give out again and again; raise the error until then."""
        if isinstance(error, IMAPClientAbortError):  # the connection broke
            raise error
        self._refused[uid] += 1
        if self._refused[uid] < REFUSALS:
            raise error
        log.error("mail_not_given_out", source=self._kit.source, uid=uid, error=str(error))
        envelope = wrap(
            f"mail {uid} of {self._folder}".encode(),
            source=self._kit.source,
            ingress="imap",
            mail_from=None,
            recipients=(),
            at=self._kit.clock.now(),
        )
        said = " ".join(str(error).split())[:300]
        envelope = replace(envelope, headers=(*envelope.headers, (REFUSED_HEADER, said)))
        await accept(received(f"imap:{self._folder}:{validity}:{uid}", envelope=envelope), envelope)

    def _wait(self, client: IMAPClient) -> None:
        """Until something changes in the mailbox, the server's half hour is nearly over, or we stop."""
        if not client.has_capability("IDLE"):
            self._stop.wait(self._idle_seconds)
            return
        client.idle()
        waited = 0
        try:
            while not self._stop.is_set() and waited < self._idle_seconds:
                if client.idle_check(timeout=1):
                    break
                waited += 1
        finally:
            client.idle_done()


def _close(client: IMAPClient) -> None:
    try:
        client.logout()
    except (IMAPClientError, OSError):
        client.shutdown()
