"""Forms with files, as a real client writes them and as nobody should."""

from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.webhook.multipart import parts_of_form
from bridge.errors import Malformed
from bridge.model import Envelope
from tests.signed_requests import envelope

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = st.text(alphabet="abcü \"'%;=[]", min_size=1, max_size=8)


def form(request: httpx2.Request) -> Envelope:
    return envelope(request.read(), content_type=request.headers["content-type"])


@settings(deadline=None)
@given(st.dictionaries(NAMES, TEXT, max_size=4), st.lists(st.binary(max_size=60), min_size=1, max_size=3))
def test_what_a_real_client_writes_is_read_back(fields: dict[str, str], contents: list[bytes]) -> None:
    files: Any = [("file", (f"{at} ü.pdf", content, "application/pdf")) for at, content in enumerate(contents)]
    pairs, uploads = parts_of_form(form(httpx2.Request("POST", "https://x", data=fields, files=files)))
    assert [value for _, value in pairs] == list(fields.values())
    assert [(upload.name, upload.media_type, upload.content) for upload in uploads] == [
        (f"{at} ü.pdf", "application/pdf", content) for at, content in enumerate(contents)
    ]


def part(head: bytes, content: bytes = b"x") -> Envelope:
    body = b"--cut\r\n" + head + b"\r\n\r\n" + content + b"\r\n--cut--\r\n"
    return envelope(body, content_type="multipart/form-data; boundary=cut")


@pytest.mark.parametrize(
    ("written", "name"),
    [
        (b'"C:\\\\dir\\\\a.txt"', "a.txt"),
        (b'"/etc/passwd"', "passwd"),
        (b'"../"', "file"),
        (b'""', "file"),
        (b'"a\x00b"', "ab"),
        (b"plain.txt", "plain.txt"),
        (b'"' + b"x" * 300 + b'"', "x" * 255),
    ],
)
def test_only_the_bare_name_of_a_file_counts(written: bytes, name: str) -> None:
    _, (upload,) = parts_of_form(part(b'Content-Disposition: form-data; name="f"; filename=' + written))
    assert upload.name == name


@pytest.mark.parametrize(
    ("declared", "media_type"),
    [(b"text/PLAIN; charset=utf-8", "text/plain"), (b"nonsense", None), (b"a/b\x7f", None)],
)
def test_a_strange_type_is_none(declared: bytes, media_type: str | None) -> None:
    head = b'Content-Disposition: form-data; name="f"; filename="a"\r\nContent-Type: ' + declared
    _, (upload,) = parts_of_form(part(head))
    assert upload.media_type == media_type


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Disposition: form-data",
        b'Content-Disposition: attachment; name="f"',
        b"Content-Disposition",
        b" Content-Disposition: form-data; name=f",
        b'Content-Disposition: form-data; name="\xff"',
        b"X: y",
        b"X: y\nContent-Disposition: form-data; name=f",
    ],
)
def test_a_part_without_a_proper_head_is_malformed(head: bytes) -> None:
    with pytest.raises(Malformed):
        parts_of_form(part(head))


def test_more_parts_than_anyone_needs_are_malformed() -> None:
    one = b'--cut\r\nContent-Disposition: form-data; name="f"\r\n\r\nx\r\n'
    with pytest.raises(Malformed):
        parts_of_form(envelope(one * 1001 + b"--cut--", content_type="multipart/form-data; boundary=cut"))


@settings(deadline=None)
@given(st.lists(st.sampled_from([
    b"--cut", b"--cut--", b"\r\n", b"\r\n\r\n", b"Content-Disposition: form-data; name=a", b"; filename=b", b"\xff",
    b"x", b"Content-Type: text/plain", b"; filename*=utf-8''%ff", b"; name*0=a", b"=?utf-8?q?=ff?=",
]), max_size=14).map(b"".join))  # fmt: skip
def test_any_pieces_are_read_or_malformed(body: bytes) -> None:
    try:
        pairs, uploads = parts_of_form(envelope(body, content_type="multipart/form-data; boundary=cut"))
    except Malformed:
        return
    assert all(name for name, _ in pairs) or uploads or not pairs
