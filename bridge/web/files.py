"""`GET /files/{token}/{name}`: attachments, for whoever holds a link that has not expired."""

import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from bridge.files import Attachments
from bridge.model import StoredFile
from bridge.web.problem import problem

_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class Downloads:
    """Serves bytes as what they are, to be saved and never to be shown: they came from strangers."""

    def __init__(self, files: Attachments) -> None:
        self._files = files

    def routes(self) -> list[BaseRoute]:
        """The one route; it answers HEAD too."""
        return [Route("/files/{token}/{name}", self.file)]

    async def file(self, request: Request) -> Response:
        """The file, or the part of it that `Range` asks for (RFC 9110, 14). One sentence for every link that fails."""
        file = await self._files.behind(request.path_params["token"])
        if file is None:
            return _gone()
        etag = f'"{file.digest}"'
        headers = _headers(file, etag)
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        asked = request.headers.get("range") if request.headers.get("if-range", etag) == etag else None
        part = (0, file.size) if asked is None or request.method == "HEAD" else _part(asked, file.size)
        if part is None:
            detail = f"The file has {file.size} bytes; the range lies behind its end."
            refused = {"Content-Range": f"bytes */{file.size}"}
            return problem(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, detail, headers=refused)
        return await self._answer(file, part, headers, is_head=request.method == "HEAD")

    async def _answer(
        self, file: StoredFile, part: tuple[int, int], headers: dict[str, str], *, is_head: bool
    ) -> Response:
        start, end = part
        status = HTTPStatus.OK
        if (start, end) != (0, file.size):
            status = HTTPStatus.PARTIAL_CONTENT
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
        headers["Content-Length"] = str(end - start)
        if is_head:
            return Response(status_code=status, headers=headers, media_type=file.media_type)
        chunks = self._files.read(file, start=start, end=end)
        try:
            first = await anext(chunks, b"")  # before the headers go out, so that missing bytes are a 404
        except KeyError:
            return _gone()
        return StreamingResponse(_joined(first, chunks), status, headers, file.media_type)


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk


def _headers(file: StoredFile, etag: str) -> dict[str, str]:
    return {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=3600",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.name, safe='')}",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "ETag": etag,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }


def _part(asked: str, size: int) -> tuple[int, int] | None:
    """Start and end of the range; the whole where it cannot be read or is several; None where it lies outside."""
    match = _RANGE.fullmatch(asked.strip().lower().replace(" ", ""))
    if match is None or not any(match.groups()):
        return 0, size
    first, last = match.groups()
    if not first:  # the last so many bytes
        return (max(size - int(last), 0), size) if int(last) and size else None
    if last and int(last) < int(first):
        return 0, size
    end = min(int(last) + 1, size) if last else size
    return (int(first), end) if int(first) < size else None


def _gone() -> Response:
    return problem(HTTPStatus.NOT_FOUND, "This link is not valid, or not any more. Ask for the message again.")
