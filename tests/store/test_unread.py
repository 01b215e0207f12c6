"""What is acknowledged and not read yet belongs to the node that reads it."""

from bridge.store import tables
from bridge.store.arrivals import Arrival
from bridge.store.database import Store
from bridge.store.ingest import INGEST
from bridge.store.unread import PUT_OFF, TAKE_OVER, Unreadable
from bridge.store.writer import Tx
from tests.store.journeys import rows_of


async def test_a_node_that_was_replaced_does_not_park_what_another_one_reads(store: Store) -> None:
    arrival = Arrival(
        source="mail",
        delivery_key="d1",
        digest="d",
        sealed=b"sealed",
        messages=None,
        received_at=store.now(),
        agent="local",
        busy="queue",
    )
    envelope_id = str((await store.accept(INGEST, arrival)).unread)
    with store.engine.begin() as connection:
        assert TAKE_OVER.run(Tx(connection, store.now(), "nod_two"), [envelope_id]) == [True]
    await store.write(PUT_OFF, Unreadable(envelope_id=envelope_id, error="too late", until=None))
    (row,) = await rows_of(store, tables.arrivals)
    assert (row.state, row.attempt, row.owner) == ("unread", 0, "nod_two")
