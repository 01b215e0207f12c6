"""Who people are and where their workspace is, asked once an hour."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.slack.address import Address
from adapters.slack.caching import Remembered
from adapters.slack.calls import Calls
from bridge.clock import Clock
from bridge.errors import Retryable, SendError
from bridge.model import Author

_HOUR = 3600.0
_MOMENT = 60.0
_ANSWER_SECONDS = 6.0
_PATIENCE = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """What users.info tells; without it the id stands for the name."""

    id: str
    name: str = ""
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None
    timezone: str | None = None
    guest: bool = False
    stranger: bool = False
    team: str = ""
    """The workspace, or organisation, that the person belongs to."""
    enterprise: str = ""

    def is_abroad(self, address: Address) -> bool:
        """Whether of another organisation, which an event need not tell; within one, people of all workspaces meet."""
        if not (self.team and address.team) or self.team in {address.team, address.enterprise}:
            return False
        return not address.enterprise or (address.tenant == "shared" and self.enterprise != address.enterprise)

    def author(self, before: Author) -> Author:
        """The author with what is known now."""
        return Author(
            id=before.id,
            trust=before.trust,
            name=self.name or before.name,
            email=self.email or before.email,
            first_name=self.first_name or before.first_name,
            last_name=self.last_name or before.last_name,
            timezone=self.timezone or before.timezone,
            attributes=before.attributes,
        )


class People:
    """Looks up users and the workspace. What Slack does not tell stays an id."""

    def __init__(self, calls: Calls, clock: Clock) -> None:
        self._calls = calls
        self._clock = clock
        self._people: Remembered[tuple[str, str], Person] = Remembered(clock, seconds=_HOUR)
        self._asked: Remembered[tuple[str, str], Person | SendError] = Remembered(clock, seconds=0)
        self._sites: Remembered[tuple[str, str], str] = Remembered(clock, seconds=24 * _HOUR)
        self._unknown: Remembered[tuple[str, str], Person] = Remembered(clock, seconds=_MOMENT)
        self._untold: Remembered[tuple[str, str], float] = Remembered(clock, seconds=_HOUR)
        """Of whom Slack does not tell, and since when."""

    async def person(self, address: Address, user: str) -> Person:
        """Never raises: a name is not worth a message. Who was not told a moment ago is not asked for again."""
        key = (address.team, user)
        try:
            return self._people.get(key) or self._unknown.get(key) or await self.known(address, user)
        except SendError:
            return self._unknown.put(key, Person(id=user))

    async def known(self, address: Address, user: str) -> Person:
        """Who it is, as Slack says, and nobody where it does not. Raises Retryable or Permanent."""
        key = (address.team, user)
        found = self._people.get(key) or await self._asked.ask(key, lambda: self._ask(address, user))
        if isinstance(found, SendError):
            raise found
        return found

    async def _ask(self, address: Address, user: str) -> Person | SendError:
        """An error is what it returns: who asked may have given up, and then nobody would catch it."""
        key = (address.team, user)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                answer = await self._calls.call("users.info", address.team, address.enterprise, user=user)
        except TimeoutError:
            return self._not_told(key, Retryable(f"Slack does not say who {user} is"))
        except SendError as error:
            return self._not_told(key, error)
        self._untold.pop(key)
        return self._people.put(key, _person(user, answer.get("user") or {}))

    def _not_told(self, key: tuple[str, str], error: SendError) -> SendError:
        self._untold.put(key, self._untold.get(key) or self._now())
        return error

    async def is_passed_over(self, address: Address, user: str) -> bool:
        """Whether Slack has told nothing of somebody for ten minutes, although it tells of the bot itself."""
        since = self._untold.get((address.team, user))
        if since is None or self._now() - since < _PATIENCE:
            return False
        try:
            own = str((await self._calls.call("auth.test", address.team, address.enterprise)).get("user_id") or "")
            await self._calls.call("users.info", address.team, address.enterprise, user=own)
        except SendError:
            return False
        return True

    def _now(self) -> float:
        return self._clock.now().timestamp()

    async def site(self, address: Address) -> str:
        """`https://workspace.slack.com/`, or nothing."""
        key = (address.team, address.enterprise)
        known = self._sites.get(key)
        return known if known is not None else await self._sites.ask(key, lambda: self._ask_site(address))

    async def _ask_site(self, address: Address) -> str:
        key = (address.team, address.enterprise)
        try:
            answer = await self._calls.call("auth.test", address.team, address.enterprise)
        except SendError:
            return self._sites.put(key, "")
        return self._sites.put(key, str(answer.get("url") or ""))


def _person(user: str, found: Mapping[str, Any]) -> Person:
    profile = found.get("profile") or {}
    return Person(
        id=user,
        name=str(profile.get("display_name") or profile.get("real_name") or found.get("name") or ""),
        first_name=profile.get("first_name"),
        last_name=profile.get("last_name"),
        email=profile.get("email"),
        timezone=found.get("tz"),
        guest=bool(found.get("is_restricted") or found.get("is_ultra_restricted")),
        stranger=bool(found.get("is_stranger")),
        team=str(found.get("team_id") or ""),
        enterprise=str((found.get("enterprise_user") or {}).get("enterprise_id") or ""),
    )
