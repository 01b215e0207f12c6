"""Accept an Envelope: receive it, store it once, and only then acknowledge."""

from collections.abc import Callable
from dataclasses import dataclass

from bridge.entrance import Entrance
from bridge.errors import Unprocessable
from bridge.model import Envelope, Lease, Received, Reply
from bridge.sealing import Sealer
from bridge.store import arrivals
from bridge.store.arrivals import Arrival
from bridge.store.database import Store
from bridge.store.envelopes import pack
from bridge.store.ingest import INGEST, Ingested


@dataclass(frozen=True, slots=True)
class Accepted:
    """What is stored of an arrival, and how its platform wants to be answered."""

    stored: Ingested
    reply: Reply | None
    """The acknowledgement, where the standard one will not do."""
    wait_seconds: float | None
    """How long the caller is to be kept for the answer, whatever it says itself."""


class Inbox:
    """The way in. Holds nothing: what it has accepted is in the store."""

    def __init__(
        self,
        store: Store,
        sealer: Sealer,
        *,
        wake: Callable[[Lease, Arrival], None],
        stop: Callable[[str], None],
        deliver: Callable[[Lease], None],
        read: Callable[[str], None],
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._wake = wake
        self._stop = stop
        self._deliver = deliver
        self._read = read

    async def accept(self, entrance: Entrance, envelope: Envelope, *, listened: bool = False) -> Accepted | Reply:
        """Store what the adapter reads in the envelope; returns after the commit.

        A Reply alone means that nothing was stored (a handshake, something to ignore). Raises
        ReceiveError if it is refused and StoreUnavailable if it could not be stored; in both cases
        nothing of it is.
        """
        received = await entrance.adapter.receive(envelope)
        if received.messages == () and received.reply is not None:
            return received.reply
        ingested = await self.store(entrance, received, envelope, listened=listened)
        if ingested.copy and not ingested.same_body and envelope.header("idempotency-key"):
            raise Unprocessable(
                "This Idempotency-Key was used before with another body. Use a new key for a new request."
            )
        return Accepted(ingested, received.reply, received.wait_seconds)

    async def store(
        self, entrance: Entrance, received: Received, envelope: Envelope, *, listened: bool = False
    ) -> Ingested:
        """Commit what was received, then wake the conversations that are now this node's."""
        arrival = Arrival(
            source=entrance.name,
            delivery_key=received.delivery_key,
            digest=arrivals.digest(envelope.body),
            sealed=self._sealer.seal(pack(envelope), purpose="envelope"),
            messages=None if received.messages is None else tuple(received.messages),
            received_at=envelope.received_at,
            keep=entrance.keep,
            listened=listened,
            agent=entrance.agent,
            busy=entrance.busy,
        )
        ingested = await self._store.accept(INGEST, arrival)
        for lease in ingested.wake:
            self._wake(lease, arrival)
        for conversation_id in ingested.stop:
            self._stop(conversation_id)
        for lease in ingested.deliver:
            self._deliver(lease)
        if ingested.unread is not None:
            self._read(ingested.unread)
        return ingested
