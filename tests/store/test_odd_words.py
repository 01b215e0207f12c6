"""Words that no database takes as they are."""

import pytest

from bridge.model import DeliveryState, TurnState
from bridge.store import reader, turns
from bridge.store.database import Store
from tests.store.journeys import deliver, end, say, take


@pytest.mark.parametrize("odd", ["nul \0", "half \ud83d"])
async def test_why_it_failed_is_kept_whatever_was_told(store: Store, odd: str) -> None:
    turn = await take(store, (await say(store, "m1")).wake[0])
    await store.write(turns.POSTPONE, turns.Postponement(turn=turn, until=store.now(), error=odd))
    turn = await take(store, turn.lease)
    await end(store, turn, TurnState.DEAD, kind="error", error=odd)
    await deliver(store, turn.lease, DeliveryState.PENDING, error=odd)
    await deliver(store, turn.lease, DeliveryState.DEAD, error=odd)
    (view,) = await store.read(reader.message_list)
    assert view.error == f"{odd[:-1]}\ufffd"


@pytest.mark.parametrize("odd", ["nul \0", "half \ud83d"])
async def test_what_was_said_is_kept_whatever_it_was(store: Store, odd: str) -> None:
    turn = await take(store, (await say(store, "m1", text=odd)).wake[0])
    assert turn.said[0].message.text == f"{odd[:-1]}\ufffd"


async def test_everything_else_is_kept_as_it_is(store: Store) -> None:
    turn = await take(store, (await say(store, "m1", text="\U0001f600 \u2028 \\u0000")).wake[0])
    assert turn.said[0].message.text == "\U0001f600 \u2028 \\u0000"
