"""Files of a request: fetched from a real server, read in a real process, handed to the brain as text or image."""

import io
import zipfile
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from docx import Document
from openpyxl import Workbook
from pypdf import PdfWriter

from bridge.addresses import Guard
from bridge.agent.server.attachments import Attachments, Caps
from bridge.agent.server.brains import Attachment, BrainFault
from bridge.agent.server.extraction import TooMuch, Unreadable, text_of
from bridge.cpu import Workers
from bridge.egress import open_client
from tests.agent.conftest import Serve
from tests.agent.doubles import BREAKS_OFF, ScriptedService, text_answer

CAPS = Caps(file_bytes=3_000_000, request_bytes=4_000_000, text_chars=10_000, read_seconds=10)


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    pool = Workers(1)
    yield pool
    await pool.aclose()


def pdf(text: str, pages: int = 1) -> bytes:
    """A PDF with one line of text on each page, by hand: the reader is what is tested."""
    stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count {pages} /Kids [{' '.join(f'{5 + n} 0 R' for n in range(pages))}] >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        *[b"<< /Type /Page /Parent 2 0 R /Contents 4 0 R /Resources << /Font << /F1 3 0 R >> >> >>"] * pages,
    ]
    body, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    count = len(objects) + 1
    return body + b"xref\n0 %d\n0000000000 65535 f \n%strailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (
        count,
        table,
        count,
        len(body),
    )


def docx(*paragraphs: str) -> bytes:
    document, out = Document(), io.BytesIO()
    for paragraph in paragraphs:
        document.add_paragraph(paragraph)
    table = document.add_table(1, 2)
    table.cell(0, 0).text, table.cell(0, 1).text = "left", "right"
    document.save(out)
    return out.getvalue()


def xlsx(*rows: list[Any]) -> bytes:
    workbook, out = Workbook(), io.BytesIO()
    for row in rows:
        workbook.worksheets[0].append(row)
    workbook.save(out)
    return out.getvalue()


HTML = b"<html><head><title>T</title><script>var hidden</script></head><body><h1>Head</h1><p>One &amp;  two</p></body>"


@pytest.mark.parametrize(
    ("content", "media_type", "name", "text"),
    [
        (b"plain \xe2\x82\xac", "text/plain", "a.txt", "plain €"),
        (b"caf\xe9", "text/plain", "a.txt", "café"),
        ("wide".encode("utf-16"), "text/plain", "a.txt", "wide"),
        (b"a,b\n1,2", "text/csv", "a.csv", "a,b\n1,2"),
        (b'{"a": 1}', "application/json", "a.json", '{"a": 1}'),
        (b"# Head", "text/markdown", "a.md", "# Head"),
        (HTML, "text/html", "a.html", "Head\nOne & two"),
        (pdf("Bitcoin: the abstract", 9), "application/pdf", "a.pdf", "\n".join(["Bitcoin: the abstract"] * 9)),
        (docx("First", "Second"), "application/zip", "a.docx", "First\nSecond\nleft\tright"),
        (xlsx(["name", "n"], ["x, y", 5], [None, None]), "application/zip", "a.xlsx", 'Sheet Sheet\nname,n\n"x, y",5'),
    ],
)
def test_every_kind_of_file_gives_its_text(content: bytes, media_type: str, name: str, text: str) -> None:
    assert text_of(content, media_type, name, 10_000) == text


def zip_bomb() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", b"0" * 50_000_000)
    return out.getvalue()


def encrypted_pdf() -> bytes:
    writer, out = PdfWriter(), io.BytesIO()
    writer.add_blank_page(72, 72)
    writer.encrypt("secret", algorithm="RC4-128")
    writer.write(out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "media_type", "name"),
    [
        (b"%PDF-1.4 nonsense", "application/pdf", "a.pdf"),
        (encrypted_pdf(), "application/pdf", "a.pdf"),
        (b"PK\x03\x04 nonsense", "application/zip", "a.docx"),
        (b"PK\x03\x04 nonsense", "application/zip", "a.xlsx"),
        (b"PK\x03\x04 nonsense", "application/zip", "a.zip"),
        (zip_bomb(), "application/zip", "a.docx"),
        (b"\x00\x01", "application/octet-stream", "a"),
    ],
)
def test_what_cannot_be_read_says_so(content: bytes, media_type: str, name: str) -> None:
    with pytest.raises(Unreadable):
        text_of(content, media_type, name, 10_000)


@pytest.mark.parametrize(
    ("content", "media_type", "name"),
    [
        (b"x" * 10_001, "text/plain", "a.txt"),
        (pdf("Page", 101), "application/pdf", "a.pdf"),
        (xlsx(*[["0123456789"]] * 1000), "application/zip", "a.xlsx"),
    ],
)
def test_too_much_is_too_much(content: bytes, media_type: str, name: str) -> None:
    with pytest.raises(TooMuch):
        text_of(content, media_type, name, 10_000)


@pytest.fixture
def attachments(http: httpx2.AsyncClient, workers: Workers) -> Attachments:
    return Attachments(http, workers, caps=CAPS)


async def test_files_become_text_images_or_a_note(attachments: Attachments, service: ScriptedService) -> None:
    png = b"\x89PNG\r\n\x1a\n" + b"\x00" * 40
    service.script(
        [
            text_answer(b"notes", media_type="text/plain"),
            text_answer(png, media_type="application/octet-stream"),
            text_answer(b"gone", 404),
            BREAKS_OFF,
            text_answer(b"%PDF-1.4 nonsense", media_type="text/plain"),
        ]
    )
    urls = [f"{service.url}/{name}" for name in ("a.txt", "b.png", "c.txt", "d.txt", "e.txt")]
    files: list[Attachment] = []
    for url in [*urls, "file:///etc/passwd", "ftp://x/y"]:
        files += await attachments([url])
    assert [(file.name, file.text, bool(file.image)) for file in files[:2]] == [
        ("a.txt", "notes", False),
        ("b.png", None, True),
    ]
    assert [file.note for file in files[2:]] == [
        "it could not be fetched: its server answered 404",
        "it could not be fetched: RemoteProtocolError",
        "it is broken: PdfStreamError",
        "its address is no http or https URL",
        "its address is no http or https URL",
    ]


@pytest.mark.parametrize("size", [[3_000_001], [2_500_000, 2_500_000]], ids=["one file", "together"])
async def test_too_large_is_the_documented_error(
    attachments: Attachments, service: ScriptedService, size: list[int]
) -> None:
    service.script([text_answer(b"\x00" * one, media_type="application/pdf") for one in size])
    with pytest.raises(BrainFault, match=r"413.*request_too_large"):
        await attachments([f"{service.url}/{number}.pdf" for number in range(len(size))])


async def test_a_guarded_client_never_dials_inside(workers: Workers, service: ScriptedService) -> None:
    async with open_client(guard=Guard()) as guarded:
        [file] = await Attachments(guarded, workers)([f"{service.url}/a.txt"])
    assert file.note == "its address is not allowed here"
    assert service.calls == []


async def test_our_own_files_are_opened_not_dialled(
    http: httpx2.AsyncClient, workers: Workers, service: ScriptedService
) -> None:
    async def own(url: str) -> bytes | None:
        return b"from the store" if "/files/" in url else None

    read = Attachments(http, workers, own_file=own)
    [file] = await read([f"{service.url}/files/token/a.txt"])
    assert file.text == "from the store"
    assert service.calls == []


async def test_the_paper_is_read_unless_injection_is_off(
    serve: Serve, attachments: Attachments, service: ScriptedService
) -> None:
    agent = await serve(attach=attachments)
    service.script([text_answer(pdf("Abstract. A purely peer-to-peer version", 9), media_type="application/pdf")])
    asked = {"files": [f"{service.url}/bitcoin.pdf"]}
    answer = await agent.invoke("What is the abstract of this paper?", input=asked)
    assert answer["status"] == "completed"
    assert answer["result"].startswith("bitcoin.pdf (application/pdf, ")
    assert "Abstract. A purely peer-to-peer version" in answer["result"]
    assert answer["input"]["files"] == asked["files"]
    unread = await agent.invoke("And now?", input=asked, disable_attachment_injection=True)
    assert "was not read: it was not to be read, only named" in unread["result"]
    assert len(service.calls) == 1


async def test_a_paper_of_185_pages_is_a_200_with_an_error(
    serve: Serve, attachments: Attachments, service: ScriptedService
) -> None:
    agent = await serve(attach=attachments)
    service.script([text_answer(pdf("Page", 185), media_type="application/pdf")])
    answer = await agent.invoke("Summarise", input={"files": [f"{service.url}/185-pages.pdf"]})
    assert (answer["status"], answer["result"]) == (
        "error",
        "Error code: 413 - {'error': {'type': 'request_too_large', 'message': 'Request exceeds the maximum size'}}",
    )
