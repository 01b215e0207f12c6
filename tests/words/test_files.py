"""Attachments in a real folder."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.adapter import Files
from bridge.errors import ConfigError, StoreUnavailable, TooLarge
from bridge.files import Attachments
from bridge.model import FileRef, StoredFile
from bridge.tokens import Tokens

HOUR = timedelta(hours=1)


class Rows:
    """The rows in a dictionary, with the one rule that they are unique by digest and name."""

    def __init__(self) -> None:
        self.by_id: dict[str, StoredFile] = {}

    async def add(self, file: StoredFile) -> StoredFile:
        same = [row for row in self.by_id.values() if (row.digest, row.name) == (file.digest, file.name)]
        return same[0] if same else self.by_id.setdefault(file.id, file)

    async def find(self, file_id: str) -> StoredFile | None:
        return self.by_id.get(file_id)


class Clock:
    def __init__(self) -> None:
        self.at = datetime.now(UTC)

    def now(self) -> datetime:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class Place:
    def __init__(self, folder: Path) -> None:
        self.folder, self.rows, self.clock = folder, Rows(), Clock()
        self.files = Attachments(
            str(folder),
            self.rows,
            Tokens(["k" * 32]),
            self.clock,
            public_url="https://bridge.example.com",
            max_bytes=1_000_000,
        )

    @property
    def blobs(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "files")


def token_of(link: str) -> str:
    return urlsplit(link).path.split("/")[2]


@pytest.mark.parametrize("url", ["nonsense://bucket/x", "://", "taken/files"])
def test_a_place_that_cannot_be_used_is_a_problem_of_the_configuration(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("taken").touch()
    with pytest.raises(ConfigError, match=r"^bridge\.files_url: cannot be used .*; for example"):
        Attachments(url, Rows(), Tokens(["k" * 32]), Clock(), public_url="https://x", max_bytes=1)


async def test_what_is_stored_is_loaded_again(place: Place) -> None:
    files: Files = place.files
    ref = await files.store("../notes.md", "text/markdown", b"# Hi", origin="orders")
    assert (ref.name, ref.media_type, ref.size) == ("notes.md", "text/markdown", 4)
    assert ref.url.startswith("file:fil_")
    assert await files.load(ref) == b"# Hi"


async def test_a_store_without_a_folder_works_alike() -> None:
    files = Attachments("memory:///", Rows(), Tokens(["k" * 32]), Clock(), public_url="https://x", max_bytes=100)
    ref = await files.store("a.txt", None, b"in a bucket", origin="orders")
    assert await files.load(ref) == b"in a bucket"


async def test_the_same_content_twice_is_one_file(place: Place) -> None:
    first = await place.files.store("a.txt", None, b"same", origin="orders")
    assert await place.files.store("a.txt", None, b"same", origin="team") == first
    other = await place.files.store("b.txt", None, b"same", origin="team")
    assert other != first
    assert len(place.blobs) == 1


async def test_what_is_too_large_is_refused_before_anything_is_written(place: Place) -> None:
    with pytest.raises(TooLarge, match=r"big\.bin"):
        await place.files.store("big.bin", None, b"x" * 1_000_001, origin="orders")
    assert place.blobs == []


@pytest.mark.parametrize("url", ["file:fil_unknown", "https://example.com/a.txt", "file:../../etc/passwd"])
async def test_what_was_never_stored_is_a_key_error(place: Place, url: str) -> None:
    with pytest.raises(KeyError):
        await place.files.load(FileRef(url=url, name="a.txt"))


async def test_bytes_that_are_gone_are_a_key_error(place: Place) -> None:
    ref = await place.files.store("a.txt", None, b"gone soon", origin="orders")
    place.blobs[0].unlink()
    with pytest.raises(KeyError):
        await place.files.load(ref)


async def test_a_place_that_cannot_be_written_is_unavailable_and_leaves_no_row(place: Place) -> None:
    place.folder.rmdir()
    place.folder.touch()
    with pytest.raises(StoreUnavailable):
        await place.files.store("a.txt", None, b"x", origin="orders")
    assert place.rows.by_id == {}


@pytest.mark.parametrize(
    ("start", "end", "expected"), [(0, None, b"0123456789"), (3, 5, b"34"), (8, 99, b"89"), (10, None, b"")]
)
async def test_a_range_is_read(place: Place, start: int, end: int | None, expected: bytes) -> None:
    ref = await place.files.store("a.txt", None, b"0123456789", origin="orders")
    file = place.rows.by_id[ref.url.removeprefix("file:")]
    assert b"".join([chunk async for chunk in place.files.read(file, start=start, end=end)]) == expected


async def test_a_link_opens_the_file_until_it_expires_and_keeps_the_extension(place: Place) -> None:
    ref = await place.files.store("Bericht März.pdf", None, b"%PDF-1.7\n\xff", origin="orders")
    link = place.files.link(ref, HOUR)
    assert unquote(link).endswith("/Bericht März.pdf")
    assert link.startswith("https://bridge.example.com/files/")
    place.clock.at += HOUR
    file = await place.files.behind(token_of(link))
    assert file is not None
    assert file.ref == ref
    place.clock.at += HOUR
    assert await place.files.behind(token_of(link)) is None


async def test_a_link_is_the_same_when_it_is_made_again_soon(place: Place) -> None:
    ref = await place.files.store("a.txt", None, b"x", origin="orders")
    place.clock.at = datetime(2026, 1, 1, 12, 0, 1, tzinfo=UTC)
    link = place.files.link(ref, HOUR)
    place.clock.at += timedelta(minutes=58)
    assert place.files.link(ref, HOUR) == link


async def test_an_address_of_somebody_else_stays_as_it_is(place: Place) -> None:
    ref = FileRef(url="https://example.com/a.txt", name="a.txt")
    assert place.files.link(ref, HOUR) == ref.url


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(change=st.data())
async def test_no_changed_token_opens_anything(place: Place, change: st.DataObject) -> None:
    ref = await place.files.store("a.txt", None, b"x", origin="orders")
    token = token_of(place.files.link(ref, HOUR))
    where = change.draw(st.integers(0, len(token) - 1))
    sign = change.draw(st.characters().filter(lambda sign: sign != token[where]))
    changed = token[:where] + sign + token[where + 1 :]
    # The last sign of base64 carries spare bits, which decode alike.
    assert where == len(token) - 1 or await place.files.behind(changed) is None


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "fil_x.99999999999.AAAA", "é.1.x", "x" * 10_000])
async def test_junk_tokens_open_nothing(place: Place, token: str) -> None:
    assert await place.files.behind(token) is None


async def test_bytes_nobody_names_are_forgotten_but_not_in_their_first_hour(place: Place) -> None:
    await place.files.store("a.txt", None, b"x", origin="orders")
    (blob,) = place.blobs
    assert not await place.files.forget(blob.name)
    past = (datetime.now(UTC) - 2 * HOUR).timestamp()
    os.utime(blob, (past, past))
    assert await place.files.forget(blob.name)
    assert await place.files.forget(blob.name)
    assert place.blobs == []


async def test_storing_again_renews_what_was_about_to_be_forgotten(place: Place) -> None:
    await place.files.store("a.txt", None, b"x", origin="orders")
    (blob,) = place.blobs
    os.utime(blob, (0, 0))
    await place.files.store("b.txt", None, b"x", origin="orders")
    assert not await place.files.forget(blob.name)
