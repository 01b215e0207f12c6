"""The page behind the demo's login link: pressing its button resumes the paused task."""

from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from bridge.agent.server.desk import Desk

# A button, since previews of chat programs fetch every link they see.
_PAGE: Final = """<!doctype html><meta charset="utf-8"><title>Demo login</title>
<form method="post"><p>The demo agent waits for you.</p><button>Log in</button></form>"""


class Logins:
    """The link itself is the secret: it holds the id of its task."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        """One page."""
        return [Route("/demo/login/{task_id}", self.login, methods=["GET", "POST"])]

    async def login(self, request: Request) -> Response:
        """Resumes once; pressing again changes nothing."""
        if request.method != "POST":
            return HTMLResponse(_PAGE)
        resumed = await self._desk.resume(request.path_params["task_id"])
        return HTMLResponse("You are logged in." if resumed else "Nothing waits for a login any more.")
