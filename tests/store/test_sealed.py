"""A change of keys: what an older key has sealed is sealed anew, and nothing that changes meanwhile is lost."""

from datetime import timedelta

from bridge.resealing import EVERY, SOON, Resealing
from bridge.sealing import Sealer, marks_of
from bridge.store import tables
from bridge.store.claims import HOLD, Claim
from bridge.store.database import Store
from bridge.store.sealed import RESEAL, SLICE, Reseal, marks, sealed_otherwise
from bridge.store.vault import StoredVault
from tests.conftest import FakeClock
from tests.store.journeys import rows_of, say

NEW, OLD, LOST = "new-secret-key-0123456789", "old-secret-key-0123456789", "lost-secret-key-0123456789"


async def test_after_a_change_of_keys_the_old_one_is_needed_no_more(store: Store, clock: FakeClock) -> None:
    before = StoredVault(store, Sealer([OLD]), "team")
    for number in range(SLICE + 3):
        await before.put(f"n{number:04}", b"x", version=None)
    await Resealing(store, clock, Sealer([NEW, OLD])).once()
    after = StoredVault(store, Sealer([NEW]), "team")
    assert [await after.get(name) for name in ("n0000", f"n{SLICE + 2:04}")] == [(b"x", 1)] * 2
    (new,) = marks_of([NEW])
    assert await store.read(marks) == {new: SLICE + 3}
    assert await Resealing(store, clock, Sealer([NEW, OLD])).once() == 0
    assert await after.put("n0000", b"y", version=1)


async def test_what_changes_meanwhile_keeps_its_newer_value(store: Store, clock: FakeClock) -> None:
    vault = StoredVault(store, Sealer([OLD]), "team")
    await vault.put("token", b"first", version=None)
    sealer = Sealer([NEW, OLD])
    found = await store.read(sealed_otherwise, "vault", sealer.mark, None)
    await vault.put("token", b"second", version=1)

    def seal(sealed: bytes, purpose: str) -> bytes:
        return sealer.seal(sealer.open(sealed, purpose=purpose), purpose=purpose)

    anew = Reseal(values=found, seal=seal)
    assert await store.write(RESEAL, anew) == 0
    await Resealing(store, clock, sealer).once()
    assert await StoredVault(store, Sealer([NEW]), "team").get("token") == (b"second", 2)


async def test_what_no_key_opens_is_left_for_the_operator(store: Store, clock: FakeClock) -> None:
    await StoredVault(store, Sealer([LOST]), "team").put("a", b"x", version=None)
    await StoredVault(store, Sealer([OLD]), "team").put("b", b"x", version=None)
    await say(store, "m1")  # its envelope is no sealed value at all
    assert await Resealing(store, clock, Sealer([NEW, OLD])).once() == 1
    lost, new = marks_of([LOST, NEW])
    found = await store.read(marks)
    assert (found[lost], found[new]) == (1, 1)
    assert len(await rows_of(store, tables.envelopes)) == 1


async def test_one_node_does_it(store: Store, clock: FakeClock, database_url: str) -> None:
    await StoredVault(store, Sealer([OLD]), "team").put("a", b"x", version=None)
    await store.write(HOLD, Claim("resealing", timedelta(minutes=5)))
    if not store.exclusive:
        other = Store.open(database_url, clock, node="nod_two")
        assert await Resealing(other, clock, Sealer([NEW, OLD])).once() == 0
        await other.close()
    await clock.advance(EVERY + SOON)
    assert await Resealing(store, clock, Sealer([NEW, OLD])).once() == 1
