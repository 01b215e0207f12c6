"""One webhook source: verify, read, and answer by callback."""

import json
from collections.abc import Sequence

from adapters.webhook.callback import callback_body, encoded, post_callback
from adapters.webhook.document import Document, document_of, media_type
from adapters.webhook.identity import Identity
from adapters.webhook.message import Unmappable, fields_from_content, message_from_fields
from adapters.webhook.multipart import Upload, has_uploads
from adapters.webhook.plan import Plan
from bridge.adapter import Kit
from bridge.backoff import STANDARD_WEBHOOKS
from bridge.errors import Malformed, Permanent, TooLarge, Unsupported
from bridge.model import Author, Candidate, Envelope, FileRef, InboundMessage, OutboundMessage, Received
from bridge.signing import Verified, verify

TO_CALLBACK = json.dumps({"to": "callback"})


class WebhookAdapter:
    """Receives what a system posts and answers by signed callback. Holds nothing but its configuration."""

    max_chars = 10_000_000
    methods = frozenset({"POST"})
    schedule: Sequence[float] = STANDARD_WEBHOOKS

    def __init__(self, plan: Plan, kit: Kit) -> None:
        self._plan = plan
        self._kit = kit
        self.reply_via = plan.settings.reply_via
        self.capture = plan.settings.capture

    async def receive(self, envelope: Envelope) -> Received:
        """Verified first; then a message, a parked one if none can be made of it, or a file form to be read later."""
        plan = self._plan
        if len(envelope.body) > self._kit.max_body:
            raise TooLarge(f"The body is larger than the {self._kit.max_body} bytes this source takes.")
        if (envelope.header("content-encoding") or "identity") != "identity":
            raise Unsupported("Compressed bodies are not read here. Send it without Content-Encoding.")
        verified = verify(plan.scheme, plan.secrets, envelope, envelope.received_at)
        if media_type(envelope) == "multipart/form-data" and has_uploads(envelope):
            # Storing files is no work for the time before the acknowledgement.
            return Received(delivery_key=plan.identity.identify(envelope, None, None).message_key, messages=None)
        document = document_of(envelope)
        identity = plan.identity.identify(envelope, document.content, verified)
        return Received(
            delivery_key=identity.delivery_key,
            messages=(self._message(document, identity, _signer(verified) or envelope.source, ()),),
        )

    async def read(self, envelope: Envelope) -> Sequence[InboundMessage]:
        """A form with files: stores the files and reads the rest."""
        try:
            document = document_of(envelope)
        except Malformed as error:
            identity = self._plan.identity.identify(envelope, None, None)
            return (_parked(identity, str(error), envelope.source),)
        uploads = [await self._stored(upload) for upload in document.uploads]
        identity = self._plan.identity.identify(envelope, None, None)
        return (self._message(document, identity, envelope.source, uploads),)

    async def send(self, message: OutboundMessage) -> str:
        """One attempt of the callback. Returns the delivery id: it is the receiver's id, too."""
        body = encoded(callback_body(self._kit, message))
        return await post_callback(self._kit, self._plan.signer, self._target(message.return_address), message, body)

    def _message(
        self, document: Document, identity: Identity, signer: str, uploads: Sequence[FileRef]
    ) -> InboundMessage:
        try:
            fields = fields_from_content(document.content)
            return message_from_fields(
                fields,
                message_key=identity.message_key,
                return_address=self._return_address(fields.callback),
                signer=signer,
                uploads=uploads,
                foreign_task_id=self._plan.settings.allow_foreign_task_id,
            )
        except Unmappable as reason:
            return _parked(identity, str(reason), signer)

    def _return_address(self, wanted: str | None) -> str:
        """The caller's own address only from inside the allow-list; any other is as if it had not been given."""
        if wanted and self._plan.allows(wanted):
            return json.dumps({"url": wanted})
        return TO_CALLBACK if self._plan.settings.callback else ""

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


def _signer(verified: Verified) -> str | None:
    return verified.secret.name if verified.secret else None


def _parked(identity: Identity, reason: str, signer: str) -> InboundMessage:
    return InboundMessage(
        message_key=identity.message_key,
        conversation=(Candidate(value=identity.message_key, matched_by="message"),),
        return_address="",
        author=Author(id=signer),
        parked=reason,
    )
