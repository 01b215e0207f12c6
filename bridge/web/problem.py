"""Errors as RFC 9457 problem JSON: a sentence that says what to mend, never a secret, a stack or a path."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bridge.errors import ReceiveError, StoreUnavailable

RETRY_SECONDS = 5


def problem(
    status: int, detail: str, *, title: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """A problem response; the title defaults to the status's own phrase."""
    content = {"type": "about:blank", "title": title or HTTPStatus(status).phrase, "status": status, "detail": detail}
    return JSONResponse(content, status_code=status, headers=headers, media_type="application/problem+json")


def refused(error: ReceiveError) -> Response:
    """An arrival that its adapter refused."""
    challenge = {"WWW-Authenticate": "Signature"} if error.status == HTTPStatus.UNAUTHORIZED else None
    return problem(error.status, str(error), title=error.title, headers=challenge)


def unavailable() -> Response:
    """The database is away: the sender keeps its copy and tries again."""
    detail = f"Nothing was stored. Send the same request again in {RETRY_SECONDS} seconds."
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": str(RETRY_SECONDS)})


async def on_store_unavailable(_: Request, error: Exception) -> Response:
    """Starlette's exception hook for everything that reads or writes the store."""
    assert isinstance(error, StoreUnavailable)
    return unavailable()


def sentence_of(error: Mapping[str, Any]) -> str:
    """One problem that pydantic found, as a sentence that names its place."""
    place = ".".join(str(part) for part in error["loc"])
    return f"{place}: {error['msg']}." if place else f"The body is no usable JSON object: {error['msg']}."
