"""Talk to a bridge as if through Slack: `python -m adapters.slack.fake --bridge http://127.0.0.1:8080/in/team`.

Serves the Web API and prints the options that a source needs for it; without `--bridge` it speaks Socket Mode.
Each line typed is said by Ada in #general with a mention of the bot; a line that begins with `.` goes on in the thread
of the last one, `!Red` presses the button Red.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping

import aiohttp
import uvicorn

from adapters.slack.fake.api import Api
from adapters.slack.fake.delivery import SECRET, Deliveries, Post
from adapters.slack.fake.oauth import CLIENT_ID, CLIENT_SECRET
from adapters.slack.fake.people import People, buttons
from adapters.slack.fake.sockets import Sockets
from adapters.slack.fake.workspace import APP, BOT, Message, Workspace, said_in
from bridge.clock import SystemClock

_BEAT_SECONDS = 0.1
_ACK_SECONDS = aiohttp.ClientTimeout(total=3)


class Console:
    """A workspace, a bridge that is told of what happens there, and a terminal."""

    def __init__(self, slack: Workspace, post: Post, secret: str) -> None:
        self._slack = slack
        self._post = post
        self._deliveries = Deliveries(slack, self._told, secret=secret)
        self._people = People(slack, self._deliveries)
        self._root: str | None = None
        self._shown: dict[tuple[str, str], str] = {}

    async def typed(self) -> None:
        """Say each line, until there are no more."""
        while line := await asyncio.to_thread(sys.stdin.readline):
            text = line.strip()
            if text.startswith("!"):
                await self._press(text[1:].strip())
            elif text.startswith(".") and self._root is not None:
                self._people.say(text[1:].strip(), thread_ts=self._root)
            elif text:
                self._root = self._people.say(f"<@{BOT}> {text}")

    async def _press(self, label: str) -> None:
        for (channel, _), message in reversed(self._slack.messages.items()):
            if label in buttons(message):
                await self._people.press(message, label, channel=channel)
                return
        sys.stdout.write(f"nobody asks with a button {label!r}\n")

    async def beat(self) -> None:
        """Deliver what is due, show what is new."""
        while True:
            await self._deliveries.pump()
            for place, message in list(self._slack.messages.items()):
                if message.get("app_id") == APP and self._shown.get(place) != (text := _shown(message)):
                    sys.stdout.write(f"bot{' (changed)' if place in self._shown else ''}> {text}\n")
                    sys.stdout.flush()
                    self._shown[place] = text
            await asyncio.sleep(_BEAT_SECONDS)

    async def _told(self, headers: Mapping[str, str], body: bytes) -> int:
        status = await self._post(headers, body)
        if status not in _FINE:
            sys.stdout.write(_TROUBLE.get(status, f"The bridge answers {status}; see its log.") + "\n")
            sys.stdout.flush()
        return status


def _over_http(bridge: str, http: aiohttp.ClientSession) -> Post:
    async def post(headers: Mapping[str, str], body: bytes) -> int:
        try:
            async with http.post(bridge, data=body, headers=headers, timeout=_ACK_SECONDS) as answer:
                return answer.status
        except (aiohttp.ClientError, TimeoutError):
            return 0

    return post


def _shown(message: Message) -> str:
    return "\n".join([said_in(message), *(f"[{label}]" for label in buttons(message))])


_FINE = range(200, 300)
_TROUBLE = {
    0: "The bridge does not answer (Socket Mode: set app_token). Slack tries again, at once and later.",
    401: "The bridge refuses the signature: set its signing_secret as above.",
    404: "The bridge knows no such source: compare --bridge with what `agent-bridge check` says.",
}

_HOW = """Put this into the source's table, start the bridge, and type what Ada says:

api_url        = "{url}api/"
signing_secret = "{secret}"
bot_token      = "xoxb-test"
{more}
"""
_HTTP = f"""
For the install pages, instead of bot_token, and then open {{bridge}}/install:

client_id      = "{CLIENT_ID}"
client_secret  = "{CLIENT_SECRET}"
"""
_SOCKETS = 'app_token      = "xapp-test"'


async def main() -> None:
    """Serve and talk until the end of the input, then until interrupted."""
    cli = argparse.ArgumentParser(description="a Slack to try a bridge with")
    cli.add_argument("--bridge", help="where the bridge's Slack source receives; else it is Socket Mode")
    cli.add_argument("--port", type=int, default=9001)
    cli.add_argument("--secret", default=SECRET, help="the source's signing_secret")
    given = cli.parse_args()
    slack = Workspace(SystemClock(), f"http://127.0.0.1:{given.port}/")
    sockets = Sockets(slack)
    app = Api(slack, sockets).app()
    server = uvicorn.Server(
        uvicorn.Config(app, port=given.port, log_level="warning", date_header=False, ws="websockets-sansio")
    )
    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as group:
        post = _over_http(given.bridge, http) if given.bridge else sockets.post
        console = Console(slack, post, given.secret)
        more = _HTTP.format(bridge=given.bridge) if given.bridge else _SOCKETS
        sys.stdout.write(_HOW.format(url=slack.url, secret=given.secret, more=more))
        sys.stdout.flush()
        talking = [group.create_task(console.typed()), group.create_task(console.beat())]
        await server.serve()
        for task in talking:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
