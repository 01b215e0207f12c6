from collections.abc import AsyncIterator

import pytest

from tests.end_to_end.parties import Sink


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    double = Sink()
    server = await double.start()
    async with server:
        yield double
