"""Takes the files out of a winmail.dat (TNEF, [MS-OXTNEF]), which Outlook sends instead of attachments."""

import struct
from collections.abc import Iterator

_SIGNATURE = 0x223E9F78
_RENDER_DATA = 0x9002
_TITLE = 0x8010
_DATA = 0x800F


def unpack_winmail(raw: bytes, most: int) -> list[tuple[str, bytes]]:
    """Names and contents, at most `most`; what is damaged ends the list. Never raises."""
    files: list[tuple[str, bytes]] = []
    name, data = "", b""
    for attribute, value in _attributes(raw):
        if attribute == _RENDER_DATA:
            if data:
                files.append((name, data))
            name, data = "", b""
        elif attribute == _TITLE:
            name = value.rstrip(b"\x00").decode("cp1252", "replace")
        elif attribute == _DATA:
            data = value
    if data:
        files.append((name, data))
    return files[:most]


def _attributes(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Level, type and name, length, value, checksum: each attribute of the stream."""
    if len(raw) < 6 or struct.unpack_from("<I", raw)[0] != _SIGNATURE:  # noqa: PLR2004 - signature and key
        return
    at = 6
    while at + 9 <= len(raw):
        identity, length = struct.unpack_from("<II", raw, at + 1)
        end = at + 9 + length
        if end > len(raw):
            return
        yield identity & 0xFFFF, raw[at + 9 : end]
        at = end + 2
