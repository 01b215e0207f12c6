"""Adds to a message what needs the network: names, the thread so far, files, where it was said."""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from adapters.slack.address import Address, load
from adapters.slack.calls import Calls, Refusal
from adapters.slack.engaging import Judges
from adapters.slack.fetching import Fetching, NotFetched
from adapters.slack.history import History
from adapters.slack.people import People
from adapters.slack.settings import Settings
from adapters.slack.statuses import Statuses
from bridge.errors import Permanent, Retryable, SendError
from bridge.model import Act, FileRef, InboundMessage

_NAMED = re.compile(r"@([UW][A-Z0-9]+)\b")
_PEOPLE = 20
_NOBODY = frozenset({"user_not_found", "user_not_visible"})


class Enriching:
    """Every addition is worth less than the message: what fails is left out. Whom the bot hears is no addition."""

    def __init__(
        self,
        settings: Settings,
        calls: Calls,
        people: People,
        history: History,
        fetching: Fetching,
        *,
        statuses: Statuses,
    ) -> None:
        self._settings = settings
        self._calls = calls
        self._people = people
        self._history = history
        self._fetching = fetching
        self._statuses = statuses
        self._judges = Judges(settings.channels)

    async def admit(self, message: InboundMessage) -> InboundMessage:
        """Declines it: a guest, or none of our business. Raises Retryable or Permanent."""
        if message.act not in {Act.SAY, Act.EDIT} or message.declined:
            return message
        address = load(message.return_address)
        refusal = await self._refusal(address, message.author.id)
        if refusal is None and address.channel in self._judges:
            named = (await self._people.person(address, message.author.id)).author(message.author)
            refusal = await self._judges.refusal(replace(message, author=named), address.channel)
        return replace(message, declined=refusal) if refusal else message

    async def enrich(self, message: InboundMessage) -> InboundMessage:
        """Raises Permanent for a foreign address."""
        if message.act not in {Act.SAY, Act.EDIT} or message.declined:
            return message
        address = load(message.return_address)
        author = (await self._people.person(address, message.author.id)).author(message.author)
        ts = message.message_key.rpartition(":")[2]
        quoted = await self._quoted(message, address, ts)
        files, left = await self._files(message, address)
        text = await self._named(address, message.text)
        if not (text or files or message.quoted):
            text = await self._said_nothing(address)
        complete = replace(
            message,
            author=author,
            text=text,
            quoted="\n\n".join(filter(None, (message.quoted, await self._named(address, quoted)))),
            files=files,
            context=await self._context(address, ts, left),
        )
        self._statuses.note(complete, address)
        return complete

    async def _refusal(self, address: Address, user: str) -> str | None:
        """Raises Retryable where Slack does not say now who it is, Permanent where that is so of this one person alone.

        A bot that is no user is nobody's guest.
        """
        everybody = self._settings.allow_external and self._settings.allow_guests
        if everybody or not user.startswith(("U", "W")):
            return None
        try:
            person = await self._people.known(address, user)
        except SendError as error:
            if isinstance(error, Refusal) and error.error in _NOBODY:
                return "unknown_author"
            if await self._people.is_passed_over(address, user):
                raise Permanent(f"Slack tells of others who they are, and of {user} not: {error}") from error
            raise Retryable(f"whether {user} is a guest could not be told: {error}", after=_after(error)) from error
        if (person.stranger or person.is_abroad(address)) and not self._settings.allow_external:
            return "external_user"
        return "guest" if person.guest and not self._settings.allow_guests else None

    async def _quoted(self, message: InboundMessage, address: Address, ts: str) -> str:
        """Only a mention joins a thread; what is said in one we follow arrives message by message."""
        if (
            message.addressed != "mention"
            or not address.root
            or address.root == ts
            or not ts.partition(".")[0].isdigit()
        ):
            return ""
        try:
            return await self._history.before(address, address.root, ts)
        except SendError:
            return ""

    async def _files(self, message: InboundMessage, address: Address) -> tuple[tuple[FileRef, ...], Sequence[str]]:
        files, left = [], []
        for ref in message.files:
            if ref.url.startswith("file:"):
                files.append(ref)
                continue
            try:
                files.append(await self._fetching.fetch(address, ref))
            except NotFetched as error:
                left.append(str(error))
        return tuple(files), left

    async def _named(self, address: Address, text: str) -> str:
        """`@U123` becomes `@Ada`."""
        if "@" not in text:
            return text
        for user in sorted(set(_NAMED.findall(text)))[:_PEOPLE]:
            name = (await self._people.person(address, user)).name
            if name:
                text = re.sub(rf"@{user}\b", lambda _, name=name: f"@{name}", text)  # type: ignore[misc]  # default binds the loop's value
        return text

    async def _said_nothing(self, address: Address) -> str:
        if self._settings.suggested_prompts:
            prompts = [{"title": text[:75], "message": text} for text in self._settings.suggested_prompts]
            with suppress(SendError):  # not every surface shows prompts
                await self._calls.call(
                    "assistant.threads.setSuggestedPrompts",
                    address.team,
                    address.enterprise,
                    channel_id=address.channel,
                    thread_ts=address.root or None,
                    prompts=prompts,
                )
        return self._settings.empty_prompt

    async def _context(self, address: Address, ts: str, left: Sequence[str]) -> str:
        facts = ["A direct message on Slack." if address.is_direct else f"Slack channel {address.channel}."]
        site = await self._people.site(address)
        if site and ts.partition(".")[0].isdigit():
            link = f"{site}archives/{address.channel}/p{ts.replace('.', '')}"
            thread = f"?thread_ts={address.root}&cid={address.channel}" if address.root and address.root != ts else ""
            facts.append(f"Permalink: {link}{thread}")
        abroad = address.tenant == "shared" or not address.enterprise  # an organisation has several workspaces
        if abroad and address.user_team and address.user_team not in {address.team, address.enterprise}:
            facts.append("The author belongs to another organisation.")
        return "\n".join([*facts, *(f"Not attached: {reason}." for reason in left)])


def _after(error: SendError) -> float | None:
    return error.after if isinstance(error, Retryable) else None
