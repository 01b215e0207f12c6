"""Whether the From of a mail is who it says: one author, and a verdict from somebody we have reason to believe.

A provider's verdict inside an authenticated webhook, an Authentication-Results header with our configured
authserv-id above the mail's first foreign hop, or our own check. No pin means no verdict, never a pass.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from authheaders.dmarc_lookup import get_org_domain

from adapters.email.headers import Address, Headers, after_comment, quoted

Requirement = Literal["dmarc", "dkim_aligned", "none"]

_SPACED = re.compile(
    r"\b(dmarc|dkim|spf|header\.d|header\.i|header\.from|smtp\.mailfrom)\s{0,5}=\s{0,5}", re.IGNORECASE
)
_RESULT = re.compile(r"(dmarc|dkim|spf)(?:/\d{1,3})?=([a-z]{1,12})\0?", re.IGNORECASE)
_PROPERTY = re.compile(r"(?:header\.d|header\.i|header\.from|smtp\.mailfrom)=(.*)", re.IGNORECASE | re.DOTALL)
_DOMAIN = re.compile(r"[\w.-]{1,255}")
_GLUED = "\0"
"""Where a comment stood without a space before it: `header.d=example.org(.evil.example` is no domain (and signs)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What somebody found out about a mail. `by` says who: `provider`, `authserv`, `own`, `arc` and a domain."""

    by: str
    dmarc: str = ""
    """`pass`, `fail`, `none`, `temperror`, … or empty where not checked."""
    dkim_domains: tuple[str, ...] = ()
    """Domains with a passing signature."""
    spf_domain: str = ""
    """The envelope sender's domain, where SPF passed."""

    @property
    def is_temporary(self) -> bool:
        """Whether a later check may say more."""
        return self.dmarc == "temperror"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who the author is, and how sure that is."""

    author: Address | None
    verified: bool
    method: str
    """How it was found out, or why it was not, for people."""


def sole_author(headers: Headers) -> Address | None:
    """The one mailbox of the one From field; None where there are more, or none, or where it can be read two ways."""
    values = headers.all("from")
    if len(values) != 1 or _AMBIGUOUS.search(_QUOTED.sub("", values[0])):
        return None
    found = headers.addresses("from")
    return found[0] if len(found) == 1 else None


_QUOTED = re.compile(r"\"(?:[^\"\\]|\\.){0,2000}\"")
_AMBIGUOUS = re.compile(r"[\x00\r\n;]|<[^<]{0,8000}<|>[^>]{0,8000}>|^[^<@]{0,200}:")
"""Two pairs of angle brackets, group syntax, NUL or a bare line end: programs disagree on who that is."""


@lru_cache(maxsize=4096)
def organizational(domain: str) -> str:
    """The registrable domain, by the public suffix list."""
    return str(get_org_domain(domain) or domain)


def is_aligned(domain: str, author_domain: str) -> bool:
    """Relaxed alignment (RFC 7489, 3.1): the same organizational domain."""
    return bool(domain) and organizational(domain.lower().rstrip(".")) == organizational(author_domain.rstrip("."))


def judge(headers: Headers, verdict: Verdict | None, require: Requirement) -> Identity:
    """Decide from one verdict; `require` none takes a sole author as claimed, but never as verified."""
    author = sole_author(headers)
    if author is None:
        return Identity(author=None, verified=False, method="not exactly one author")
    verified, method = _found(author, verdict, require) if verdict else (False, "no verdict")
    return Identity(author=author, verified=verified, method=method)


def _found(author: Address, verdict: Verdict, require: Requirement) -> tuple[bool, str]:
    if verdict.dmarc in {"fail", "mismatch"}:
        return False, f"{verdict.by}: dmarc {verdict.dmarc}"
    aligned = next((domain for domain in verdict.dkim_domains if is_aligned(domain, author.domain)), "")
    if aligned:
        return True, f"{verdict.by}: dkim {aligned}"
    if require == "dkim_aligned":
        return False, f"{verdict.by}: no aligned dkim signature"
    if verdict.dmarc == "pass":
        return True, f"{verdict.by}: dmarc"
    if is_aligned(verdict.spf_domain, author.domain):
        return True, f"{verdict.by}: spf"
    return False, f"{verdict.by}: dmarc {verdict.dmarc or 'not passed'}"


def verdict_of_header(headers: Headers, authserv_id: str) -> Verdict | None:
    """The verdict of our own mail server: the topmost with exactly its id, not below a second Received.

    Postfix lets filters write below its own Received, others above. What stands below a second one was there
    before the mail reached the server, which must remove what comes in with its id (RFC 8601, 5).
    """
    hops = 0
    for name, value in headers.fields:
        if name == "received":
            hops += 1
        if hops > 1 or name != "authentication-results":
            continue
        said_by, *results = _statements(value[:8192])
        if (said_by or [""])[0].lower() == authserv_id.lower():
            return _verdict(results, headers, "authserv")
    return None


def results_of(value: str, headers: Headers, *, by: str) -> Verdict:
    """The verdict in a header whose author is known by other means, such as a seal."""
    return _verdict(_statements(value[:8192]), headers, by)


def _statements(value: str) -> list[list[str]]:
    """What stands between the semicolons, as words (RFC 8601, 2.2): strangers choose what stands in quotes."""
    found: list[list[str]] = [[]]
    word, at = "", 0
    value = _SPACED.sub(r"\1=", value)
    while at < len(value):
        char = value[at]
        if char == '"':
            text, at = quoted(value, at)
            word += text if word else _GLUED
        elif char == "(":
            at = after_comment(value, at)
            word += _GLUED if word else ""
        else:
            at += 1
            if not char.isspace() and char != ";":
                word += char
                continue
            found[-1] += [word] if word else []
            word = ""
            if char == ";":
                found.append([])
    found[-1] += [word] if word else []
    return found


def _verdict(statements: Sequence[Sequence[str]], headers: Headers, by: str) -> Verdict:
    dmarc, spf = "", ""
    signed: list[str] = []
    author = sole_author(headers)
    for result, *properties in filter(None, statements):
        match = _RESULT.fullmatch(result)
        if match is None:
            continue
        method, said = match[1].lower(), match[2].lower()
        domains = [found[1].rpartition("@")[2].lower() for found in map(_PROPERTY.fullmatch, properties) if found]
        if not all(map(_DOMAIN.fullmatch, domains)):
            said, domains = "permerror", []
        if method == "dmarc":
            about = domains[0] if domains else ""
            dmarc = said if not about or (author is not None and about == author.domain) else "mismatch"
        elif said == "pass" and domains and method == "dkim":
            signed.append(domains[0])
        elif said == "pass" and domains:
            spf = domains[0]
    return Verdict(by=by, dmarc=dmarc, dkim_domains=tuple(signed), spf_domain=spf)
