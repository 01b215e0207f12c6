"""One webhook source: verify, read, and answer by callback."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from adapters.webhook.callback import callback_body, encoded
from adapters.webhook.challenges import reply_to_signed, reply_to_unsigned
from adapters.webhook.cloudevents import structured
from adapters.webhook.document import Document, documents_in, media_type
from adapters.webhook.fetching import with_files
from adapters.webhook.identity import Identity
from adapters.webhook.message import fields_from_content, message_from_fields
from adapters.webhook.multipart import Upload, has_uploads
from adapters.webhook.plain import Unmappable
from adapters.webhook.plan import Plan
from adapters.webhook.vendor import WAIT_SECONDS, VendorMapping
from bridge.adapter import Kit
from bridge.backoff import STANDARD_WEBHOOKS
from bridge.errors import Malformed, Permanent, TooLarge, Unsupported
from bridge.model import Author, Candidate, Envelope, FileRef, InboundMessage, OutboundMessage, Received, Reply
from bridge.signing import Verified, verify

MAX_REASON_CHARS = 300
_TO_CALLBACK = json.dumps({"to": "callback"})


class WebhookAdapter:
    """Receives what a system posts and answers by signed callback. Holds nothing but its configuration."""

    max_chars = 10_000_000
    schedule: Sequence[float] = STANDARD_WEBHOOKS

    def __init__(self, plan: Plan, kit: Kit) -> None:
        self._plan = plan
        self._kit = kit
        self.methods = plan.methods
        self.concurrency = plan.settings.callback_concurrency

    async def receive(self, envelope: Envelope) -> Received:
        """Verified first; then messages, parked where none can be made, or a form with files to be read later."""
        plan = self._plan
        if envelope.method != "POST":
            return Received(reply=self._handshake(envelope))
        if len(envelope.body) > self._kit.max_body:
            raise TooLarge(f"The body is larger than the {self._kit.max_body} bytes this source takes.")
        if (envelope.header("content-encoding") or "identity") != "identity":
            raise Unsupported("Compressed bodies are not read here. Send it without Content-Encoding.")
        verified = verify(plan.scheme, plan.secrets, envelope, envelope.received_at)
        declared = media_type(envelope)
        if declared == "multipart/form-data" and has_uploads(envelope):
            # Storing files is no work for the time before the acknowledgement.
            key = plan.identity.identify(envelope, None, None).message_key
            reply, wait_seconds = self._promise_for_form(envelope)
            return Received(delivery_key=key, messages=None, reply=reply, wait_seconds=wait_seconds)
        try:
            documents = documents_in(envelope, declared)
        except (Malformed, Unsupported) as error:
            if plan.settings.malformed == "refuse":
                raise
            return self._kept(envelope, verified, str(error))
        if len(documents) == 1 and plan.challenge is not None:
            reply = reply_to_signed(plan.challenge, documents[0].content, verified.secret)
            if reply is not None:
                return Received(reply=reply)
        return self._received(documents, envelope, verified)

    async def read(self, envelope: Envelope) -> Sequence[InboundMessage]:
        """A form with files: stores the files and reads the rest. The same files again are the same references."""
        identity = self._plan.identity.identify(envelope, None, None)
        try:
            (document,) = documents_in(envelope)
        except Malformed as error:
            return (_parked(identity.message_key, str(error), envelope.source),)
        uploads, left = [], []
        for upload in document.uploads:
            try:
                uploads.append(await self._stored(upload))
            except TooLarge:
                left.append(f"The file {upload.name} was left out: it is too large.")
        message = self._message(document, identity.message_key, envelope.source, uploads)
        return (replace(message, context="\n".join(left)),)

    async def enrich(self, message: InboundMessage) -> InboundMessage:
        """Files that were named by address are fetched here: checked, capped, and theirs to forget with the rest."""
        settings = self._plan.settings
        if not message.files or not settings.fetch_files:
            return message
        return await with_files(self._kit, message, max_bytes=settings.max_file)

    async def send(self, message: OutboundMessage) -> str:
        """One attempt of the callback. Returns the delivery id: it is the receiver's id, too."""
        document = callback_body(self._kit, message)
        if self._plan.settings.callback_format == "cloudevents":
            document = structured(message, self._kit.public_url, document)
        target = self._target(message.return_address)
        return await self._plan.callbacks.post(self._kit, target, message, encoded(document))

    def destination(self, message: OutboundMessage) -> str | None:
        """The callback's target, which may be anybody's and may be down."""
        try:
            return self._target(message.return_address)
        except Permanent:
            return None

    def answer(self, envelope: Envelope, message: OutboundMessage) -> Reply | None:
        """The vendor's own form where its mapping is in use, else the bridge's."""
        vendor = self._plan.mapping
        if not isinstance(vendor, VendorMapping):
            return None
        try:
            (document,) = documents_in(envelope)
        except (Malformed, Unsupported):
            return None  # parked: what was asked for cannot be known
        return vendor.answer(document, message, self._kit.clock.now())

    def _handshake(self, envelope: Envelope) -> Reply:
        settings = self._plan.settings
        token = settings.challenge_token
        return reply_to_unsigned(
            self._plan.challenge,
            envelope,
            [secret for secret in self._plan.secrets if secret.is_active(envelope.received_at)],
            token=token.get_secret_value() if token else None,
            origins=settings.allowed_origins,
        )

    def _received(self, documents: Sequence[Document], envelope: Envelope, verified: Verified) -> Received:
        if not documents:
            return Received(reply=Reply(status=200))  # an empty batch is a valid one
        signer = (verified.secret.name if verified.secret else "") or envelope.source
        identity: Identity = self._plan.identity.identify(envelope, documents[0].content, verified)
        positions = [None] if len(documents) == 1 else range(len(documents))
        messages = tuple(
            self._message(document, self._plan.identity.of_part(identity, document, at), signer, ())
            for at, document in zip(positions, documents, strict=True)
        )
        reply, wait_seconds = self._promise(documents[0])
        return Received(delivery_key=identity.delivery_key, messages=messages, reply=reply, wait_seconds=wait_seconds)

    def _kept(self, envelope: Envelope, verified: Verified, reason: str) -> Received:
        """Genuine, and for a person to look at: there is nothing in it to make a message of."""
        identity = self._plan.identity.identify(envelope, None, verified)
        message = _parked(identity.message_key, reason, envelope.source)
        return Received(delivery_key=identity.delivery_key, messages=(message,), reply=self._acknowledgement())

    def _promise(self, document: Document) -> tuple[Reply | None, float | None]:
        """The acknowledgement, and how long the caller is kept for the answer."""
        vendor = self._plan.mapping
        if not isinstance(vendor, VendorMapping):
            return self._acknowledgement(), None
        return (vendor.started(), None) if vendor.is_asynchronous(document) else (None, WAIT_SECONDS)

    def _promise_for_form(self, envelope: Envelope) -> tuple[Reply | None, float | None]:
        """The same for a form with files, which is opened for it only where it may say how it is to be answered."""
        if isinstance(self._plan.mapping, VendorMapping):
            with suppress(Malformed):  # to be kept for a person
                (document,) = documents_in(envelope)
                return self._promise(document)
        return self._acknowledgement(), None

    def _acknowledgement(self) -> Reply | None:
        status = self._plan.settings.ack_status
        return None if status == 202 else Reply(status=status)  # noqa: PLR2004 - the core's own answer

    def _message(self, document: Document, key: str, signer: str, uploads: Sequence[FileRef]) -> InboundMessage:
        try:
            mapped = self._plan.mapping.read(document)
            if mapped.declined is not None:
                return replace(_parked(key, "", signer), parked=None, declined=mapped.declined)
            fields = fields_from_content(mapped.content)
            return message_from_fields(
                fields,
                message_key=mapped.message or key,
                return_address=self._return_address(fields.callback),
                signer=signer,
                uploads=uploads,
                foreign_task_id=self._plan.settings.allow_foreign_task_id,
            )
        except Unmappable as reason:
            return _parked(key, f"{reason}{_hint(document)}", signer)

    def _return_address(self, wanted: str | None) -> str:
        """The caller's own address only from inside the allow-list; any other is as if it had not been given."""
        if wanted and self._plan.allows(wanted):
            return json.dumps({"url": wanted})
        return _TO_CALLBACK if self._plan.settings.callback else ""

    def _target(self, return_address: str) -> str:
        try:
            address = json.loads(return_address)
        except ValueError:
            address = None
        match address:
            case {"to": "callback"} if self._plan.settings.callback:
                return self._plan.settings.callback
            case {"url": str(url)} if self._plan.allows(url):  # the list may have been tightened since
                return url
        raise Permanent("The callback target is no longer configured or allowed.")

    async def _stored(self, upload: Upload) -> FileRef:
        return await self._kit.files.store(upload.name, upload.media_type, upload.content, origin=self._kit.source)


def _hint(document: Document) -> str:
    """For those who post with curl: its -d declares a form, whatever it sends."""
    is_other = media_type(document.envelope) == "application/x-www-form-urlencoded"
    looks = is_other and document.envelope.body.lstrip()[:1] == b"{"
    return "; it looks like JSON and is declared as a form: send Content-Type: application/json" if looks else ""


def _parked(key: str, reason: str, signer: str) -> InboundMessage:
    return InboundMessage(
        message_key=key,
        conversation=(Candidate(value=key, matched_by="message"),),
        return_address="",
        author=Author(id=signer),
        parked=reason[:MAX_REASON_CHARS],
    )
