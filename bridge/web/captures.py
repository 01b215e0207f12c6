"""`GET /v1/sources/{name}/captured`: what a source was sent lately."""

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bridge.captures import shown
from bridge.sealing import Sealer
from bridge.settings import Settings
from bridge.store.captures import captured
from bridge.store.database import Store
from bridge.web.access import Access
from bridge.web.problem import problem
from bridge.web.reading import json_response


class CapturedRequests:
    """For the operator alone."""

    def __init__(self, store: Store, sealer: Sealer, settings: Settings) -> None:
        self._store = store
        self._sealer = sealer
        self._settings = settings

    def routes(self, access: Access) -> list[BaseRoute]:
        """The one route."""
        return [Route("/v1/sources/{name}/captured", access.admin(self.captured))]

    async def captured(self, request: Request) -> Response:
        """The newest first; `capture` tells whether the source still keeps any."""
        source = self._settings.sources.get(request.path_params["name"])
        if source is None:
            return problem(HTTPStatus.NOT_FOUND, "There is no such source.")
        rows = await self._store.read(captured, source.name)
        found = shown(rows, self._sealer, self._settings, source)
        return json_response({"source": source.name, "capture": source.common.capture, "captured": found})
