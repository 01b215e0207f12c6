"""What ingest is measured against: a Starlette route that verifies the signature and stores nothing."""

import sys
from datetime import UTC, datetime

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapters.webhook.presets import STANDARD
from bridge.errors import Unverified
from bridge.model import Envelope
from bridge.signing import secret_from_text, verify
from tests.bench.load import SECRET

KEYS = (secret_from_text(STANDARD, SECRET),)


async def receive(request: Request) -> Response:
    """202 for a signed body, 401 otherwise."""
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw)
    now = datetime.now(UTC)
    envelope = Envelope(
        source="orders",
        method="POST",
        path="/in/orders",
        query="",
        headers=headers,
        body=await request.body(),
        received_at=now,
    )
    try:
        verify(STANDARD, KEYS, envelope, now)
    except Unverified:
        return Response(status_code=401)
    return JSONResponse({"ok": True}, status_code=202)


app = Starlette(routes=[Route("/in/orders", receive, methods=["POST"])])

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_config=None, access_log=False, server_header=False)
