"""multipart/form-data (RFC 7578), strictly: what a browser or `curl -F` sends, and nothing nested."""

import re
from dataclasses import dataclass
from email.message import Message

from bridge.errors import Malformed
from bridge.model import Envelope

MAX_PARTS = 1000
_BOUNDARY = re.compile(r"""[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file that came as a part of the form."""

    field: str
    name: str
    media_type: str | None
    content: bytes


def has_uploads(envelope: Envelope) -> bool:
    """Whether a part of the form declares a file name. Cheap; the parts themselves are not read."""
    return b"filename" in envelope.body


def parts_of_form(envelope: Envelope) -> tuple[list[tuple[str, str]], tuple[Upload, ...]]:
    """The text fields in order, and the files. Raises Malformed."""
    pairs: list[tuple[str, str]] = []
    uploads: list[Upload] = []
    for head, content in _split(envelope.body, _boundary(envelope)):
        headers = _headers(head)
        name = headers.get_param("name", header="content-disposition")
        if headers.get_content_disposition() != "form-data" or not isinstance(name, str):
            raise Malformed("A part of the form has no name.")
        file_name = headers.get_filename()
        if file_name is not None:
            declared = headers.get("content-type")
            uploads.append(
                Upload(field=name, name=_bare_name(file_name), media_type=_type_of(declared), content=content)
            )
        else:
            pairs.append((name, _text(content)))
    return pairs, tuple(uploads)


def _boundary(envelope: Envelope) -> bytes:
    headers = Message()
    headers["content-type"] = envelope.header("content-type") or ""
    boundary = headers.get_boundary()
    if boundary is None or not _BOUNDARY.fullmatch(boundary):
        raise Malformed("The multipart body declares no usable boundary.")
    return boundary.encode()


def _split(body: bytes, boundary: bytes) -> list[tuple[bytes, bytes]]:
    """Head and content of each part. The last delimiter must be there: a body cut short is no form."""
    delimiter = re.compile(rb"\r\n--" + re.escape(boundary) + rb"(--|[ \t]*\r\n)")
    _, *rest = delimiter.split(b"\r\n" + body, MAX_PARTS + 1)
    ends, sections = rest[::2], rest[1::2]
    if b"--" not in ends:
        raise Malformed(f"The multipart body is cut short, or has more than {MAX_PARTS} parts.")
    parts = []
    for section in sections[: ends.index(b"--")]:
        head, blank, content = section.partition(b"\r\n\r\n")
        if not blank:
            raise Malformed("A part of the multipart body cannot be read.")
        parts.append((head, content))
    return parts


def _headers(head: bytes) -> Message:
    headers = Message()
    for line in _text(head).split("\r\n"):
        name, colon, value = line.partition(":")
        if not colon or name != name.strip() or "\n" in value or "\r" in value:
            raise Malformed("A header of a multipart part cannot be read.")
        if name.lower() in {"content-disposition", "content-type"}:
            headers[name] = value.strip()
    return headers


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Malformed("A field of the form is not UTF-8.") from None


def _bare_name(name: str) -> str:
    """Only the last segment: the sender's folders are none of ours."""
    return re.split(r"[/\\]", name.replace("\0", ""))[-1][:255] or "file"


def _type_of(declared: str | None) -> str | None:
    found = (declared or "").partition(";")[0].strip().lower()
    return found if re.fullmatch(r"[a-z0-9.+-]+/[a-z0-9.+-]+", found) else None
