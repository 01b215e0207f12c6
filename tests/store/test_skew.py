"""The present by the database's clock, whatever is done to this machine's."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from bridge.clock import SystemClock
from bridge.store.database import Store


class SetClock(SystemClock):
    """The machine's clock, as `time.time` tells it."""

    def now(self) -> datetime:
        return datetime.fromtimestamp(time.time(), UTC)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("seconds", [-200, 200])
async def test_a_clock_that_is_set_changes_nothing(
    database_url: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(database_url, SetClock())
    try:
        await store.settle_clock()
        true_time = time.time
        monkeypatch.setattr(time, "time", lambda: true_time() + seconds)
        for _ in range(2):  # until it is measured again, and from then on
            assert abs(store.now() - datetime.fromtimestamp(true_time(), UTC)) < timedelta(seconds=10)
            await store.settle_clock()
    finally:
        await store.close()
