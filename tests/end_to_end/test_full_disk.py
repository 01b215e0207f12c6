"""PostgreSQL's disk is full, and then it is not: senders are told to come again, and nobody has to lend a hand."""

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from bridge.store import tables
from tests.conftest import named
from tests.end_to_end.conftest import Opened, bridge_from
from tests.end_to_end.parties import Request, Sink, post, request, write_config
from tests.store.journeys import rows_of

SYSTEM_USER = "pgserver"
SIZE = "size=40m"


class SmallDisk:
    """A file system of 40 MB with a tablespace on it. The server's log of writes is elsewhere, and has room.

    Full, every statement that needs one more page fails with the operating system's own ENOSPC (SQLSTATE 53100);
    what fits into a page that is there goes on, as on a real disk.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        with self._ballast.open("wb", buffering=0) as ballast, suppress(OSError):
            while True:
                ballast.write(bytes(4096))

    def free(self) -> None:
        self._ballast.unlink()


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    """Mounted for this test alone; where nothing may be mounted the test is skipped."""
    folder = Path(tempfile.mkdtemp(prefix="bridge-disk-"))
    mounted = os.geteuid() == 0 and subprocess.run(_mount(folder), capture_output=True, check=False).returncode == 0
    try:
        if not mounted:
            pytest.skip("a small disk can only be mounted by root")
        yield SmallDisk(folder)
    finally:
        if mounted:
            subprocess.run([shutil.which("umount") or "umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def _mount(folder: Path) -> list[str]:
    return [shutil.which("mount") or "mount", "-t", "tmpfs", "-o", SIZE, "tmpfs", str(folder)]


@pytest.fixture
def database_url(postgres: str, disk: SmallDisk) -> Iterator[str]:
    name, place = sql.Identifier(disk.folder.name), disk.folder / "place"
    place.mkdir()
    disk.folder.chmod(0o755)  # the server is another user, who only passes through
    os.chown(place, pwd.getpwnam(SYSTEM_USER).pw_uid, -1)
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE TABLESPACE {} LOCATION {}").format(name, sql.Literal(str(place))))
        admin.execute(sql.SQL("CREATE DATABASE {0} TEMPLATE template_bridge TABLESPACE {0}").format(name))
        yield named(postgres, disk.folder.name)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
        admin.execute(sql.SQL("DROP TABLESPACE {}").format(name))


@pytest.fixture
async def opened(database_url: str, tmp_path: Path, sink: Sink) -> AsyncIterator[Opened]:
    async with bridge_from(write_config(tmp_path, database_url=database_url, callback=sink.url)) as one:
        yield one


def _large(number: int) -> Request:
    """What no page in store has room for, however well it is compressed."""
    return request(f"number {number} {secrets.token_hex(10_000)}", conversation=f"c{number}")


async def test_a_full_disk_stores_nothing_by_half_and_what_was_refused_is_taken_later(
    opened: Opened, disk: SmallDisk, sink: Sink
) -> None:
    assert (await post(opened.http, request("sleep 1", conversation="running"))).status_code == 202
    disk.fill()
    sent = [_large(number) for number in range(20)]
    first = [await post(opened.http, one) for one in sent]
    refused = [one for one, response in zip(sent, first, strict=True) if response.status_code != 202]
    assert {response.status_code for response in first} <= {202, 503}
    assert len(refused) >= 10
    assert all(int(one.headers["retry-after"]) > 0 for one in first if one.status_code == 503)
    stored = {row.message_key for row in await rows_of(opened.bridge.store, tables.messages)}
    assert stored.isdisjoint(one.webhook_id for one in refused)
    assert len(await rows_of(opened.bridge.store, tables.arrivals)) == len(stored) == 1 + len(sent) - len(refused)
    disk.free()
    assert [(await post(opened.http, one)).status_code for one in sent] == [202] * 20
    await sink.callbacks(21)
    books = await opened.settled()
    assert (books.accepted, books.answered) == (21, 21)
    assert len({callback.id for callback in sink.received}) == 21
