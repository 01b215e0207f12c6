"""The parts of a long answer go out in their order, however quickly they were made."""

from bridge.model import DeliveryState, OutboundMessage, Turn, TurnState
from bridge.store import deliveries, heads, tries, turns
from bridge.store.arrivals import Arrival
from bridge.store.database import Store
from bridge.store.deliveries import Delivery, Due
from bridge.store.ingest import INGEST
from bridge.store.tries import Outcome
from tests.store.test_ingest import arrival, message


async def test_parts_of_one_answer_go_out_in_order_whatever_their_ids(store: Store) -> None:
    row: Arrival = arrival(store, "d1", message("m1"))
    stored = await store.accept(INGEST, row)
    turn = await store.write(heads.TAKE, stored.wake[0])
    assert isinstance(turn, Turn)
    parts = [
        OutboundMessage(
            delivery_id=f"dlv_{9 - part}",
            kind="answer",
            return_address="here",
            text=str(part),
            part=part,
            parts=10,
            created_at=store.now(),
        )
        for part in range(10)
    ]
    await store.write(turns.END, turns.End(turn=turn, state=TurnState.ANSWERED, deliveries=tuple(parts)))
    sent = []
    for _ in parts:
        delivery = await store.write(deliveries.BEGIN, Due(turn.lease, lambda _source, _message: ()))
        assert isinstance(delivery, Delivery)
        sent.append(delivery.message.text)
        await store.write(tries.END, Outcome(delivery=delivery, state=DeliveryState.SENT, remote_id=None))
    assert sent == [str(part) for part in range(10)]
