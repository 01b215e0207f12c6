"""Opens raw mail completely: everything that hostile bytes could make slow happens here, in a killable worker."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html import escape

from adapters.email import quotes
from adapters.email.calendars import calendar_text, is_bare_reply
from adapters.email.classify import Judgement, Own, classify
from adapters.email.headers import Headers
from adapters.email.mime import Limits, Part, TooComplex, leaves, read_headers_of
from adapters.email.quote_html import to_text
from adapters.email.reports import Report, read_report
from adapters.email.threads import Repeats
from adapters.email.winmail import unpack_winmail

MAX_CHARS = 100_000
MAX_CALENDARS = 5
MAX_UNPACKED = 100
_WORDS_COMPARED = 10
_TRACE = frozenset({"received", "return-path", "delivered-to", "x-original-to", "authentication-results", "x-received"})
_VERSIONS = frozenset({"text/x-amp-html", "text/watch-html", "text/enriched", "text/richtext"})
_EXTENSIONS = {"text/calendar": ".ics", "message/rfc822": ".eml", "text/html": ".html", "application/pdf": ".pdf"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the worker needs to know of the configuration; picklable."""

    own: Own
    limits: Limits = field(default_factory=Limits)
    max_attachments: int = 20
    max_attachment: int = 10 * 1024 * 1024
    answer_lists: bool = False
    open_winmail: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that came along. Its name is clean: no path, no control or direction characters."""

    name: str
    media_type: str
    content: bytes
    inline: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A mail, read."""

    headers: Headers
    judgement: Judgement
    reply: str = ""
    elided: str = ""
    attachments: tuple[Attachment, ...] = ()
    notes: tuple[str, ...] = ()
    """What a reader should know: what was left out, encrypted, or invisible in the mail."""
    report: Report | None = None
    fingerprint: str = ""
    """Identity of the content, the same over every route it may have taken."""
    too_complex: bool = False

    @property
    def repeats(self) -> Repeats:
        """How much of it repeats another mail."""
        if not self.reply:
            return "all"
        return "something" if self.elided else "nothing"


def open_mail(raw: bytes, mail_from: str | None, rules: Rules) -> Opened:
    """Read a whole mail. Never raises: what cannot be opened comes back as `too_complex`."""
    headers = read_headers_of(raw, rules.limits)
    try:
        parts = leaves(raw, rules.limits)
    except TooComplex:
        return Opened(
            headers=headers, judgement=Judgement("human"), fingerprint=hashlib.sha256(raw).hexdigest(), too_complex=True
        )
    outer = parts[0].parents[0] if parts and parts[0].parents else (parts[0].media_type if parts else "text/plain")
    judgement = classify(headers, outer, mail_from, rules.own, answer_lists=rules.answer_lists)
    extraction = _written(parts)
    if judgement.sort == "human" and is_bare_reply(parts, extraction.reply):
        judgement = Judgement("auto", "an answer to an invitation")
    attachments, notes = _attachments(parts, rules)
    return Opened(
        headers=headers,
        judgement=judgement,
        reply="\n\n".join(filter(None, (extraction.reply, *_calendars(parts))))[:MAX_CHARS],
        elided=extraction.elided[:MAX_CHARS],
        attachments=attachments,
        notes=(*notes, *_encryption(outer, parts), *_two_faces(parts)),
        report=read_report(parts) if judgement.sort == "bounce" else None,
        fingerprint=_fingerprint(raw),
    )


def _fingerprint(raw: bytes) -> str:
    """A digest of what the sender wrote; headers that mail servers add on the way do not count."""
    lines: list[bytes] = []
    skipping = False
    head, _, body = raw.replace(b"\r\n", b"\n").partition(b"\n\n")
    for line in head.split(b"\n"):
        if line[:1] not in {b" ", b"\t"}:
            skipping = line.partition(b":")[0].strip().lower().decode("latin-1") in _TRACE
        if not skipping:
            lines.append(line)
    return hashlib.sha256(b"\n".join(lines) + b"\n\n" + body.rstrip()).hexdigest()


def _written(parts: list[Part]) -> quotes.Extraction:
    """The body: of alternatives the HTML, whose structure tells more; of siblings all, in order."""
    bodies = [part for part in parts if _is_body(part)]
    html = [part for part in bodies if part.media_type == "text/html"]
    plain = [part for part in bodies if part.media_type == "text/plain"]
    alternative = any("multipart/alternative" in part.parents for part in html)
    if html and (alternative or not plain):
        text = "\n".join(_unflowed(part) for part in plain)
        shown = [part for part in bodies if part in html or "multipart/alternative" not in part.parents]
        return quotes.extract(html="\n".join(_as_html(part) for part in shown), text=text)
    texts = [to_text(part.text()) if part.media_type == "text/html" else _unflowed(part) for part in bodies]
    return quotes.extract(text="\n".join(texts))


def _as_html(part: Part) -> str:
    """Text that stands beside the alternatives is no version of them: it goes between them as it was written."""
    if part.media_type == "text/html":
        return part.text()
    lines = escape(_unflowed(part)).replace("\n", "<br>")
    return f"<div>{lines}</div>"


def _two_faces(parts: list[Part]) -> list[str]:
    """Whether a mail says one thing to those who read its HTML and another to those who read its text."""
    bodies = [part for part in parts if _is_body(part) and "multipart/alternative" in part.parents]
    html = _words(to_text(part.text()) for part in bodies if part.media_type == "text/html")
    plain = _words(_unflowed(part) for part in bodies if part.media_type == "text/plain")
    if min(len(html), len(plain)) < _WORDS_COMPARED or len(html & plain) * 2 >= min(len(html), len(plain)):
        return []
    return ["The plain-text version of this mail says something else than its HTML version, which is given here."]


def _words(texts: Iterable[str]) -> set[str]:
    return {word for text in texts for word in re.findall(r"\w{3,40}", text[:MAX_CHARS].casefold())}


def _is_body(part: Part) -> bool:
    return (
        part.media_type in {"text/plain", "text/html"}
        and part.disposition != "attachment"
        and not part.file_name
        and "multipart/report" not in part.parents
    )


def _unflowed(part: Part) -> str:
    """Text with `format=flowed` line ends joined again (RFC 3676)."""
    text = part.text().replace("\r\n", "\n")
    if part.parameters.get("format", "").lower() != "flowed":
        return text
    cut = 1 if part.parameters.get("delsp", "").lower() == "yes" else 0
    out: list[str] = []
    joining = False
    for line in text.split("\n"):
        quoted = line.startswith(">")
        bare = line if quoted else line.removeprefix(" ")  # a space was stuffed before From, > and space
        if joining and not quoted:
            out[-1] += bare
        else:
            out.append(bare)
        joining = line.endswith(" ") and line != "-- " and not quoted
        if joining and cut:
            out[-1] = out[-1][:-cut]
    return "\n".join(out)


def _attachments(parts: list[Part], rules: Rules) -> tuple[tuple[Attachment, ...], list[str]]:
    kept: list[Attachment] = []
    notes: list[str] = []
    for file in _files(parts, rules):
        if len(file.content) > rules.max_attachment or len(kept) >= rules.max_attachments:
            notes.append(left_out(file))
        else:
            kept.append(file)
    return tuple(kept), notes


def left_out(file: Attachment) -> str:
    """The note about one that is not taken over."""
    return f"The attachment {file.name!r} ({len(file.content)} bytes) was left out: it exceeds the limit."


def _files(parts: list[Part], rules: Rules) -> Iterator[Attachment]:
    for at, part in enumerate(part for part in parts if not _is_body(part) and _is_file(part)):
        content = part.content()
        name = clean_name(part.file_name) or f"attachment-{at + 1}{_EXTENSIONS.get(part.media_type, '')}"
        if rules.open_winmail and part.media_type in {"application/ms-tnef", "application/vnd.ms-tnef"}:
            for found, data in unpack_winmail(content, MAX_UNPACKED):
                inner = clean_name(found)
                yield Attachment(name=inner or name, media_type=sniff(data, inner, ""), content=data)
        elif content:
            yield Attachment(
                name=name,
                media_type=sniff(content, name, part.media_type),
                content=content,
                inline=bool(part.content_id) and part.disposition != "attachment",
            )


def _is_file(part: Part) -> bool:
    if "multipart/report" in part.parents:
        return False
    if part.media_type in _VERSIONS and "multipart/alternative" in part.parents:
        return False  # the text once more, for programs that show it in their own way
    return (
        bool(part.file_name) or part.disposition == "attachment" or part.media_type not in {"text/plain", "text/html"}
    )


def clean_name(name: str) -> str:
    """A file name that is safe to show and to store: no path, no control or direction characters, 120 at most."""
    name = unicodedata.normalize("NFC", name.encode("utf-8", "ignore").decode("utf-8"))
    name = re.split(r"[\\/]", name)[-1]
    name = "".join(char for char in name if unicodedata.category(char) not in {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
    name = name.strip(" .")
    stem, dot, extension = name.rpartition(".")
    if dot and len(name) > 120:  # noqa: PLR2004 - as the docstring says
        return f"{stem[: 119 - len(extension[:20])]}.{extension[:20]}"
    return name[:120]


_MAGIC = (
    (b"%PDF-", "application/pdf"), (b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"), (b"PK\x03\x04", "application/zip"), (b"\x1f\x8b", "application/gzip"),
    (b"Rar!", "application/vnd.rar"), (b"7z\xbc\xaf", "application/x-7z-compressed"),
    (b"MZ", "application/x-msdownload"),
    (b"\x7fELF", "application/x-executable"), (b"\xd0\xcf\x11\xe0", "application/x-ole-storage"),
    (b"OggS", "audio/ogg"), (b"ID3", "audio/mpeg"), (b"II*\x00", "image/tiff"), (b"MM\x00*", "image/tiff"),
)  # fmt: skip
_ZIPPED = re.compile(r"\.(?:docx|xlsx|pptx|odt|ods|odp|epub|jar|apk|docm|xlsm)$", re.IGNORECASE)


def sniff(content: bytes, name: str, claimed: str) -> str:
    """The media type by content where that is plain, else as claimed."""
    found = next((media_type for magic, media_type in _MAGIC if content.startswith(magic)), "")
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        found = "image/webp"
    containers = {"application/zip", "application/x-ole-storage"}  # office files are such, and their claim says more
    if found in containers and claimed not in {"", "application/octet-stream"}:
        return claimed if _ZIPPED.search(name) or found != "application/zip" else found
    return found or claimed or "application/octet-stream"


def _calendars(parts: list[Part]) -> list[str]:
    """The same invitation comes twice in many mails: beside the text, and as a file."""
    found = (calendar_text(part) for part in parts if part.media_type == "text/calendar")
    return list(dict.fromkeys(filter(None, found)))[:MAX_CALENDARS]


def _encryption(outer: str, parts: list[Part]) -> list[str]:
    smime = {"application/pkcs7-mime", "application/x-pkcs7-mime"}
    sealed = [part for part in parts if part.media_type in smime | {"application/pgp-encrypted"}]
    if sealed and all(part.parameters.get("smime-type", "").lower() == "signed-data" for part in sealed):
        return [
            "The message is signed in a form that hides its text (S/MIME). Ask the sender to sign it in clear text."
        ]
    if sealed or outer == "multipart/encrypted":
        return ["The message is encrypted and cannot be read here. Ask the sender to send it without encryption."]
    return []
