"""Watches a mailbox by IMAP IDLE. The cursor is UIDVALIDITY and UID; what people do to \\Seen does not matter."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientError

from adapters.email.ingresses.connected import received, wrap
from bridge.adapter import Accept, Kit
from bridge.errors import Retryable

CURSOR = "imap-cursor"
BATCH = 20


@dataclass(frozen=True, slots=True)
class Cursor:
    """Up to where the mailbox was taken over. Another UIDVALIDITY is another mailbox: it is read from its start."""

    validity: int
    uid: int


class Mailbox:
    """One mailbox of one account. A mail is marked as taken only after it is stored."""

    def __init__(self, url: str, *, kit: Kit, idle_seconds: int) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or "localhost"
        self._tls = parts.scheme == "imaps"
        self._port = parts.port or (993 if self._tls else 143)
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        self._folder = unquote(parts.path.lstrip("/")) or "INBOX"
        self._kit = kit
        self._idle_seconds = idle_seconds

    async def run(self, accept: Accept) -> None:
        """Take what is there, wait for more, for ever. Raises Retryable when the connection is lost."""
        stop = threading.Event()
        try:
            with self._failures_named():
                client = await asyncio.to_thread(self._connect)
                try:
                    while True:
                        await self._take_over(client, accept)
                        await asyncio.to_thread(self._wait, client, stop)
                finally:
                    stop.set()
                    await asyncio.shield(asyncio.to_thread(_close, client))
        finally:
            stop.set()

    @contextmanager
    def _failures_named(self) -> Iterator[None]:
        try:
            yield
        except (IMAPClientError, OSError) as error:
            raise Retryable(f"The mailbox at {self._host} cannot be read: {error}") from error

    def _connect(self) -> IMAPClient:
        client = IMAPClient(self._host, port=self._port, ssl=self._tls, timeout=60)
        client.login(self._user, self._password)
        return client

    async def _take_over(self, client: IMAPClient, accept: Accept) -> None:
        """Store every mail beyond the cursor, oldest first, and move the cursor after each batch's commit."""
        while True:
            stored = await self._kit.vault.get(CURSOR)
            cursor = Cursor(**json.loads(stored[0])) if stored else None
            validity, mails = await asyncio.to_thread(self._fetch, client, cursor)
            for uid, raw in mails:
                await self._store(accept, validity, uid, raw)
            last = mails[-1][0] if mails else 0
            if not mails and cursor is not None and cursor.validity == validity:
                return
            value = json.dumps({"validity": validity, "uid": last}).encode()
            if not await self._kit.vault.put(CURSOR, value, version=stored[1] if stored else None):
                raise Retryable("Another node reads this mailbox.")
            if len(mails) < BATCH:
                return

    def _fetch(self, client: IMAPClient, cursor: Cursor | None) -> tuple[int, list[tuple[int, bytes]]]:
        status = client.select_folder(self._folder, readonly=True)
        validity = int(status[b"UIDVALIDITY"])
        after = cursor.uid if cursor is not None and cursor.validity == validity else 0
        # "n:*" always names the last mail, even one before n (RFC 3501, 6.4.8).
        uids = sorted(uid for uid in client.search(["UID", f"{after + 1}:*"]) if uid > after)[:BATCH]
        if not uids:
            return validity, []
        found = client.fetch(uids, ["BODY.PEEK[]"])
        return validity, [
            (uid, bytes(found[uid][b"BODY[]"])) for uid in uids if uid in found and found[uid].get(b"BODY[]")
        ]

    async def _store(self, accept: Accept, validity: int, uid: int, raw: bytes) -> None:
        envelope = wrap(
            raw[: self._kit.max_body],
            source=self._kit.source,
            ingress="imap",
            mail_from=None,
            recipients=(),
            at=self._kit.clock.now(),
        )
        await accept(received(f"imap:{self._folder}:{validity}:{uid}", envelope=envelope), envelope)

    def _wait(self, client: IMAPClient, stop: threading.Event) -> None:
        """Until something changes in the mailbox, the server's half hour is nearly over, or we stop."""
        if not client.has_capability("IDLE"):
            stop.wait(30)
            return
        client.idle()
        waited = 0
        try:
            while not stop.is_set() and waited < self._idle_seconds:
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
