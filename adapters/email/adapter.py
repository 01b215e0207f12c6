"""Speaks email: takes mail in by any ingress, sends answers by any sender, and keeps both in one thread."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from adapters.email import signatures
from adapters.email.allowance import admit_within
from adapters.email.answers import Answers
from adapters.email.classify import Judgement, Own
from adapters.email.headers import Headers
from adapters.email.identity import Identity, Verdict, judge, verdict_of_header
from adapters.email.ingresses.arrived import Arrived, Ingress, delivery_key
from adapters.email.memory import Memory
from adapters.email.mime import Limits, read_headers_of
from adapters.email.oauth import AccessTokens
from adapters.email.opened import Opened, Rules, left_out, open_mail
from adapters.email.reading import Admission, Reading, admit, key_of, message_of, message_of_report
from adapters.email.reports import Report
from adapters.email.return_address import ReturnAddress
from adapters.email.seals import check_seals, is_sealed
from adapters.email.settings import Settings
from adapters.email.threads import Clues, own_key, read_clues
from adapters.email.tokens import token_in_id
from adapters.email.waiting import Patience
from bridge.adapter import Kit, Progress
from bridge.errors import Malformed, ReceiveError, Retryable, TooLarge
from bridge.model import Author, Candidate, Envelope, InboundMessage, OutboundMessage, Received, Reply

OPEN_SECONDS = 5.0
_STOPS = {"mailgun": 406, "postmark": 403}
"""The status that ends the tries of a provider; any other refusal is repeated for hours."""
_MAILBOX = re.compile(r"[^@\s<>,;:]{1,64}@[^@\s<>,;:]{1,250}")
CHECK_SECONDS = 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an email source is made of."""

    settings: Settings
    kit: Kit
    ingress: Ingress
    answers: Answers
    memory: Memory
    tokens: AccessTokens | None = None


class Email:
    """The adapter. Holds nothing but its parts; what it must remember lies in the vault."""

    max_chars = 200_000

    def __init__(self, parts: Parts) -> None:
        self._settings = parts.settings
        self._kit = parts.kit
        self._ingress = parts.ingress
        self._answers = parts.answers
        self._memory = parts.memory
        own = (parts.settings.address.lower(), *(alias.lower() for alias in parts.settings.aliases))
        self._rules = Rules(
            own=Own(addresses=own, domains=_domains(parts.settings), source=parts.answers.loop_mark),
            max_attachments=parts.settings.max_attachments,
            max_attachment=parts.settings.max_attachment,
            answer_lists=parts.settings.answer_lists,
            open_winmail=parts.settings.open_winmail,
        )

    def return_address(self, address: str) -> str:
        """Of a mailbox to which this source writes first."""
        if not _MAILBOX.fullmatch(address):
            raise ValueError(f"{address!r} is no mail address; write it as alerts@example.com")
        subject = self._settings.name or self._kit.options.get("name", "")
        return ReturnAddress(to=address, subject=subject, unasked=True).dump()

    async def receive(self, envelope: Envelope) -> Received:
        """Verify only; the mail is opened after it was acknowledged."""
        return await self._ingress.verify(envelope)

    def refusal(self, error: ReceiveError) -> Reply | None:
        """Only what is too large can never be taken; wrong credentials and a wrong setting can be mended meanwhile."""
        status = _STOPS.get(self._settings.ingress) if isinstance(error, TooLarge) else None
        return None if status is None else Reply(status=status, body=str(error).encode(), media_type="text/plain")

    async def read(self, envelope: Envelope) -> Sequence[InboundMessage]:
        """Open a stored mail. Raises Retryable where a provider or a name server does not answer; nothing else."""
        try:
            arrived = await self._ingress.open(envelope)
        except Malformed as error:
            return [_unreadable(envelope, str(error))]
        if not isinstance(arrived, Arrived):
            return await self._told(envelope, arrived)
        opened = await self._opened(arrived)
        identity = await self._identity(arrived, opened)
        clues = read_clues(opened.headers, arrived.recipients, repeats=opened.repeats)
        known = await self._memory.conversations(clues)
        key = key_of(opened, clues, identity)
        admission = admit(
            opened,
            identity,
            senders=self._settings.senders,
            required=self._settings.require_auth != "none",
            drop=self._settings.unauthenticated == "drop",
        )
        if admission.is_open:
            admission = await self._within_allowance(opened, clues, identity, key)
        reading = Reading(
            arrived=arrived,
            opened=opened,
            clues=clues,
            known=known,
            linked=await self._linked(clues, identity),
            identity=identity,
            admission=admission,
            key=key,
        )
        await self._take_note(reading)
        return [message_of(await self._with_files(reading))]

    async def send(self, message: OutboundMessage) -> str:
        """Mail the answer; returns its Message-ID, the same at every try."""
        return await self._answers.send(message)

    async def open(self, message: OutboundMessage) -> Progress:
        """A view that shows nothing, or, where it is configured, one sentence after a while."""
        after = timedelta(seconds=self._settings.still_working_after)
        return Patience(message, after, kit=self._kit, answers=self._answers, memory=self._memory)

    async def _opened(self, arrived: Arrived) -> Opened:
        try:
            return await self._kit.cpu.run(open_mail, arrived.raw, arrived.mail_from, self._rules, seconds=OPEN_SECONDS)
        except (TimeoutError, MemoryError):
            headers = read_headers_of(arrived.raw, Limits())
            digest = f"slow {len(arrived.raw)} {headers.first('message-id')[:80]}"
            return Opened(headers=headers, judgement=Judgement("human"), fingerprint=digest, too_complex=True)

    async def _identity(self, arrived: Arrived, opened: Opened) -> Identity:
        required = self._settings.require_auth
        found = judge(opened.headers, await self._verdict(arrived, opened.headers), required)
        sealers = self._settings.trusted_sealers
        if found.verified or found.author is None or not sealers or not is_sealed(opened.headers):
            return found
        sealed = await self._checked(check_seals, arrived.raw, sealers, self._settings.dns_servers)
        return judge(opened.headers, sealed, required) if sealed else found

    async def _verdict(self, arrived: Arrived, headers: Headers) -> Verdict | None:
        if arrived.verdict is not None:
            return arrived.verdict
        if self._settings.authserv_id:
            return verdict_of_header(headers, self._settings.authserv_id)
        if self._settings.require_auth == "none":
            return None
        return await self._checked(signatures.check, arrived.raw, self._settings.dns_servers)

    async def _checked(self, check: Callable[..., Verdict | None], *given: object) -> Verdict | None:
        """What a check with keys and records of strangers finds, in the killable worker."""
        try:
            found = await self._kit.cpu.run(check, *given, seconds=CHECK_SECONDS)
        except (TimeoutError, MemoryError) as error:
            raise Retryable("The sender's signature could not be checked in time.") from error
        if found is not None and found.is_temporary:
            raise Retryable("The name servers did not answer, so the sender could not be checked.")
        return found

    async def _linked(self, clues: Clues, identity: Identity) -> list[Candidate]:
        if identity.author is None or clues.is_forward:
            return []
        return await self._memory.linked(own_key(identity.author.address, each) for each in clues.references)

    async def _within_allowance(self, opened: Opened, clues: Clues, identity: Identity, key: str) -> Admission:
        assert identity.author is not None, "a mail without an author is not admitted"
        return await admit_within(
            self._settings,
            self._memory,
            self._kit.clock.now(),
            author=identity.author,
            clues=clues,
            opened=opened,
            key=key,
        )

    async def _told(self, envelope: Envelope, reports: Sequence[Report]) -> list[InboundMessage]:
        """A provider that has proven itself tells what became of mails of ours."""
        messages = []
        for at, report in enumerate(reports):
            for recipient in report.recipients if report.permanent else ():
                await self._memory.mark_undeliverable(recipient, report.reason)
            tokens = tuple(filter(None, map(token_in_id, report.original_ids)))
            known = await self._memory.conversations(Clues(references=report.original_ids, reference_tokens=tokens))
            messages.append(message_of_report(report, f"{delivery_key(envelope.body)} {at}", [*known.values()]))
        return messages

    async def _take_note(self, reading: Reading) -> None:
        """Remember what a bounce tells of an address, or that an address writes again."""
        report, author = reading.opened.report, reading.identity.author
        if report is not None and report.permanent:
            # Anybody can write a bounce: it counts only for the person whose own token it brings back.
            tokens = [*reading.clues.tokens, *filter(None, map(token_in_id, report.original_ids))]
            written_to = await self._memory.participants(tokens)
            for recipient in written_to & set(report.recipients) if report.recipients else written_to:
                await self._memory.mark_undeliverable(recipient, report.reason)
        elif author is not None and reading.admission.is_open:
            await self._memory.mark_alive(author.address)
            leads = reading.conversation[:-1]
            if leads and reading.clues.message_id:
                await self._memory.link(own_key(author.address, reading.clues.message_id), leads)

    async def _with_files(self, reading: Reading) -> Reading:
        """Store the attachments; those of a mail that goes nowhere stay in the stored mail."""
        if not reading.admission.is_open:
            return reading
        files, notes = [], list(reading.opened.notes)
        for each in reading.opened.attachments:
            try:
                files.append(await self._kit.files.store(each.name, each.media_type, each.content, origin=reading.key))
            except TooLarge:
                notes.append(left_out(each))
        return replace(reading, files=tuple(files), opened=replace(reading.opened, notes=tuple(notes)))


def _domains(settings: Settings) -> tuple[str, ...]:
    return (settings.reply_domain.lower(),) if settings.reply_style == "catch_all" else ()


def _unreadable(envelope: Envelope, why: str) -> InboundMessage:
    key = f"unreadable {envelope.received_at.isoformat()} {delivery_key(envelope.body)[:32]}"
    return InboundMessage(
        message_key=key,
        conversation=(Candidate(value=key, matched_by="new"),),
        return_address="",
        author=Author(id="unknown"),
        text=why,
        parked="malformed",
    )
