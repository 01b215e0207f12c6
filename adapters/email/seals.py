"""Mail that a trusted server forwarded: its sealed word (ARC, RFC 8617) for what it found when the mail reached it.

A forwarder breaks signatures and SPF. Anybody can seal anything, so a chain counts only if every seal in it is of a
domain the operator named: then nobody else can have changed the mail or its results since the first of them.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import dkim

from adapters.email.headers import Headers
from adapters.email.identity import Verdict, results_of
from adapters.email.mime import Limits, read_headers_of
from adapters.email.signatures import Lookup, Unanswered, dns_answer, lookup_txt

MAX_SEALS = 5
_SIGNED_FIELDS = re.compile(r"(?:^|;)\s*h\s*=([^;]{0,2000})")
_BODY_LENGTH = re.compile(r"(?:^|;)\s*l\s*=")


def check_seals(raw: bytes, sealers: Collection[str], servers: Sequence[str]) -> Verdict | None:
    """What the first sealer found; None if the chain is broken, or not all of it is trusted. Never raises."""
    return check_seals_with(raw, sealers, partial(lookup_txt, tuple(servers)))


def check_seals_with(raw: bytes, sealers: Collection[str], lookup: Lookup) -> Verdict | None:
    """The same with any source of TXT records."""
    headers = read_headers_of(raw, Limits())
    if not is_sealed(headers) or len(headers.all("arc-seal")) > MAX_SEALS or not _covers_all(headers):
        return None
    try:
        chain, results, _ = dkim.ARC(raw, minkey=1024).verify(dnsfunc=dns_answer(lookup))
    except Unanswered:
        return Verdict(by="arc", dmarc="temperror")
    except (dkim.DKIMException, ValueError, TypeError, LookupError, AttributeError):
        return None  # headers that cannot be read as a chain are none
    if chain != dkim.CV_Pass or not {_domain(each) for each in results} <= {each.lower() for each in sealers}:
        return None
    found = results_of(results[-1]["aar-value"].decode("utf-8", "replace"), headers, by=f"arc {_domain(results[-1])}")
    # What was temporary at the sealer's stays as it is: no later look of ours changes it.
    return replace(found, dmarc="none") if found.is_temporary else found


def is_sealed(headers: Headers) -> bool:
    """Whether there is a chain to be looked at."""
    return bool(headers.first("arc-seal"))


def _domain(result: dict[str, Any]) -> str:
    return str(result["as-domain"].decode("ascii", "replace")).lower()


def _covers_all(headers: Headers) -> bool:
    """Whether every sealed signature covers the From and the whole body: else something could have been put in."""
    values = headers.all("arc-message-signature")
    covered = [_SIGNED_FIELDS.search(value) for value in values]
    names = [{name.strip().lower() for name in found.group(1).split(":")} if found else set() for found in covered]
    return all("from" in each for each in names) and not any(map(_BODY_LENGTH.search, values))
