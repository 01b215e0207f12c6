"""What every way of sending takes, and how its failures are told apart."""

from dataclasses import dataclass
from email.message import EmailMessage
from typing import Protocol

import httpx2

from bridge.egress import NEVER_SENT, ResponseTooLarge
from bridge.errors import Permanent, Retryable

TRY_LATER = frozenset({408, 409, 425, 429})
"""409: an earlier try with the same idempotency key is still under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A finished mail with its envelope."""

    mail: EmailMessage
    raw: bytes
    mail_from: str
    recipient: str
    message_id: str
    delivery_id: str


def no_smtputf8(recipient: str, by: str) -> Permanent:
    """Where an address that is not ASCII before the `@` cannot be written to (RFC 6531)."""
    return Permanent(f"{recipient} cannot be written to: {by} does not take such addresses (SMTPUTF8).")


class Oversized(Permanent):
    """The mail is larger than whoever should carry it takes."""


class Sender(Protocol):
    """Puts a mail on its way."""

    async def send(self, mail: Outgoing) -> str:
        """The Message-ID it has on the wire, where the provider replaced ours, else empty.

        Raises Retryable or Permanent and nothing else; Retryable is ambiguous where the mail may have gone.
        """
        ...


async def post(client: httpx2.AsyncClient, request: httpx2.Request, provider: str) -> httpx2.Response:
    """One call to a provider's interface, its failures mapped."""
    try:
        answer = await client.send(request)
    except NEVER_SENT as error:
        raise Retryable(f"{provider} cannot be reached: {error}") from error
    except ResponseTooLarge as error:
        raise Permanent(f"{provider} answers with more than is taken: {error}") from error
    except (httpx2.TransportError, httpx2.DecodingError) as error:
        raise Retryable(f"The answer of {provider} was cut off or garbled: {error}", ambiguous=True) from error
    if answer.is_success:
        return answer
    detail = f"{provider} answered {answer.status_code}: {answer.text[:300]}"
    if answer.status_code in TRY_LATER or answer.is_server_error:
        after = answer.headers.get("retry-after", "")
        raise Retryable(
            detail,
            after=float(after) if after.isascii() and after.isdigit() else None,
            ambiguous=answer.is_server_error,
        )
    if answer.status_code in {401, 403}:
        raise Retryable(f"{detail}. Check api_key: the mail waits until it is right.")
    raise Oversized(detail) if answer.status_code == httpx2.codes.CONTENT_TOO_LARGE else Permanent(detail)
