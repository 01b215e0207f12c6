"""Addresses that answers may go to."""

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

_PORTS = {"https": 443, "http": 80}
_ODD = re.compile(r"[\x00-\x20\x7f-\uffff\\]")


@dataclass(frozen=True, slots=True)
class Target:
    """One line of an allow-list: scheme, host (a leading `*.` stands for any subdomain), port, start of the path.

    It only says where a payload may send an answer. Whether an address may be dialled at all is the
    egress guard's to decide, at the moment it dials.
    """

    scheme: str
    host: str
    port: int | None
    path: str

    def allows(self, url: str) -> bool:
        try:
            parts = _split(url)
            port = parts.port
        except ValueError:
            return False
        host = parts.hostname or ""
        same_host = host.endswith(self.host[1:]) if self.host.startswith("*.") else host == self.host
        same_port = (port or _PORTS[parts.scheme]) == (self.port or _PORTS[parts.scheme])
        return parts.scheme == self.scheme and same_host and same_port and self._has_path(parts.path or "/")

    def _has_path(self, path: str) -> bool:
        if re.search(r"(^|/)\.\.?(/|$)|%2e", path, re.IGNORECASE):
            return False  # would leave the allowed folder again at the receiver
        return path == self.path or path.startswith(self.path if self.path.endswith("/") else f"{self.path}/")


def target_from_text(text: str) -> Target:
    """Read `https://hooks.example.com/answers/` or `https://*.example.com`. Raises ValueError."""
    try:
        parts = _split(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{error}; for example 'https://hooks.example.com/answers/'") from None
    return Target(parts.scheme, parts.hostname or "", port, parts.path or "/")


def _split(url: str) -> SplitResult:
    if _ODD.search(url):
        raise ValueError("a URL holds only printable ASCII")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("a URL starts with https:// or http:// and names a host")
    if "@" in parts.netloc:
        raise ValueError("a URL must not carry a user or a password")
    return parts
