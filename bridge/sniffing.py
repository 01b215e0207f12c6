"""What a file is, by its content, and a name for it that no reader can be tricked with. Pure."""

import mimetypes
import re
import unicodedata
from pathlib import PurePosixPath
from typing import Final

import puremagic

_HEAD_BYTES: Final = 65_536
_LONGEST_NAME_BYTES: Final = 200  # file systems take 255, and a suffix or two may be added
_MEDIA_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}")
_TEXTUAL: Final = re.compile(r"text/.+|application/(json|xml|yaml|toml|javascript|.+\+(json|xml))|message/rfc822")
_UNKNOWN: Final = "application/octet-stream"


def media_type_of(content: bytes, *, name: str = "", claimed: str | None = None) -> str:
    """The type the content shows; between types that look alike, the one the name or the sender says.

    A claim that the content contradicts is dropped: a program called photo.png is no picture. What
    shows no type is text where it reads as UTF-8 (with the claim, if that is a kind of text), else unknown.
    """
    said = [kind for kind in (_cleaned(claimed), mimetypes.guess_type(name)[0]) if kind]
    if seen := _seen(content):
        return next((kind for kind in said if kind in seen), seen[0])
    if _is_text(content):
        return next((kind for kind in said if _TEXTUAL.fullmatch(kind)), "text/plain")
    return _UNKNOWN


def safe_name(name: str, media_type: str = "") -> str:
    """The last part of a name without anything that a shell, a path or a reader's eye falls for.

    Always has an extension where the type has one; at most 200 bytes of UTF-8.
    """
    text = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2]
    # Categories C and Z: control signs, overrides of direction, private and lone surrogates, strange spaces.
    text = "".join(" " if unicodedata.category(sign)[0] in "CZ" else sign for sign in text)
    text = re.sub(r'[<>:"|?*\x00-\x1f%]+', "_", re.sub(r" +", " ", text)).strip(" .")
    path = PurePosixPath(text or "file")
    suffix = path.suffix if 1 < len(path.suffix) <= 10 else mimetypes.guess_extension(media_type) or ""  # noqa: PLR2004
    stem = path.name.removesuffix(suffix)
    room = _LONGEST_NAME_BYTES - len(suffix.encode())
    return (stem.encode()[:room].decode(errors="ignore").rstrip(" .") or "file") + suffix


def _seen(content: bytes) -> list[str]:
    """The types whose marks the content carries, the surest first; text leaves no marks."""
    if not content:
        return []
    try:
        found = puremagic.magic_string(content[:_HEAD_BYTES])
    except puremagic.PureError:
        return []
    seen = [match.mime_type for match in found if match.mime_type]
    if content.startswith(b"PK\x03\x04"):
        # Every office format is a zip: which one it is shows in the name only.
        return ["application/zip", *seen]
    if _is_text(content):
        # A brace at the start is no proof of JSON, nor "%!" of PostScript; only page formats count.
        return [kind for kind in seen if kind in {"text/html", "image/svg+xml"}]
    return seen


def _is_text(content: bytes) -> bool:
    head = content[:_HEAD_BYTES]
    if b"\0" in head:
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # The cut may have gone through a character.
        return len(content) > _HEAD_BYTES and error.start >= len(head) - 3
    return True


def _cleaned(claimed: str | None) -> str | None:
    kind = (claimed or "").partition(";")[0].strip().lower()
    return kind if _MEDIA_TYPE.fullmatch(kind) and kind != _UNKNOWN else None
