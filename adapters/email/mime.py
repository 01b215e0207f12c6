"""Opens a MIME message with limits: no recursion, linear time, bytes in, a flat list of leaves out."""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass

from adapters.email.headers import Headers, decode, decode_words, read_headers

MAX_PADDING = 200
"""White space that may follow a boundary on its line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a message may hold. What exceeds `parts` or `depth` is kept for a person, not opened."""

    header_bytes: int = 64 * 1024
    header_count: int = 500
    parts: int = 200
    depth: int = 20


class TooComplex(Exception):
    """The message has more headers, parts or levels than anyone writes."""


@dataclass(frozen=True, slots=True)
class Part:
    """One leaf of a message, its content still encoded."""

    headers: Headers
    body: bytes
    media_type: str
    parameters: dict[str, str]
    parents: tuple[str, ...]
    """The media types it lies in, outermost first."""
    place: int
    """Its number among the parts of its parent; 0 in an alternative is the plainest."""

    def content(self) -> bytes:
        """The bytes, with the transfer encoding undone as far as it can be. Never raises."""
        encoding = self.headers.first("content-transfer-encoding").lower().split(";")[0].strip()
        if encoding == "base64":
            return _base64(self.body)
        if encoding == "quoted-printable":
            return binascii.a2b_qp(self.body)
        return self.body

    def text(self) -> str:
        """The content as text."""
        return decode(self.content(), self.parameters.get("charset"))

    @property
    def disposition(self) -> str:
        """`attachment`, `inline`, or empty."""
        return self.headers.first("content-disposition").partition(";")[0].strip().lower()

    @property
    def file_name(self) -> str:
        """The name the sender gave the part, unchecked."""
        given = parameters(self.headers.first("content-disposition")).get("filename", "")
        return given or self.parameters.get("name", "")

    @property
    def content_id(self) -> str:
        """By which HTML refers to it."""
        return self.headers.first("content-id").strip("<> ")


_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))


def _base64(body: bytes) -> bytes:
    clean = body.translate(None, _NOT_BASE64)
    clean = clean[: len(clean) - (len(clean) % 4 == 1)]  # a lone last character carries no byte
    return base64.b64decode(clean + b"=" * (-len(clean) % 4))


def parameters(value: str) -> dict[str, str]:
    """The parameters of a Content-Type or Content-Disposition, RFC 2231 forms included."""
    found: dict[str, str] = {}
    for match, _ in zip(_PARAMETER.finditer(value), range(50), strict=False):
        name, quoted, bare = match.group(1).lower(), match.group(2), match.group(3)
        text = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else bare.strip()
        found.setdefault(name, text)
    return {**_continued(found), **{k: decode_words(v) for k, v in found.items() if "*" not in k}}


_PARAMETER = re.compile(
    r";\s{0,200}([\w.*-]{1,60})\s{0,20}=\s{0,20}(?:\"((?:[^\"\\]|\\.){0,2000})\"?|([^;\s]{0,1000}))"
)


def _continued(found: dict[str, str]) -> dict[str, str]:
    """`name*0*=utf-8''…; name*1=…` put together (RFC 2231)."""
    pieces: dict[str, list[tuple[int, str]]] = {}
    for name, value in found.items():
        base, star, rest = name.partition("*")
        number = rest.rstrip("*")
        if star and (number.isdigit() or not number):
            pieces.setdefault(base, []).append((int(number or 0) % 1000, value))
    return {name: _percent("".join(text for _, text in sorted(parts))) for name, parts in pieces.items()}


def _percent(value: str) -> str:
    charset, tick, rest = value.partition("'")
    encoded = rest.partition("'")[2] if tick else value
    raw = re.sub(rb"%([0-9A-Fa-f]{2})", lambda m: bytes([int(m.group(1), 16)]), encoded.encode("utf-8", "replace"))
    return decode(raw, charset if tick else None)


_BLANK_LINE = re.compile(rb"\r?\n\r?\n|\r\r")


def split(raw: bytes, within: int = 1 << 30) -> tuple[bytes, bytes]:
    """The header section and the body. Without a blank line in the first `within` bytes all of it is header."""
    match = _BLANK_LINE.search(raw, 0, within)
    if raw[:2] == b"\r\n" or raw[:1] == b"\n":
        return b"", raw.lstrip(b"\r\n")
    return (raw[: match.start()], raw[match.end() :]) if match else (raw, b"")


@dataclass(frozen=True, slots=True)
class _Level:
    raw: bytes
    parents: tuple[str, ...]
    place: int
    default: str


def leaves(raw: bytes, limits: Limits) -> list[Part]:
    """Every leaf, in the order of the message; `message/rfc822` is a leaf. Raises TooComplex."""
    found: list[Part] = []
    waiting = [_Level(raw, (), 0, "text/plain")]
    seen = 0
    while waiting:
        level = waiting.pop()
        seen += 1
        if seen > limits.parts or len(level.parents) > limits.depth:
            raise TooComplex
        part = _part(level, limits)
        boundary = part.parameters.get("boundary", "")
        if not part.media_type.startswith("multipart/") or not boundary:
            found.append(part)
            continue
        default = "message/rfc822" if part.media_type == "multipart/digest" else "text/plain"
        pieces = list(_pieces(part.body, boundary, limits.parts))
        parents = (*part.parents, part.media_type)
        waiting += [_Level(piece, parents, at, default) for at, piece in reversed(list(enumerate(pieces)))]
    return found


def _part(level: _Level, limits: Limits) -> Part:
    head, body = split(level.raw, limits.header_bytes + 4)
    headers = read_headers(head, max_bytes=limits.header_bytes, max_count=limits.header_count)
    if not headers.complete:
        raise TooComplex
    value = headers.first("content-type") or level.default
    media_type = value.partition(";")[0].strip().lower()
    if not re.fullmatch(r"[\w.+-]{1,60}/[\w.+-]{1,100}", media_type):
        media_type = "text/plain"  # RFC 2045, 5.2
    return Part(headers, body, media_type, parameters(value), level.parents, level.place)


def _pieces(body: bytes, boundary: str, most: int) -> Iterator[bytes]:
    """What lies between the boundary lines; the last piece may lack its end, as truncated mail does."""
    mark = b"--" + boundary.rstrip().encode("utf-8", "replace")
    start: int | None = None
    count = 0
    found = 0 if body.startswith(mark) else _boundary_line(body, mark, 0)
    while found >= 0:
        at = found + len(mark)
        found, here = _boundary_line(body, mark, at), found
        line = body[at : at + MAX_PADDING].partition(b"\n")[0]
        closes = line.startswith(b"--")
        if line.removeprefix(b"--").strip():  # another boundary that begins like this one
            continue
        if start is not None:
            yield body[start : _before_break(body, here)]
            count += 1
        if closes or count > most:
            return
        start = min(at + len(line) + 1, len(body))
    if start is not None and start < len(body):
        yield body[start:]


def _boundary_line(body: bytes, mark: bytes, at: int) -> int:
    """Where the next line begins with the mark, or -1."""
    found = body.find(b"\n" + mark, at)
    return found + 1 if found >= 0 else -1


def _before_break(body: bytes, at: int) -> int:
    """The line break before a boundary belongs to the boundary (RFC 2046, 5.1.1)."""
    if body[at - 2 : at] == b"\r\n":
        return at - 2
    return max(at - 1, 0)


def read_headers_of(raw: bytes, limits: Limits) -> Headers:
    """The message's own headers, cut where they exceed the limits."""
    head, _ = split(raw[: limits.header_bytes + 4])
    return read_headers(head, max_bytes=limits.header_bytes, max_count=limits.header_count)
