import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sniffing import media_type_of, safe_name


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return buffer.getvalue()


DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


@pytest.mark.parametrize(
    ("content", "name", "claimed", "expected"),
    [
        (PNG, "a.png", "image/png", "image/png"),
        (PNG, "a.txt", "text/plain", "image/png"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0", "photo.jpg", None, "image/jpeg"),
        (b"%PDF-1.7\n\xff\xfe", "a.pdf", "application/octet-stream", "application/pdf"),
        (b"MZ\x90\0\3\0", "photo.png", "image/png", "application/vnd.microsoft.portable-executable"),
        (zipped("word/document.xml"), "a.docx", None, DOCX),
        (zipped("xl/workbook.xml"), "a.xlsx", None, XLSX),
        (zipped("a.txt"), "a.zip", None, "application/zip"),
        (zipped("a.txt"), "noname", "image/png", "application/zip"),
        (b"a,b\n1,2\n", "a.csv", None, "text/csv"),
        (b"a,b\n1,2\n", "a", "text/csv; charset=utf-8", "text/csv"),
        (b'{"a": 1}', "a.json", None, "application/json"),
        (b"[section]\n", "notes", None, "text/plain"),
        ("hällo".encode(), "a.md", None, "text/markdown"),
        (b"hello", "photo.png", "image/png", "text/plain"),
        (b"<!DOCTYPE html><script>", "photo.png", "image/png", "text/html"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'>", "a.txt", "text/plain", "image/svg+xml"),
        (b"", "a.txt", None, "text/plain"),
        (b"\x00\x01\x02\x03junk", "a", None, "application/octet-stream"),
        (b"\x00\x01\x02\x03junk", "a", "text/html\r\nX-Evil: 1", "application/octet-stream"),
    ],
)
def test_the_content_decides_what_a_file_is(content: bytes, name: str, claimed: str | None, expected: str) -> None:
    assert media_type_of(content, name=name, claimed=claimed) == expected


@pytest.mark.parametrize(
    ("name", "media_type", "expected"),
    [
        ("report.pdf", "", "report.pdf"),
        ("../../etc/passwd", "", "passwd"),
        ("C:\\Users\\me\\report.pdf", "", "report.pdf"),
        ("", "image/png", "file.png"),
        ("..", "", "file"),
        (".htaccess", "", "htaccess"),
        ("picture", "image/png", "picture.png"),
        ("invoice\u202efdp.exe", "", "invoice fdp.exe"),
        ("a\r\nb\0c.txt", "", "a b c.txt"),
        ('a"b<c>|d?.txt', "", "a_b_c_d_.txt"),
        ("100%.txt", "", "100_.txt"),
        ("Übersicht März.xlsx", "", "Übersicht März.xlsx"),
        ("x" * 300 + ".pdf", "", "x" * 196 + ".pdf"),
        ("ü" * 300 + ".pdf", "", "ü" * 98 + ".pdf"),
    ],
)
def test_names_are_made_safe_and_stay_readable(name: str, media_type: str, expected: str) -> None:
    assert safe_name(name, media_type) == expected


@given(st.text(), st.sampled_from(["", "image/png", "nonsense"]))
def test_no_name_escapes_its_folder_or_is_too_long(name: str, media_type: str) -> None:
    safe = safe_name(name, media_type)
    assert safe
    assert not safe.startswith(".")
    assert not set(safe) & set('/\\\0\r\n"%')
    assert len(safe.encode()) <= 200
    assert safe_name(safe, media_type) == safe


@given(st.binary(max_size=300), st.text(max_size=20), st.text(max_size=20))
def test_any_bytes_have_a_clean_type(content: bytes, name: str, claimed: str) -> None:
    kind = media_type_of(content, name=name, claimed=claimed)
    assert kind.isascii()
    assert kind.count("/") == 1
    assert not set(kind) & set(" \r\n;")
