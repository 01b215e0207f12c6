"""What an HTTP answer, or its absence, means for the call: the only place where foreign failures become ours."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final

import httpx2

from bridge.errors import AgentError, Busy, Interrupted, Refused, Unreachable

_ADVICE: Final[Mapping[int, str]] = {
    400: "it calls the request invalid; see its words and the options of this agent",
    401: "it refuses the API key: check api_key of this agent",
    403: "the API key may not use this agent: check api_key and agent_id",
    404: "it knows no such agent or task: check agent_id and base_url",
    405: "this address does not take the call: check base_url",
    413: "the request is too large: send fewer or smaller files, or set disable_attachment_injection",
    422: "it cannot use the request as it is; see its words and the options of this agent",
}

_NOT_BEGUN: Final = frozenset({408, 425, 429, 503})
"""Answers given before any work began: the same call may simply be made again."""


class NotThere(Refused):
    """404. A task that is gone is not the end of its turn, where everything else refused is."""


def failure_from_status(status: int, headers: Mapping[str, str], body: bytes, *, now: datetime) -> AgentError:
    """The error that an answer other than 2xx stands for.

    500, 502 and 504 come from a service or a balancer that may have begun the work (a sync call is cut
    with 504 after 60 s while its task goes on), so they are Interrupted.
    """
    said = _detail(body)
    if status == 409:  # noqa: PLR2004 - the one status with a class of its own
        return Busy(f"the agent's thread is still at its previous turn (409){said}", after=_wait(headers, now))
    if status in _NOT_BEGUN:
        return Unreachable(f"the agent service takes no work now ({status}){said}", after=_wait(headers, now))
    if status >= 500:  # noqa: PLR2004 - the class of server errors
        return Interrupted(f"the agent service failed ({status}); the task may be running{said}")
    if status < 400:  # noqa: PLR2004 - redirects: a POST would lose its body or its key on the way
        target = headers.get("location", "elsewhere")[:200]
        return Refused(f"the agent service redirects to {target} ({status}): write the final address as base_url")
    advice = _ADVICE.get(status, "it will not take this request")
    refusal = NotThere if status == 404 else Refused  # noqa: PLR2004 - see NotThere
    return refusal(f"the agent service answered {status}: {advice}{said}")


@contextmanager
def foreign_failures() -> Iterator[None]:
    """Turns what the HTTP client raises into Unreachable (nothing was sent) or Interrupted (unknown)."""
    try:
        yield
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
        raise Unreachable(f"the agent service cannot be reached: {_words(error)}") from error
    except (httpx2.UnsupportedProtocol, httpx2.InvalidURL, httpx2.LocalProtocolError, UnicodeError) as error:
        # No words of the error: they could hold the key.
        raise Refused("the agent's address or key cannot be used: check base_url and api_key") from error
    except (httpx2.TransportError, httpx2.DecodingError) as error:
        raise Interrupted(f"the connection to the agent service broke: {_words(error)}") from error


def _wait(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds until the service wants to be asked again; Retry-After goes before X-RateLimit-Reset."""
    if given := headers.get("retry-after"):
        return _seconds(given, now)
    if headers.get("x-ratelimit-remaining", "0") == "0" and (reset := headers.get("x-ratelimit-reset")):
        return _seconds(reset, now)
    return None


def _seconds(value: str, now: datetime) -> float | None:
    """A delay in seconds, a Unix time or an HTTP date, as seconds from now; at most an hour."""
    try:
        number = float(value)
    except ValueError:
        try:
            number = parsedate_to_datetime(value).timestamp() - now.timestamp()
        except (ValueError, OverflowError):  # a zone or a year that no clock shows
            return None
    if number > 1e9:  # noqa: PLR2004 - more than thirty years of delay: a Unix time
        number -= now.timestamp()
    return min(max(number, 0.0), 3600.0) if number == number else None  # noqa: PLR0124 - NaN


def _detail(body: bytes) -> str:
    text = " ".join(body[:600].decode("utf-8", "replace").split())
    return f"; it says: {text[:300]}" if text else ""


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
