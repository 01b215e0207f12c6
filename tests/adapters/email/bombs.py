"""What hostile mails look like, and hostile bodies."""

from tests.adapters.email.mails import mail


def nested(depth: int, kind: str) -> bytes:
    if kind == "rfc822":
        return b"Content-Type: message/rfc822\r\n\r\n" * depth
    return b"".join(f"Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n".encode() for n in range(depth))


MULTIPART = "multipart/mixed; boundary=b"
MAILS = {
    "exchange id": mail(Message_ID="<[abc@microsoft.com]>"),
    "parentheses": mail(From="(" * 5000),
    "parentheses in all": mail(From="(" * 5000, To="(" * 4000, Subject="(" * 4000, Message_ID="(" * 4000),
    "empty parts": mail("--b\r\n\r\n" * 100_000, Content_Type=MULTIPART),
    "10,000 parts": mail("--b\r\n\r\nx\r\n" * 10_000, Content_Type=MULTIPART),
    "nested 1,000": nested(1000, "multipart"),
    "nested 2,000": nested(2000, "multipart"),
    "nested mails": nested(2000, "rfc822"),
    "20,000 recipients": mail(To="a@b.c, " * 20_000),
    "encoded words": mail(Subject="=?utf-8?q?a?= " * 15_000),
    "parameters": mail(Content_Type="text/plain" + "; a=b" * 8_000),
    "50,000 headers": b"X-A: b\r\n" * 50_000 + mail(),
    "one endless header": b"X-A: " + b"a" * 1_000_000 + b"\r\n" + mail(),
    "folded for ever": b"X-A: a\r\n" + b" b\r\n" * 200_000 + mail(),
    "charset lies": mail(b"\xff\xfe\x00\xd8" * 50_000, Content_Type="text/plain; charset=utf-16"),
    "unknown charset": mail(b"caf\xe9", Content_Type="text/plain; charset=x-nonsense"),
    "charset that runs code": mail(b"abc", Content_Type="text/plain; charset=idna"),
    "NUL": mail("a\0b", Subject="x\0y", From="a\0b <jane@example.org>"),
    "bare CR": mail(Subject="x\rBcc: victim@example.org"),
    "injected": mail(Subject="=?utf-8?q?x=0D=0ABcc:_victim=40example.org?="),
    "base64 of nothing": mail("=" * 100_000, Content_Transfer_Encoding="base64"),
    "quoted-printable": mail("=" * 1_000_000, Content_Transfer_Encoding="quoted-printable"),
    "no header": b"\r\n\r\nbody",
    "no body": b"From: a@b.c",
    "one byte": b"\xff",
    "only breaks": b"\r\n" * 100_000,
    "boundary of nothing": mail("--\r\n" * 50_000, Content_Type='multipart/mixed; boundary=""'),
    "html deep": mail("<div>" * 200_000, Content_Type="text/html"),
    "html quotes": mail("<blockquote>" * 20_000 + "x", Content_Type="text/html"),
    "long line": mail("On 1 a b " * 100_000),
    "rfc2231": mail(Content_Type="text/plain" + "".join(f"; a*{n}=x" for n in range(5000))),
    "message ids": mail(References="<a@b> " * 50_000),
    "angles": mail(References="<" * 50_000, From="<" * 5000),
}

SAMPLE = mail(
    "--b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    "<p>caf=C3=A9</p>\r\n--b\r\nContent-Type: application/pdf; name*=utf-8''%E2%82%AC.pdf\r\n"
    "Content-Transfer-Encoding: base64\r\n\r\nJVBERi0=\r\n--b--\r\n",
    Content_Type="multipart/mixed; boundary=b",
    Subject="=?utf-8?b?w6Q=?= =?iso-8859-1?q?=E4?=",
    References="<a@b> <c@d>",
    Thread_Index="AQHbOeXx5kq2Zk1pQ0y1m3o4p5q6r7s8t9u0",
)

BODIES: list[dict[str, str]] = [
    {"text": "On foo bar\n" * 20_000},
    {"text": "On foo 1 bar\n" * 20_000},
    {"text": "On a 1 b " * 25_000},
    {"text": " " * 262_144},
    {"text": "-" * 262_144},
    {"text": "From: a@b.c\n" * 20_000},
    {"text": "a@b.c <\n" * 30_000},
    {"text": "> x\ny\n" * 40_000},
    {"html": "<table>" + "<tr><td>x</td></tr>" * 14_000},
    {"text": "On a b " * 30_000},
    {"html": "<table>" + "<tr><td>x</td></tr>" * 55_000},
    {"html": "<div>" * 50_000 + "x"},
    {"html": "<b><i>" * 40_000 + "x"},
    {"html": "<ul><li>" * 30_000 + "x"},
    {"html": "<div class=gmail_quote>x</div>" * 8_000},
    {"html": ("<ul><li>" * 190 + "x" + "</ul>" * 190) * 80},
]
