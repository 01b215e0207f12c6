"""Slack's events become inbound messages; what is ignored is a table with the reason."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import structlog

from adapters.slack.address import Address
from adapters.slack.engaging import ENGAGED, joins
from adapters.slack.minutes import PerMinute
from adapters.slack.reading import attached, flat, mentioned
from adapters.slack.settings import Settings
from adapters.slack.vocabulary import COMMANDS, IGNORED_EVENTS, IGNORED_SUBTYPES, SPOKEN_SUBTYPES, VERDICTS
from bridge.model import Act, Addressed, Author, Candidate, FileRef, InboundMessage

log = structlog.get_logger()

Payload: TypeAlias = Mapping[str, Any]
Messages: TypeAlias = tuple[InboundMessage, ...]

_RULED = 4000
"""Characters that a channel's rule looks at."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What the outside of an event says: which installation it is for."""

    app: str
    team: str
    enterprise: str
    own: str
    """Our bot's user id."""
    shared: bool
    event_id: str

    @property
    def tenant(self) -> str:
        # A channel shared between two workspaces that both have the app brings each message twice.
        return "shared" if self.shared else self.enterprise or self.team

    def message_key(self, channel: str, ts: str) -> str:
        # By the tenant: a channel of several workspaces of one organisation brings a message once for each of them.
        return f"{self.tenant}:{channel}:{ts}"


def scene(payload: Payload, own: str) -> Scene:
    """Taken from `authorizations`: in a shared channel `team_id` and `enterprise_id` may name the other side."""
    grant: Payload = (payload.get("authorizations") or ({},))[0]
    return Scene(
        payload.get("api_app_id") or "",
        grant.get("team_id") or payload.get("team_id") or "",
        (grant if "enterprise_id" in grant else payload).get("enterprise_id") or "",
        (grant.get("user_id") if grant.get("is_bot") else None) or own,
        bool(payload.get("is_ext_shared_channel")),
        payload.get("event_id") or "",
    )


class Events:
    """Reads `event_callback` payloads. No network, no clock but for the loop guard."""

    def __init__(self, settings: Settings, bots: PerMinute) -> None:
        self._settings = settings
        self._bots = bots
        self._own = settings.bot_user_id or ""
        self._engage = joins(settings.channels)
        self._kinds: dict[str, Callable[[Scene, Payload], Messages]] = {
            "message": self._message,
            "app_mention": self._said,
            "agent_session_stopped": self._stopped,
            "reaction_added": self._reaction,
        }

    def read(self, payload: Payload) -> Messages:
        """The messages in an event; none where it is nothing to keep. Raises KeyError or TypeError on a wrong shape."""
        event = payload["event"]
        kind = self._kinds.get(event["type"])
        return kind(scene(payload, self._own), event) if kind else _ignored(IGNORED_EVENTS, event["type"])

    def _message(self, where: Scene, event: Payload) -> Messages:
        subtype = event.get("subtype")
        if subtype == "message_changed":
            return self._edited(where, event)
        if subtype == "message_deleted":
            return self._deleted(where, event, event.get("previous_message") or {}, event["deleted_ts"])
        return self._said(where, event) if subtype in SPOKEN_SUBTYPES else _ignored(IGNORED_SUBTYPES, subtype)

    def _said(self, where: Scene, event: Payload) -> Messages:
        if self._is_own(where, event):
            return ()
        channel, ts, root = event["channel"], event["ts"], event.get("thread_ts")
        raw = event.get("text") or ""
        addressed = self._addressed(where, event, channel, raw)
        if engaged := addressed == "ambient" and not root:
            if not self._joins(event, channel, raw):
                return ()  # said to nobody of us, outside of any thread: the bulk of a busy channel
            addressed = "mention"
        text = flat(event, where.own)
        refusal = self._refusal(where, event, channel, raw, addressed)
        is_command = addressed != "ambient" and not engaged and refusal is None  # whom nobody hears commands nothing
        act = COMMANDS.get(text.lower().strip(" .!"), Act.SAY) if is_command else Act.SAY
        message = self._inbound(
            where,
            event,
            addressed=addressed,
            text=text,
            act=act,
            quoted=attached(event, where.own) if raw and event.get("attachments") else "",
            declined=refusal,
            message_key=where.message_key(channel, ts),
        )
        return (_joined(message) if engaged else message,)

    def _inbound(
        self,
        where: Scene,
        event: Payload,
        *,
        message_key: str,
        addressed: Addressed,
        text: str = "",
        quoted: str = "",
        act: Act = Act.SAY,
        declined: str | None = None,
    ) -> InboundMessage:
        channel, ts = event["channel"], event["ts"]
        user = event.get("user") or event.get("bot_id") or ""
        root = event.get("thread_ts") or ts
        person = channel.startswith("D") and self._settings.dm == "person"
        answer_root = (event.get("thread_ts") or "") if person else root
        address = Address(
            app=where.app,
            tenant=where.tenant,
            team=where.team,
            enterprise=where.enterprise,
            channel=channel,
            root=answer_root,
            user=user,
            user_team=event.get("user_team") or event.get("source_team") or where.team,
        )
        rule = self._settings.channels.get(channel)
        thread, matched_by = ("dm", "person") if person else (root, "thread")
        # Commands and shortcuts do not tell that a channel is shared, and one may be shared later.
        places = (replace(address, tenant=where.enterprise or where.team), address) if where.shared else (address,)
        return InboundMessage(
            message_key=message_key,
            conversation=tuple(Candidate(value=place.key(thread), matched_by=matched_by) for place in places),
            return_address=address.dump(),
            author=Author(id=user, trust="verified", attributes={"team": address.user_team}),
            addressed=addressed,
            begins=root == ts and not person,
            text=text,
            quoted=quoted,
            files=files_in(event),
            act=act,
            agent=rule.agent if rule else None,
            declined=declined,
        )

    def _is_own(self, where: Scene, event: Payload) -> bool:
        return (bool(where.own) and event.get("user") == where.own) or (
            "app_id" in event and bool(where.app) and event["app_id"] == where.app
        )

    def _addressed(self, where: Scene, event: Payload, channel: str, raw: str) -> Addressed:
        if channel.startswith("D"):
            return "direct"
        if event["type"] == "app_mention" or (where.own and (f"<@{where.own}>" in raw or f"<@{where.own}|" in raw)):
            return "mention"
        return "ambient"

    def _joins(self, event: Payload, channel: str, raw: str) -> bool:
        """Whether a top-level message that is addressed to nobody is one that this channel's rule takes up."""
        rule = self._engage.get(channel)
        return rule is not None and not mentioned(raw) and rule.search(flat(event)[:_RULED]) is not None

    def _refusal(self, where: Scene, event: Payload, channel: str, raw: str, addressed: Addressed) -> str | None:
        """Why a message is not for the agent, as far as the event alone tells; guests are seen later."""
        settings = self._settings
        if "bot_id" in event or event.get("subtype") == "bot_message":
            names = {event.get("bot_id"), event.get("app_id"), event.get("user")}
            if not names & settings.allow_bots:
                return "bot"
            if not self._bots.passes(f"{channel}:{event.get('bot_id')}", settings.bot_budget, event["ts"]):
                return "bot_budget"
        team = event.get("user_team") or event.get("source_team")
        # Within an organisation people of all its workspaces meet; only a shared channel has others in it.
        abroad = team and team not in {where.team, where.enterprise} and (where.shared or not where.enterprise)
        if abroad and not settings.allow_external:
            return "external_user"
        if not settings.serves(channel):
            return "channel_not_served"
        if addressed == "ambient" and mentioned(raw):
            return "addressed_to_others"
        return None

    def _edited(self, where: Scene, event: Payload) -> Messages:
        """Only words and files count: unfurls, replies and Slack's language detection fire the same event."""
        now, before = event["message"], event.get("previous_message") or {}
        now = {"type": "message", "channel": event["channel"], **now}
        if now.get("subtype") == "tombstone":  # a deleted root that has replies
            return self._deleted(where, event, before, now["ts"])
        same = now.get("text") == before.get("text") and _file_ids(now) == _file_ids(before)
        if same or self._is_own(where, now) or "bot_id" in now:
            return ()
        said = self._said(where, now)
        edits = tuple(replace(message, act=Act.EDIT) for message in said if message.act is Act.SAY)
        if not said and where.own in mentioned(before.get("text") or ""):
            edits = (self._edit_of_a_withdrawn_mention(where, now),)
        added = where.own in mentioned(now.get("text") or "") and where.own not in mentioned(before.get("text") or "")
        # A mention added later is a question asked now; the store drops it where the message was known already.
        return (said if added else ()) + edits

    def _edit_of_a_withdrawn_mention(self, where: Scene, now: Payload) -> InboundMessage:
        key = where.message_key(now["channel"], now["ts"])
        text = flat(now, where.own)
        return self._inbound(where, now, message_key=key, addressed="ambient", text=text, act=Act.EDIT)

    def _deleted(self, where: Scene, event: Payload, before: Payload, ts: str) -> Messages:
        if self._is_own(where, before) or "bot_id" in before:
            return ()
        gone = {"type": "message", **before, "channel": event["channel"], "ts": ts}
        channel, raw = event["channel"], gone.get("text") or ""
        ambient = not gone.get("thread_ts") and self._addressed(where, gone, channel, raw) == "ambient"
        if ambient and not self._joins(gone, channel, raw):
            return ()
        key = where.message_key(event["channel"], ts)
        return (self._inbound(where, gone, message_key=key, addressed="ambient", act=Act.DELETE),)

    def _stopped(self, where: Scene, event: Payload) -> Messages:
        at = {**event, "ts": event["thread_ts"]}
        key = f"{where.message_key(event['channel'], event['thread_ts'])}:stop:{where.event_id}"
        return (self._inbound(where, at, message_key=key, addressed="direct", act=Act.STOP),)

    def _reaction(self, where: Scene, event: Payload) -> Messages:
        """Thumbs on what we said are feedback; the stop sign stops, on what we said or on the question."""
        item = event["item"]
        name = str(event["reaction"]).partition("::")[0]  # thumbs carry a skin tone
        stop = name == self._settings.stop_reaction
        verdict = VERDICTS.get(name)
        if item.get("type") != "message" or event.get("user") == where.own or not (stop or verdict):
            return ()
        if not stop and event.get("item_user") != where.own:
            return ()
        at = {"channel": item["channel"], "ts": item["ts"], "user": event["user"]}
        key = f"{where.message_key(item['channel'], item['ts'])}:{name}:{where.event_id}"
        message = self._inbound(where, at, message_key=key, addressed="direct", act=Act.STOP if stop else Act.RATE)
        # What we said is known by its remote id, an alias of the conversation.
        remote_id = message.conversation[-1].value.rpartition(":")[0] + ":" + item["ts"]
        candidate = Candidate(value=remote_id, matched_by="reaction")
        message = replace(message, conversation=(candidate, *message.conversation))
        if stop:
            return (message,)
        # Answers to commands and shortcuts do not know that a channel is shared, and are named after its owner.
        places = (one.value.rpartition(":")[0] for one in message.conversation)
        names = dict.fromkeys(f"{place}:{item['ts']}" for place in places)
        return tuple(
            replace(
                message,
                message_key=f"{key}:{number}" if number else key,
                metadata={"remote_id": name, "value": verdict},
            )
            for number, name in enumerate(names)
        )


def _joined(message: InboundMessage) -> InboundMessage:
    """Marked, so that people see why the bot joined in, and a function may still be asked whether it should."""
    return replace(
        message, conversation=tuple(replace(candidate, matched_by=ENGAGED) for candidate in message.conversation)
    )


def _ignored(reasons: Mapping[str, str], name: Any) -> Messages:
    log.debug("slack_ignored", what=name, why=reasons.get(str(name), "not known to this version"))
    return ()


def files_in(event: Payload) -> tuple[FileRef, ...]:
    """The files that are really there; `slack-file:` where Slack wants to be asked first."""
    if not event.get("files"):
        return ()
    refs = []
    for item in event["files"]:
        if item.get("mode") == "tombstone" or item.get("file_access") in {"access_denied", "file_not_found"}:
            continue
        url = item.get("url_private_download") or item.get("url_private")
        if item.get("file_access") == "check_file_info" or not url:
            url = f"slack-file:{item['id']}"
        name = str(item.get("name") or item.get("title") or item["id"])
        refs.append(FileRef(url=str(url), name=name, media_type=item.get("mimetype"), size=item.get("size")))
    return tuple(refs)


def _file_ids(message: Payload) -> list[Any]:
    return [item.get("id") for item in message.get("files") or ()]
