"""A tolerant header layer: reads any bytes, raises nothing, and takes time in proportion to their length.

Python's own header objects recurse on `((((`, raise IndexError on real Exchange ids and take seconds on long
address lists (measured), so nothing untrusted is ever given to them.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass

from adapters.email.domains import plain_address
from bridge.storable import storable

MAX_VALUE = 8 * 1024
MAX_ADDRESSES = 100
MAX_WORDS = 200

_CHARSETS = {
    "x-unknown": "utf-8", "unknown-8bit": "utf-8", "default": "utf-8", "ansi": "cp1252", "cp-850": "cp850",
    "x-user-defined": "cp1252", "iso-8859-1": "cp1252", "us-ascii": "utf-8", "ascii": "utf-8", "utf8mb4": "utf-8",
    "iso-8859-8-i": "iso-8859-8", "iso-8859-6-i": "iso-8859-6", "x-gbk": "gb18030", "gb2312": "gb18030",
    "x-sjis": "cp932", "shift_jis": "cp932", "ks_c_5601-1987": "cp949", "euc-kr": "cp949", "x-mac-roman": "mac-roman",
    "macintosh": "mac-roman", "unicode-1-1-utf-7": "utf-7", "latin-1": "cp1252",
}  # fmt: skip
"""What senders write, and what they mean: supersets where a program names the smaller set by habit."""

_UNSAFE = frozenset({"idna", "punycode", "raw-unicode-escape", "unicode-escape", "undefined", "mbcs", "oem"})
_WORD = re.compile(r"=\?([^?\s]{1,40})\?([bBqQ])\?([^?]{0,4000})\?=")
_BETWEEN_WORDS = re.compile(r"(\?=)[ \t]+(=\?[^?\s]{1,40}\?[bBqQ]\?)")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_BREAKS = re.compile(r"[\t-\r]+")


def decode(raw: bytes, charset: str | None) -> str:
    """Text from bytes in whatever charset they claim: the claim, else UTF-8, else Windows-1252. Never raises."""
    name = (charset or "utf-8").strip(" \"'").lower().split(";")[0]
    name = _CHARSETS.get(name, name)
    for candidate in (name, "utf-8"):
        try:
            if candidate not in _UNSAFE:
                return _storable(raw.decode(candidate))
        except (LookupError, ValueError):
            continue
    return _storable(raw.decode("cp1252", "replace"))


def _storable(text: str) -> str:
    """Without NUL, of which text in a wrong charset is full; UTF-7 can spell half surrogates."""
    return storable(text.replace("\x00", ""))


def decode_words(value: str) -> str:
    """Decode `=?utf-8?q?…?=` words (RFC 2047); what is not one stays as it is, control characters go."""
    value = _BETWEEN_WORDS.sub(r"\1\2", value[:MAX_VALUE])
    return _BREAKS.sub(" ", _CONTROL.sub("", _WORD.sub(_decoded_word, value, count=MAX_WORDS))).strip()


def _decoded_word(match: re.Match[str]) -> str:
    charset, encoding, text = match.groups()
    try:
        raw = text.encode("ascii", "replace")
        if encoding in "bB":
            decoded = base64.b64decode(raw + b"=" * (-len(raw) % 4))
        else:
            decoded = binascii.a2b_qp(raw.replace(b"_", b" "), header=False)
    except (binascii.Error, ValueError):
        return match.group()
    return decode(decoded, charset.partition("*")[0])


@dataclass(frozen=True, slots=True)
class Address:
    """One mailbox: the name as shown, the address in lower case, its domain in ASCII."""

    name: str
    address: str

    @property
    def domain(self) -> str:
        """What stands after the last `@`."""
        return self.address.rpartition("@")[2]


@dataclass(frozen=True, slots=True)
class Headers:
    """A header section: names in lower case, values unfolded, in the order they arrived."""

    fields: tuple[tuple[str, str], ...]
    complete: bool = True
    """False where there were more or larger fields than allowed; the rest was not read."""

    def all(self, name: str) -> list[str]:
        """Every value of a field, cut to 8 KiB each."""
        return [value[:MAX_VALUE] for key, value in self.fields if key == name]

    def first(self, name: str) -> str:
        """The first value, or an empty string."""
        return next((value[:MAX_VALUE] for key, value in self.fields if key == name), "")

    def text(self, name: str) -> str:
        """The first value, decoded for people."""
        return decode_words(self.first(name))

    def addresses(self, name: str) -> list[Address]:
        """All mailboxes of all fields of that name, at most 100."""
        found = (address for value in self.all(name) for address in addresses(value))
        return [address for address, _ in zip(found, range(MAX_ADDRESSES), strict=False)]


def read_headers(block: bytes, *, max_bytes: int, max_count: int) -> Headers:
    """Read a header section. Lines that are no field are left out."""
    fields: list[tuple[str, str]] = []
    complete = len(block) <= max_bytes
    for line in _unfolded(block[:max_bytes]):
        name, colon, value = line.partition(":")
        name = name.rstrip(" \t").lower()
        if not colon or not name or not name.isascii() or " " in name:
            continue
        if len(fields) >= max_count:
            return Headers(tuple(fields), complete=False)
        fields.append((name, value.strip(" \t")))
    return Headers(tuple(fields), complete=complete)


def _unfolded(block: bytes) -> Iterator[str]:
    parts: list[str] = []
    for line in re.split(r"\r\n|\n|\r", _as_text(block)):
        if line[:1] in {" ", "\t"} and parts:
            parts.append(line)
            continue
        if parts:
            yield "".join(parts)
        parts = [line]
    if parts:
        yield "".join(parts)


def _as_text(block: bytes) -> str:
    try:
        return block.decode("utf-8")
    except UnicodeDecodeError:
        return block.decode("latin-1")


def addresses(value: str) -> Iterator[Address]:
    """The mailboxes of an address list. Linear; comments, groups and routes are understood, never trusted."""
    name, address, has_angle = "", "", False
    for kind, text in _tokens(value[:MAX_VALUE]):
        if kind == "angle":
            address, has_angle = text, True
        elif kind == "end":
            if found := _mailbox(name, address, has_angle=has_angle):
                yield found
            name, address, has_angle = "", "", False
        elif kind == "group":
            name = ""
        elif not has_angle:
            name += text
    if found := _mailbox(name, address, has_angle=has_angle):
        yield found


def _tokens(value: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(value):
        char = value[at]
        if char == '"':
            text, at = quoted(value, at)
            yield "text", text
        elif char == "(":
            at = after_comment(value, at)
        elif char == "<":
            end = value.find(">", at)
            end = len(value) if end < 0 else end
            yield "angle", value[at + 1 : end]
            at = end + 1
        else:
            at += 1
            yield {",": "end", ";": "end", ":": "group"}.get(char, "text"), char


def quoted(value: str, at: int) -> tuple[str, int]:
    """What stands in the quotes that begin at `at`, and the place behind them."""
    out: list[str] = []
    at += 1
    while at < len(value) and value[at] != '"':
        at += value[at] == "\\"
        out.append(value[at : at + 1])
        at += 1
    return "".join(out), at + 1


def after_comment(value: str, at: int) -> int:
    """The place behind the comment that begins at `at`, others inside it included."""
    depth = 0
    while at < len(value):
        depth += (value[at] == "(") - (value[at] == ")")
        at += 1 + (value[at] == "\\")
        if depth == 0:
            break
    return at


_MAILBOX = re.compile(r"[^\s@<>,;:()\"\[\]\\]{1,128}@[^\s@<>,;:()\"\\]{1,255}")


def _mailbox(name: str, address: str, *, has_angle: bool) -> Address | None:
    bare = (address if has_angle else name).strip()
    if bare.startswith("@") and ":" in bare:  # an obsolete route (RFC 5322, 4.4)
        bare = bare.rpartition(":")[2]
    if not _MAILBOX.fullmatch(bare):
        return None
    return Address(decode_words(name) if has_angle else "", plain_address(bare.lower()))


def message_ids(value: str) -> list[str]:
    """The ids of a References or In-Reply-To field, oldest first, whatever separates them."""
    return re.findall(r"<[^<>\s,]{1,250}>", value)
