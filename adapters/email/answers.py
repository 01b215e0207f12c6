"""Sends answers: one mail for each delivery, in the thread of the mail it answers, the same at every try."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from email.message import EmailMessage

import httpx2

from adapters.email import return_address
from adapters.email.compose import File, Letter, compose
from adapters.email.domains import plain_address
from adapters.email.memory import Memory
from adapters.email.return_address import ReturnAddress
from adapters.email.senders.outgoing import Outgoing, Oversized, Sender, post
from adapters.email.settings import Settings
from adapters.email.threads import conversation_index
from adapters.email.tokens import digest, make_token, reply_address
from bridge.adapter import Kit
from bridge.errors import Denied, Permanent, SendError
from bridge.model import FileRef, OutboundMessage


class Answers:
    """Composes and hands over; whatever must be known later is remembered before the mail can be answered."""

    def __init__(self, settings: Settings, kit: Kit, sender: Sender, memory: Memory) -> None:
        self._settings = settings
        self._kit = kit
        self._sender = sender
        self._memory = memory

    @property
    def loop_mark(self) -> str:
        """What our own mails carry, so that one that comes back is known; nobody else can guess it."""
        return digest(self._kit.tokens, f"loop {self._kit.source}")

    async def send(self, message: OutboundMessage) -> str:
        """Returns the Message-ID. Raises Retryable or Permanent and nothing else."""
        try:
            back = return_address.load(message.return_address)
        except (ValueError, TypeError, AttributeError) as error:
            raise Permanent("The return address is none of an email.") from error
        if (why := await self._memory.why_undeliverable(back.to.lower())) is not None:
            raise Permanent(f"Mail to {back.to} comes back ({why}); it waits until a mail arrives from there.")
        token = make_token(self._kit.tokens, message.conversation_id, back.to)
        await self._remember(token, back, message)
        mail = await self._outgoing(token, back, message, largest=self._settings.max_attachment)
        try:
            wire_id = await self._sender.send(mail)
        except Oversized:
            if not message.files:
                raise
            mail = await self._outgoing(token, back, message, largest=0)  # the answer matters more than its files
            wire_id = await self._sender.send(mail)
        if wire_id and wire_id != mail.message_id:
            await self._memory.remember(wire_id, message.conversation_id)
        return mail.message_id

    async def send_notice(self, message: OutboundMessage, text: str) -> str:
        """A short mail of the same thread, with a Message-ID of its own that is the same for the turn."""
        return await self.send(replace(message, delivery_id=f"notice-{message.turn_id}", text=text, files=()))

    async def _remember(self, token: str, back: ReturnAddress, message: OutboundMessage) -> None:
        """Before the mail leaves: its reply may arrive before we know that it left."""
        await self._memory.remember(token, message.conversation_id, back.to.lower())
        if index := conversation_index(back.thread_index):
            await self._memory.remember(index, message.conversation_id)

    async def _outgoing(self, token: str, back: ReturnAddress, message: OutboundMessage, *, largest: int) -> Outgoing:
        """The mail with its files, of which none is larger than `largest` bytes."""
        settings = self._settings
        domain = settings.domain
        message_id = f"<{token}.{digest(self._kit.tokens, message.delivery_id)}@{domain}>"
        recipient = plain_address(back.to)
        if not recipient.rpartition("@")[2].isascii():
            raise Permanent(f"{back.to} cannot be written to: there is no such domain.")
        files, links = await self._files(message.files, largest)
        letter = Letter(
            source=self.loop_mark,
            sender=settings.address,
            sender_name=settings.name,
            reply_to=reply_address(settings.address, settings.reply_style, settings.reply_domain, token),
            back=replace(back, to=recipient),
            message_id=message_id,
            thread_id=f"<{token}@{domain}>",
            text="\n\n".join([message.text, *links]),
            footer=settings.footer,
            with_marker=settings.marker,
            written_at=message.created_at,
            files=files,
        )
        try:
            mail, raw = await asyncio.to_thread(_written, letter)
        except (ValueError, LookupError) as error:
            raise Permanent(f"The mail cannot be written: {error}") from error
        style = settings.reply_style if settings.verp else "dedicated"
        return Outgoing(
            mail=mail,
            raw=raw,
            mail_from=reply_address(settings.address, style, settings.reply_domain, token, bounce=True),
            recipient=recipient,
            message_id=message_id,
            delivery_id=message.delivery_id,
        )

    async def _files(self, refs: Sequence[FileRef], largest: int) -> tuple[list[File], list[str]]:
        """The files that can be had and are small enough; the others as links."""
        files: list[File] = []
        links: list[str] = []
        for ref in refs:
            try:
                content = await self._content(ref) if largest else None
            except (KeyError, SendError, Denied, httpx2.HTTPError, httpx2.InvalidURL):
                content = None  # the answer matters more than one of its files
            media_type = ref.media_type or "application/octet-stream"
            if content is not None and len(content) <= largest:
                files.append(File(name=ref.name, media_type=media_type, content=content))
            elif not ref.url.startswith("file:"):
                links.append(f"[{ref.name}]({ref.url})")
            else:
                links.append(f"(The file {ref.name} could not be attached.)")
        return files, links

    async def _content(self, ref: FileRef) -> bytes | None:
        if ref.url.startswith("file:"):
            return await self._kit.files.load(ref)
        client = self._kit.guarded_http
        limits = {"max_response_bytes": self._settings.max_attachment}
        return (
            await post(client, client.build_request("GET", ref.url, extensions=limits), "The file's server")
        ).content


def _written(letter: Letter) -> tuple[EmailMessage, bytes]:
    mail = compose(letter)
    return mail, mail.as_bytes()
