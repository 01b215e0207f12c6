"""Answers whose delivery began in the transaction that ended their turn, on their way to the outbox."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from bridge.model import Lease, OutboundMessage
from bridge.store.budgets import Cost
from bridge.store.database import Store
from bridge.store.deliveries import Delivery, Due
from bridge.store.handover import HAND_OVER, Handover
from bridge.store.turns import End


class Handing:
    """From one lane of a conversation to its other one, within this process.

    A delivery is in hand from before it is `sending`: whoever looks into its conversation meanwhile must not take it
    for one that an earlier life left so. If this process dies with it, it is just that, and looked up before it is
    sent by the next.
    """

    def __init__(self, store: Store, cost: Callable[[str, OutboundMessage], Sequence[Cost]]) -> None:
        self._store = store
        self._cost = cost
        self._in_hand: set[str] = set()
        self._first: dict[str, Delivery] = {}

    def due(self, lease: Lease) -> Due:
        """To look for what else is to be delivered in a conversation."""
        return Due(lease, self._cost, self._in_hand)

    @contextmanager
    def holding(self, delivery_id: str) -> Iterator[None]:
        """It is being made here, and nobody else's to send."""
        self._in_hand.add(delivery_id)
        try:
            yield
        finally:
            self.let_go(delivery_id)

    async def over(self, end: End) -> bool:
        """End a turn that has something to say, and take that in hand if it may go at once.

        Tells whether another turn waits. Whoever sends has to be woken next.
        """
        lease, delivery_id = end.turn.lease, end.deliveries[0].delivery_id
        self._in_hand.add(delivery_id)
        try:
            handed = await self._store.write(HAND_OVER, Handover(end, self.due(lease)))
        except BaseException:
            self.let_go(delivery_id)
            raise
        if handed.first is None:
            self.let_go(delivery_id)
        else:
            self._first[lease.conversation_id] = handed.first
        return handed.more

    def take(self, lease: Lease) -> Delivery | None:
        """What is in hand for this conversation, if anything; whoever takes it lets go of it in the end."""
        first = self._first.pop(lease.conversation_id, None)
        if first is None or first.lease == lease:
            return first
        self.let_go(first.id)  # the conversation was another node's meanwhile
        return None

    def let_go(self, delivery_id: str) -> None:
        """It is what its row says, and nothing more."""
        self._in_hand.discard(delivery_id)
