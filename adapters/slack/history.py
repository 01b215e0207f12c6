"""What was said in a thread before the bot was asked, as quoted material with its authors."""

from collections.abc import Mapping, Sequence
from typing import Any

from adapters.slack.address import Address
from adapters.slack.caching import Remembered
from adapters.slack.calls import Calls
from adapters.slack.people import People
from adapters.slack.reading import flat
from adapters.slack.settings import Settings
from bridge.clock import Clock

_SECONDS = 30.0
_PAGE, _MOST = 200, 999
_LOOKS = 8
_PAGES = 5


class History:
    """Reads threads. A second mention within half a minute brings nothing that its messages do not bring."""

    def __init__(self, settings: Settings, calls: Calls, people: People, clock: Clock) -> None:
        self._settings = settings
        self._calls = calls
        self._people = people
        self._read: Remembered[tuple[str, str, str], str] = Remembered(clock, seconds=_SECONDS)

    async def before(self, address: Address, root: str, ts: str) -> str:
        """What was said in the thread before `ts` and since the app last spoke there.

        Raises Retryable or Permanent. Bots and alerts count: they are often what the question is about.
        """
        key = (address.team, address.channel, root)
        if not self._settings.history or self._read.get(key):
            return ""
        self._read.put(key, ts)
        try:
            said = await self._said(address, root, ts)
        except BaseException:  # cut short as well as refused: the next mention reads it
            self._read.pop(key)
            raise
        unseen = {str(item["ts"]): item for item in said if str(item["ts"]) < ts}
        ours = [at for at, item in unseen.items() if self._is_ours(item, address)]
        news = [item for at, item in sorted(unseen.items()) if not ours or at > max(ours)]
        return await self._written(address, news[-self._settings.history :])

    async def _said(self, address: Address, root: str, ts: str) -> list[Mapping[str, Any]]:
        """All of a thread that fits on a page; of a longer one its end.

        Slack tells the earliest first, whatever is asked for, so where the end begins is searched for by time.
        """
        said, more = await self._page(address, root, ts)
        if not more:
            return said
        latest, full, whole = said, float(root), float(ts)
        for _ in range(_LOOKS):
            after = (full + whole) / 2
            said, more = await self._page(address, root, ts, after)
            if more:
                latest, full = said, after
                continue
            if len(said) >= self._settings.history or any(self._is_ours(item, address) for item in said):
                return said
            whole = after
        return await self._rest(address, root, ts, latest)

    async def _rest(
        self, address: Address, root: str, ts: str, said: list[Mapping[str, Any]]
    ) -> list[Mapping[str, Any]]:
        """Where most was said in a short time: from the latest full page on, as far as time allows."""
        for _ in range(_PAGES):
            page, more = await self._page(address, root, ts, _last(said))
            said = [*said, *page]
            if not (more and page):
                break
        return said

    async def _page(
        self, address: Address, root: str, ts: str, after: float | None = None
    ) -> tuple[list[Mapping[str, Any]], bool]:
        """What was said before `ts`, and after a time if one is given; and whether that goes on behind the page."""
        page = await self._calls.call(
            "conversations.replies",
            address.team,
            address.enterprise,
            channel=address.channel,
            ts=root,
            latest=ts,
            oldest=None if after is None else f"{after:.6f}",
            limit=min(max(_PAGE, 2 * self._settings.history), _MOST),
        )
        found = page.get("messages") or ()
        said = [item for item in found if after is None or float(item["ts"]) > after]  # the root stands on every page
        return said, bool((page.get("response_metadata") or {}).get("next_cursor") or page.get("has_more"))

    def _is_ours(self, item: Mapping[str, Any], address: Address) -> bool:
        return bool(address.app) and item.get("app_id") == address.app

    async def _written(self, address: Address, items: list[Mapping[str, Any]]) -> str:
        lines: list[str] = []
        room = self._settings.history_chars
        for item in reversed(items):  # the newest matter most where not all of it fits
            text = flat(item)
            if not text:
                continue
            line = f"{await self._author(address, item)}: {text}"
            if len(line) > room:
                lines.append("[what was said before is left out]")
                break
            room -= len(line)
            lines.append(line)
        return "\n".join(reversed(lines))

    async def _author(self, address: Address, item: Mapping[str, Any]) -> str:
        profile = item.get("bot_profile") or {}
        if item.get("bot_id"):
            return str(profile.get("name") or item.get("username") or item["bot_id"])
        user = str(item.get("user") or "someone")
        return (await self._people.person(address, user)).name or user


def _last(said: Sequence[Mapping[str, Any]]) -> float:
    return max((float(item["ts"]) for item in said), default=0.0)
