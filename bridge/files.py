"""Attachments, stored once for each content, in a folder or a bucket; links to them that expire."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from bridge.clock import Clock
from bridge.errors import ConfigError, StoreUnavailable, TooLarge
from bridge.model import REF, FileRef, StoredFile, new_id
from bridge.sniffing import media_type_of, safe_name
from bridge.tokens import Tokens

_PURPOSE: Final = "file"
_CHUNK_BYTES: Final = 262_144
_GRACE: Final = timedelta(hours=1)
_UNREACHABLE: Final = (BaseError, OSError)


class FileRows(Protocol):
    """The rows of files."""

    async def add(self, file: StoredFile) -> StoredFile:
        """Store the row, or return the one that has this digest and name already. Returns after the commit."""
        ...

    async def find(self, file_id: str) -> StoredFile | None:
        """The row, or None."""
        ...


class Attachments:
    """Bytes first, then the row: a crash in between leaves bytes that nobody names, never a name without bytes."""

    def __init__(
        self, files_url: str, rows: FileRows, tokens: Tokens, clock: Clock, *, public_url: str, max_bytes: int
    ) -> None:
        """`files_url` is a folder or the address of a bucket (`s3://bucket/prefix`). Raises ConfigError."""
        self._folder = None if "://" in files_url else Path(files_url).absolute()
        self._blobs = _opened(self._folder or files_url)
        self._rows = rows
        self._tokens = tokens
        self._clock = clock
        self._public_url = public_url
        self._max_bytes = max_bytes

    async def store(self, name: str, media_type: str | None, content: bytes, *, origin: str) -> FileRef:
        """Twice the same content under one name is one file. Raises TooLarge, StoreUnavailable."""
        if len(content) > self._max_bytes:
            raise TooLarge(f"The file {safe_name(name)} is larger than the {self._max_bytes} bytes taken here.")
        kind = media_type_of(content, name=name, claimed=media_type)
        digest = await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest())
        await self._put(digest, content)
        file = StoredFile(
            id=new_id("fil"),
            digest=digest,
            name=safe_name(name, kind),
            media_type=kind,
            size=len(content),
            origin=origin,
            created_at=self._clock.now(),
        )
        return (await self._rows.add(file)).ref

    async def load(self, ref: FileRef) -> bytes:
        """The whole content. Raises KeyError where it is gone, StoreUnavailable where it cannot be read now."""
        file = await self._rows.find(ref.url.removeprefix(REF)) if ref.url.startswith(REF) else None
        if file is None:
            raise KeyError(ref.url)
        return b"".join([chunk async for chunk in self.read(file)])

    async def read(self, file: StoredFile, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end`. Raises as `load` does."""
        end = file.size if end is None else min(end, file.size)
        if start >= end:
            return
        try:
            result = await obstore.get_async(self._blobs, _path(file.digest), options={"range": (start, end)})
            async for chunk in result.stream(_CHUNK_BYTES):
                yield bytes(chunk)
        except FileNotFoundError as error:
            raise KeyError(REF + file.id) from error
        except _UNREACHABLE as error:
            raise StoreUnavailable("The stored file cannot be read now.") from error

    def link(self, ref: FileRef, lifetime: timedelta) -> str:
        """Good for `lifetime` to twice that long; what is not stored here keeps its own address.

        Within a window it is the same text each time it is made, so that a repeated request to the
        agent is the same request.
        """
        if not ref.url.startswith(REF):
            return ref.url
        window = max(int(lifetime.total_seconds()), 1)
        expires = (int(self._clock.now().timestamp()) // window + 2) * window
        value = f"{ref.url.removeprefix(REF)}.{expires}"
        token = f"{value}.{self._tokens.sign(value, purpose=_PURPOSE)}"
        return f"{self._public_url}/files/{token}/{quote(ref.name, safe='')}"

    async def behind(self, token: str) -> StoredFile | None:
        """The file a link's token opens, or None: forged, expired, or gone."""
        value, _, signature = token.rpartition(".")
        file_id, _, expires = value.rpartition(".")
        if not value.isascii() or not signature.isascii():
            return None
        if not self._tokens.verify(value, signature, purpose=_PURPOSE):
            return None
        if datetime.fromtimestamp(int(expires), UTC) <= self._clock.now():
            return None
        return await self._rows.find(file_id)

    async def forget(self, digest: str) -> bool:
        """Delete bytes that no row names. Keeps what was stored in the last hour: its row may be on the way."""
        try:
            found = await obstore.head_async(self._blobs, _path(digest))
            if found["last_modified"] > self._clock.now() - _GRACE:
                return False
            await obstore.delete_async(self._blobs, _path(digest))
        except FileNotFoundError:
            return True
        except _UNREACHABLE as error:
            raise StoreUnavailable("The stored file cannot be deleted now.") from error
        return True

    async def _put(self, digest: str, content: bytes) -> None:
        try:
            # Overwriting what has the same digest is harmless, and tells `forget` that it is wanted again.
            await obstore.put_async(self._blobs, _path(digest), content, mode="overwrite", use_multipart=False)
            if self._folder:
                await asyncio.to_thread(_settle, self._folder / _path(digest))
        except _UNREACHABLE as error:
            raise StoreUnavailable("The file cannot be stored now.") from error


def _opened(place: Path | str) -> ObjectStore:
    try:
        return LocalStore(place, mkdir=True) if isinstance(place, Path) else from_url(place)
    except (*_UNREACHABLE, ValueError) as error:
        what = str(error).partition("\n")[0]  # the rest is written for the library's authors
        raise ConfigError(
            [f'bridge.files_url: cannot be used ({what}); for example files_url = "data/files"']
        ) from error


def _path(digest: str) -> str:
    return f"{digest[:2]}/{digest}"


def _settle(path: Path) -> None:
    """Onto the disk, name and bytes: the object library leaves that to the system."""
    for place in (path, path.parent):
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
