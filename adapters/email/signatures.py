"""Our own check of a mail's DKIM signatures and its domain's DMARC policy, where nobody we trust has made one.

Runs in the killable worker: signatures, keys and records all come from strangers.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import dkim
from authheaders import DKIMAuthenticationResult, dmarc_per_from
from authheaders.dmarc_lookup import DMARCException
from dns.exception import DNSException
from dns.resolver import NXDOMAIN, NoAnswer, Resolver

from adapters.email.identity import Verdict, sole_author
from adapters.email.mime import Limits, read_headers_of

MAX_SIGNATURES = 4
LOOKUP_SECONDS = 2.0
_BODY_LENGTH = re.compile(rb"(?:^|;)\s*l\s*=")

Lookup: TypeAlias = Callable[[str], str | None]
"""The TXT record of a name; None if there surely is none. Raises Unanswered."""


class Unanswered(Exception):
    """The name servers did not answer: the check must be made again."""


def check(raw: bytes, servers: Sequence[str]) -> Verdict:
    """Check a raw mail. Never raises for what the mail holds; a silent name server gives `temperror`."""
    return check_with(raw, partial(lookup_txt, tuple(servers)))


def check_with(raw: bytes, lookup: Lookup) -> Verdict:
    """The same with any source of TXT records."""
    author = sole_author(read_headers_of(raw, Limits()))
    if author is None:
        return Verdict(by="own", dmarc="permerror")
    try:
        signed = _signing_domains(raw, lookup)
        return Verdict(by="own", dmarc=_dmarc(author.domain, signed, lookup), dkim_domains=signed)
    except Unanswered:
        return Verdict(by="own", dmarc="temperror")


def lookup_txt(servers: tuple[str, ...], name: str) -> str | None:
    """Ask the given name servers (`address` or `address:port`), or the machine's own."""
    resolver = Resolver(configure=not servers)
    if servers:
        host, _, port = servers[0].partition(":")
        resolver.nameservers = [host, *(server.partition(":")[0] for server in servers[1:])]
        resolver.port = int(port or 53)
    resolver.lifetime = LOOKUP_SECONDS
    try:
        answer = resolver.resolve(name, "TXT")
    except (NXDOMAIN, NoAnswer):
        return None
    except DNSException as error:
        raise Unanswered from error
    except ValueError:  # no name at all, though a mail says so
        return None
    return next((b"".join(record.strings).decode("utf-8", "replace") for record in answer), None)


def _signing_domains(raw: bytes, lookup: Lookup) -> tuple[str, ...]:
    """Domains of the passing signatures that cover the whole body and the From."""
    try:
        message = dkim.DKIM(raw, minkey=1024)
    except dkim.DKIMException:  # headers it cannot read
        return ()
    values = [value for name, value in message.headers if name.lower() == b"dkim-signature"]
    found = (_passing_domain(raw, at, lookup) for at, value in enumerate(values[:MAX_SIGNATURES]) if _is_whole(value))
    return tuple(domain for domain in found if domain)


def _is_whole(signature: bytes) -> bool:
    """A signature with a body length would let anyone append text."""
    return not _BODY_LENGTH.search(signature)


def dns_answer(lookup: Lookup) -> Callable[..., bytes | None]:
    """The lookup, in the form the library asks for."""

    def answer(name: bytes, **_timeout: int) -> bytes | None:
        text = lookup(name.decode("ascii", "replace").rstrip("."))
        return text.encode() if text is not None else None

    return answer


def _passing_domain(raw: bytes, at: int, lookup: Lookup) -> str:
    message = dkim.DKIM(raw, minkey=1024)
    try:
        passed = message.verify(idx=at, dnsfunc=dns_answer(lookup))
    except (dkim.DKIMException, ValueError, TypeError, LookupError, AttributeError):
        return ""  # a signature that cannot be read is none
    covered = {name.lower() for name in message.include_headers or ()}
    return message.domain.decode("ascii", "replace").lower() if passed and b"from" in covered else ""


def _dmarc(domain: str, signed: Sequence[str], lookup: Lookup) -> str:
    """`pass`, `fail` or `none` by the domain's policy, its alignment mode included."""
    results = [DKIMAuthenticationResult(result="pass", header_d=each) for each in signed] or [None]
    try:
        said = {str(dmarc_per_from(domain, dkim_result=result, dnsfunc=lookup)[0]) for result in results}
    except (DMARCException, ValueError, LookupError):
        return "permerror"
    return "pass" if "pass" in said else next(iter(said))
