"""Where a mail server is, and whether what is said to it must be encrypted."""

from ipaddress import ip_address
from urllib.parse import SplitResult, parse_qs


def must_encrypt(url: SplitResult) -> bool:
    """Whether a connection that begins in the clear has to go on with STARTTLS: no password over the open net.

    Loopback is exempt, and what the operator exempts with `?tls=off`.
    """
    return (
        bool(url.username)
        and not _is_loopback(url.hostname or "localhost")
        and parse_qs(url.query).get("tls") != ["off"]
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
