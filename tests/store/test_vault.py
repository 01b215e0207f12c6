"""What adapters remember: sealed, changed by compare-and-set, and forgotten when it was to be."""

from datetime import timedelta

from bridge.operations import Operations
from bridge.retention import Retention
from bridge.sealing import Sealer
from bridge.store import tables
from bridge.store.database import Store
from bridge.store.retention import Ages
from bridge.store.vault import StoredVault
from tests.conftest import FakeClock
from tests.store.journeys import rows_of, say

DAY = timedelta(days=1)


def vault_of(store: Store, source: str = "helpdesk") -> StoredVault:
    return StoredVault(store, Sealer(["a-secret-key-for-these-tests-only-0123456789"]), source)


async def once(store: Store, clock: FakeClock) -> None:
    async def never(_digest: str) -> bool:
        return False

    ages = Ages(payloads=DAY, rows=DAY, dedupe=DAY)
    await Retention(store, clock, ages, forget_bytes=never).once()


async def test_a_value_changes_only_for_who_knows_its_version(store: Store) -> None:
    vault = vault_of(store)
    assert await vault.put("cursor", b"one", version=None)
    assert not await vault.put("cursor", b"two", version=None)
    assert not await vault.put("cursor", b"two", version=7)
    assert await vault.put("cursor", b"two", version=1)
    assert await vault.get("cursor") == (b"two", 2)
    assert await vault_of(store, "other").get("cursor") is None


async def test_values_are_sealed(store: Store) -> None:
    await vault_of(store).put("token", b"plain words", version=None)
    (row,) = await rows_of(store, tables.vault)
    assert b"plain words" not in row.sealed


async def test_what_goes_with_a_conversation_is_erased_with_it_and_does_not_come_back(store: Store) -> None:
    vault = vault_of(store)
    erased = str((await say(store, "m1", "room")).messages[0].conversation_id)
    other = str((await say(store, "m2", "next door")).messages[0].conversation_id)
    await vault.put("token", b"x", version=None, conversation_id=erased)
    await vault.put("reply", b"x", version=None, conversation_id=other)
    await vault.put("cursor", b"x", version=None)
    await Operations(store, store._clock, agents={}).erase(erased)
    assert await vault.put("late", b"x", version=None, conversation_id=erased)
    assert await vault.names() == ["cursor", "reply"]


async def test_what_is_kept_for_a_time_is_forgotten_after_it_and_the_rest_is_not(
    store: Store, clock: FakeClock
) -> None:
    vault = vault_of(store)
    await vault.put("for ever", b"x", version=None)
    await vault.put("for a day", b"x", version=None, keep=DAY)
    await vault.put("renewed", b"x", version=None, keep=DAY)
    await clock.advance(DAY / 2)
    await vault.put("renewed", b"x", version=1, keep=DAY)
    await once(store, clock)
    assert await vault.names() == ["for a day", "for ever", "renewed"]
    await clock.advance(DAY / 2 + timedelta(seconds=1))
    await once(store, clock)
    assert await vault.names() == ["for ever", "renewed"]
    await clock.advance(400 * DAY)
    await once(store, clock)
    assert await vault.names() == ["for ever"]
