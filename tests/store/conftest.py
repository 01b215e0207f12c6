"""What the tests of the store share."""

from collections.abc import AsyncIterator

import pytest

from bridge.store.database import Store
from tests.conftest import FakeClock


@pytest.fixture
async def other(store: Store, database_url: str, clock: FakeClock) -> AsyncIterator[Store]:  # noqa: ARG001 - it is the first
    """A second node on the same database, which has to be PostgreSQL."""
    opened = Store.open(database_url, clock, node="nod_two")
    yield opened
    await opened.close()
