"""Slack, both directions."""

from collections.abc import Sequence
from typing import Any

from adapters.slack.address import Address, load
from adapters.slack.alarms import Alarm
from adapters.slack.calls import Calls
from adapters.slack.enriching import Enriching
from adapters.slack.events import Events
from adapters.slack.fetching import Fetching
from adapters.slack.history import History
from adapters.slack.ingress import Ingress
from adapters.slack.installations import Installations
from adapters.slack.minutes import PerMinute, SharedPerMinute
from adapters.slack.orphans import Orphans
from adapters.slack.people import People
from adapters.slack.places import Places, written
from adapters.slack.plans import PlanView
from adapters.slack.posts import Posts
from adapters.slack.revocations import revoked
from adapters.slack.settings import Settings
from adapters.slack.showing import NoView, StatusView, World
from adapters.slack.statuses import Statuses
from adapters.slack.streams import StreamView
from adapters.slack.tiers import Budget, budgets
from adapters.slack.uploads import Uploads
from bridge.adapter import Kit, Progress
from bridge.egress import exchange_of
from bridge.model import Envelope, InboundMessage, OutboundMessage, Received


class Slack:
    """One Slack app, in one workspace or many. Keeps nothing between calls but what Slack would tell again."""

    def __init__(self, settings: Settings, kit: Kit) -> None:
        self.max_chars = settings.max_chars
        self._settings = settings
        self._clock = kit.clock
        self.installations = Installations(settings, kit.vault, kit.clock)
        self.calls = Calls(settings.api_url, self.installations, exchange_of(kit.http))
        self.ingress = Ingress(settings, Events(settings, PerMinute(kit.clock)), kit.clock, kit.max_body)
        self._posts = Posts(settings, self.calls, Uploads(self.calls, self.installations.sdk, kit.files), kit.clock)
        self._statuses = Statuses(self.calls, kit.clock)
        people = People(self.calls, kit.clock)
        history = History(settings, self.calls, people, kit.clock)
        fetching = Fetching(settings, self.calls, self.installations, kit)
        self._enriching = Enriching(settings, self.calls, people, history, fetching, statuses=self._statuses)
        orphans = Orphans(self.calls, kit.clock)
        minutes = SharedPerMinute(kit.vault, kit.clock)
        self._alarm = Alarm(kit.clock, settings.progress_after)
        self._world = World(self.calls, settings, kit.clock, minutes, orphans, self._statuses, self._alarm)
        self._places = Places(self.calls, kit.clock)

    def return_address(self, address: str) -> str:
        """Of a channel as the operator writes it."""
        return written(address, self._settings)

    async def receive(self, envelope: Envelope) -> Received:
        body = self.ingress.opened(envelope)
        await self.forget_revoked(body)
        return self.ingress.read(body)

    async def forget_revoked(self, body: bytes) -> None:
        """Drop the installation that an event says is gone."""
        if b'"app_uninstalled"' in body or b'"tokens_revoked"' in body:
            for team, enterprise, at in revoked(body):
                await self.installations.remove(team, enterprise, at)

    async def send(self, message: OutboundMessage) -> str:
        message = await self._places.completed(message)
        remote_id = await self._posts.send(message)
        await self._statuses.follow(message)
        return remote_id

    async def find(self, message: OutboundMessage) -> str | None:
        return await self._posts.find(await self._places.completed(message))

    async def revise(self, remote_id: str, message: OutboundMessage) -> None:
        await self._posts.revise(remote_id, message)

    async def withdraw(self, remote_id: str, message: OutboundMessage) -> None:
        await self._posts.withdraw(remote_id, message)

    async def admit(self, message: InboundMessage) -> InboundMessage:
        return await self._enriching.admit(message)

    async def enrich(self, message: InboundMessage) -> InboundMessage:
        return await self._enriching.enrich(message)

    async def open(self, message: OutboundMessage) -> Progress:
        """Nothing is shown, and nobody called, before the turn has taken `progress_after` seconds or spoken."""
        address = load(message.return_address)
        mode = self._mode(address)
        if mode == "off" or not address.app:  # nobody there has asked, so nobody there waits
            return NoView()
        waiting = StatusView(self._world, address, goes_on=message.task_id is not None)
        if mode == "plan":
            return PlanView(self._world, message, address, waiting)
        return StreamView(self._world, message, address, waiting) if mode == "stream" else waiting

    def budget(self, message: OutboundMessage) -> Sequence[Budget]:
        """What sending the message counts against."""
        address = load(message.return_address)
        method = "chat.postEphemeral" if address.ephemeral else "chat.postMessage"
        return budgets(method, address, self._settings.budgets)

    def routes(self) -> Sequence[Any]:
        """Pages of its own; a bot with its token in the configuration has none."""
        return ()

    async def close(self) -> None:
        """Close the connections to Slack."""
        self._alarm.close()
        await self.installations.close()

    def _mode(self, address: Address) -> str:
        """Only the person asked sees a stream live, so in channels it is not the default."""
        if self._settings.progress == "auto":
            return "stream" if address.is_direct else "status"
        return self._settings.progress
