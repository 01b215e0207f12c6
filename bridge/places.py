"""Where things are, as the configuration writes it. A refusal repeats nothing: there may be a password in it."""

import re
from ipaddress import ip_address, ip_network
from typing import Annotated, Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator


class Listen(NamedTuple):
    """Where to accept connections."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


_HOST_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")


def _listen_from_text(text: object) -> object:
    if isinstance(text, Listen):
        return text
    host, colon, port = str(text).rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not _is_host(host) or not port.isascii() or not port.isdigit() or int(port) > 65_535:  # noqa: PLR2004 - 16 bits
        raise ValueError("should be a host and a port")
    return Listen(host, int(port))


def _is_host(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return _HOST_NAME.fullmatch(text) is not None
    return True


def _public_url(url: str) -> str:
    if not url:
        return url  # derived from `listen`
    parts = _parts(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError("should be the address under which the world reaches this bridge, with http or https")
    return url.rstrip("/")


def _http_url(url: str) -> str:
    parts = _parts(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("should be an http or https address")
    return url.rstrip("/")


def _parts(url: str) -> SplitResult:
    parts = urlsplit(url)
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("has a port that is none") from None
    return parts


def _database_url(url: str) -> str:
    kind, _, rest = url.partition("://")
    if kind.partition("+")[0] not in {"sqlite", "postgresql"} or not rest.strip("/") or rest.startswith("/:memory:"):
        raise ValueError("should be a SQLite file or a PostgreSQL database")
    return url


def _exempt(entry: str) -> str:
    if "/" in entry:
        ip_network(entry)  # says itself what is wrong
    elif not entry or any(sign in entry for sign in ":*@ "):
        raise ValueError("should be an exact host name, or a network such as 10.1.0.0/16")
    return entry.lower()


PublicUrl = Annotated[str, AfterValidator(_public_url)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
ListenAddress = Annotated[Listen, BeforeValidator(_listen_from_text)]
Exempt = Annotated[str, AfterValidator(_exempt)]
