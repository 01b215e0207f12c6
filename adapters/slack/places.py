"""Places that an operator names: a channel, where the app says something before anybody has spoken to it."""

import re
from dataclasses import replace
from typing import Any, Final

from adapters.slack.address import Address, load
from adapters.slack.caching import Remembered
from adapters.slack.calls import Calls
from adapters.slack.settings import Settings
from bridge.clock import Clock
from bridge.model import OutboundMessage

_WRITTEN: Final = re.compile(r"(?:(T[A-Z0-9]{2,})/)?([CGD][A-Z0-9]{2,})")
_SECONDS: Final = 3600


def written(text: str, settings: Settings) -> str:
    """The return address of `C0123456789`, or, for an app in many workspaces, `T0123456789/C0123456789`."""
    match = _WRITTEN.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no channel; write its id, for example C0123456789 (channel details, About)")
    team, channel = match.groups()
    if team is None and settings.bot_token is None:
        raise ValueError(f"{text!r} does not say which workspace; write T0123456789/{channel}")
    return Address(app="", tenant="", team=team or "", channel=channel).dump()


class Places:
    """Completes such addresses: what is said there must be found again under the keys that replies carry."""

    def __init__(self, calls: Calls, clock: Clock) -> None:
        self._calls = calls
        self._known: Remembered[tuple[str, str], Address] = Remembered(clock, seconds=_SECONDS)

    async def completed(self, message: OutboundMessage) -> OutboundMessage:
        """The message with a whole return address; as it is where that is one. Raises Retryable or Permanent."""
        address = load(message.return_address)
        if address.app:
            return message
        key = (address.team, address.channel)
        whole = self._known.get(key) or await self._known.ask(key, lambda: self._ask(address))
        return replace(message, return_address=whole.dump())

    async def _ask(self, address: Address) -> Address:
        told = await self._calls.call("auth.test", address.team)
        team, enterprise = str(told.get("team_id") or address.team), str(told.get("enterprise_id") or "")
        app = str(told.get("app_id") or "")
        if not app:
            bot = await self._calls.call("bots.info", team, enterprise, bot=told.get("bot_id"))
            app = str(_within(bot, "bot").get("app_id") or "")
        found = await self._calls.call("conversations.info", team, enterprise, channel=address.channel)
        shared = _within(found, "channel").get("is_ext_shared")
        tenant = "shared" if shared else enterprise or team
        whole = replace(address, app=app, tenant=tenant, team=team, enterprise=enterprise)
        return self._known.put((address.team, address.channel), whole)


def _within(answer: Any, name: str) -> dict[str, Any]:
    found = answer.get(name)
    return found if isinstance(found, dict) else {}
