"""No write that is made under a lease gets through once the lease is another node's, whatever it would have written."""

import asyncio
import importlib
import pkgutil
from datetime import timedelta
from typing import Any

import pytest

from bridge import store as room
from bridge.errors import Replaced
from bridge.model import Lease
from bridge.store import tables, turns
from bridge.store.database import Store
from bridge.store.nodes import BEAT, LEAVE, RECLAIM, Beat
from bridge.store.stopping import STOP_CONVERSATION, Stop
from bridge.store.writer import Write
from tests.conftest import fresh_database
from tests.store.journeys import rows_of, say, take

TTL = timedelta(seconds=5)


def _leased() -> dict[str, Write[Any, Any]]:
    """Every write of the store that carries a lease, by its name."""
    modules = [
        importlib.import_module(f"{room.__name__}.{found.name}") for found in pkgutil.iter_modules(room.__path__)
    ]
    return {
        f"{module.__name__.rpartition('.')[2]}.{name}": value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, Write) and value.lease is not None and name.isupper()
    }


LEASED = _leased()


class Late:
    """Stands for the arguments of any write, all of them under a lease of the past: the fence comes before the rest."""

    def __init__(self, conversation_id: str, epoch: int) -> None:
        self.conversation_id = conversation_id
        self.epoch = epoch

    def __getattr__(self, _: str) -> "Late":
        return self

    def __getitem__(self, _: int) -> "Late":
        return self

    def __call__(self, *_: object) -> tuple[()]:
        return ()


@pytest.fixture
def database_url(postgres: str) -> str:
    return fresh_database(postgres)


def test_the_writes_of_turns_and_deliveries_are_among_them() -> None:
    assert LEASED.keys() >= {"heads.TAKE", "turns.NOTE_TASK", "turns.END", "waiting.POSTPONE"}
    assert LEASED.keys() >= {"deliveries.BEGIN", "tries.END"}


@pytest.mark.parametrize("name", sorted(LEASED))
async def test_what_comes_after_a_takeover_is_refused(store: Store, other: Store, name: str) -> None:
    (lease,) = (await say(store, "m1")).wake
    await _take_over(other, lease.conversation_id, lease.epoch + 1)
    before = [await rows_of(store, table) for table in (tables.conversations, tables.turns, tables.deliveries)]
    with pytest.raises(Replaced):
        await store.write(LEASED[name], Late(lease.conversation_id, lease.epoch))
    after = [await rows_of(store, table) for table in (tables.conversations, tables.turns, tables.deliveries)]
    assert after == before


async def _take_over(other: Store, conversation_id: str, epoch: int) -> None:
    def take(tx: Any, rows: Any) -> list[None]:
        at = tables.conversations.c.id == conversation_id
        tx.connection.execute(tables.conversations.update().where(at).values(owner="nod_two", epoch=epoch))
        return [None] * len(rows)

    await other.write(Write(take), None)


@pytest.mark.parametrize("moving", [RECLAIM, LEAVE])
async def test_what_follows_in_the_same_batch_finds_the_conversation_gone(
    store: Store, moving: Write[Any, Any]
) -> None:
    (lease,) = (await say(store, "m1")).wake
    turn = await take(store, lease)
    _, noted = await asyncio.gather(
        store.write(moving, store.now()),
        store.write(turns.NOTE_TASK, turns.Tasked(lease, turn.id, "task")),
        return_exceptions=True,
    )
    assert isinstance(noted, Replaced)


async def test_a_wish_in_the_batch_of_a_claim_does_not_undo_it(store: Store, other: Store) -> None:
    (lease,) = (await say(other, "m1")).wake  # of a node that never gave a sign of life
    claimed, stopped = await asyncio.gather(
        store.write(BEAT, Beat(TTL, 10, exclusive=False)),
        store.write(STOP_CONVERSATION, Stop(conversation_id=lease.conversation_id)),
    )
    assert claimed == [stopped.wake] == [Lease(lease.conversation_id, lease.epoch + 1)]
    await take(store, claimed[0])
