"""What this adapter remembers between mails: which tokens, ids and addresses belong to what. All of it in the vault."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from adapters.email.threads import Clues
from bridge.adapter import Vault
from bridge.errors import Retryable
from bridge.model import Candidate

_TRIES = 8
THREADS_KEPT = timedelta(days=366)
"""A reply to an older mail starts a conversation of its own. Every answer in the thread makes it young again."""
_MARKS_KEPT = timedelta(days=366)
_ONCE_KEPT = timedelta(days=30)
_LINKS = 40


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `most` in `span`; 0 means no limit."""

    most: int
    span: timedelta


class Memory:
    """Names in the vault are digests where they come from mails, so that nothing odd gets into a key."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def remember(self, name: str, conversation_id: str, participant: str = "") -> None:
        """Let this token, provider id or thread index lead to the conversation. May be repeated."""
        value = f"{conversation_id}\n{participant}".encode()
        await self._set(_place(name), value, THREADS_KEPT, conversation_id=conversation_id)

    async def link(self, name: str, candidates: Sequence[Candidate]) -> None:
        """Let what leads this mail to its conversation lead there, too, whoever names the mail itself later."""
        known = [(each.value, each.kind) for each in candidates[:_LINKS]]
        place = next((each.value for each in candidates if each.kind == "conversation_id"), None)
        await self._set(_place(f"link {name}"), json.dumps(known).encode(), THREADS_KEPT, conversation_id=place)

    async def linked(self, names: Iterable[str]) -> list[Candidate]:
        """What `link` kept under these names; each counts only for who takes part already."""
        found: dict[tuple[str, str], Candidate] = {}
        for name in names:
            if (stored := await self._vault.get(_place(f"link {name}"))) is not None:
                for value, kind in json.loads(stored[0]):
                    found[value, kind] = Candidate(
                        value=value, kind=kind, matched_by="references", participants_only=True
                    )
        return list(found.values())

    async def forget(self, name: str) -> None:
        """Revoke it: it leads nowhere from now on."""
        await self._vault.delete(_place(name))

    async def conversations(self, clues: Clues) -> dict[str, str]:
        """Of all a mail says, what leads to a conversation."""
        names = [*clues.tokens[:20], *clues.reference_tokens, *clues.references, clues.thread_index]
        found: dict[str, str] = {}
        for name in dict.fromkeys(filter(None, names)):
            if (stored := await self._vault.get(_place(name))) is not None:
                found[name] = stored[0].decode().partition("\n")[0]
        return found

    async def participants(self, tokens: Sequence[str]) -> set[str]:
        """For whom these tokens were made: what a bounce may speak about."""
        stored = [await self._vault.get(_place(token)) for token in tokens[:20]]
        return {found[0].decode().partition("\n")[2] for found in stored if found is not None} - {""}

    async def is_first(self, name: str) -> bool:
        """True for exactly one caller with this name, whatever crashes in between."""
        return await self._vault.put(_place(name), b"done", version=None, keep=_ONCE_KEPT)

    async def mark_undeliverable(self, address: str, why: str) -> None:
        """Mails to this address came back: nothing more is sent there until a mail arrives from it."""
        await self._set(_place(f"undeliverable {address}"), why.encode(), _MARKS_KEPT)

    async def why_undeliverable(self, address: str) -> str | None:
        """Why nothing is sent there, or None."""
        stored = await self._vault.get(_place(f"undeliverable {address}"))
        return stored[0].decode() if stored else None

    async def mark_alive(self, address: str) -> None:
        """A mail came from there."""
        if await self.why_undeliverable(address) is not None:
            await self._vault.delete(_place(f"undeliverable {address}"))

    async def within(self, name: str, key: str, now: datetime, limits: Sequence[Limit]) -> bool:
        """Count `key` under `name` unless a limit is reached. Counting the same key twice counts once."""
        active = [limit for limit in limits if limit.most]
        if not active:
            return True
        place = _place(f"budget {name}")
        for _ in range(_TRIES):
            stored = await self._vault.get(place)
            longest = max(limit.span for limit in active)
            seen = _recent(json.loads(stored[0]) if stored else {}, now, longest)
            if key in seen:
                return True
            if any(_count(seen.values(), now, limit.span) >= limit.most for limit in active):
                return False
            value = json.dumps({**seen, key: now.timestamp()}).encode()
            if await self._vault.put(place, value, version=stored[1] if stored else None, keep=longest):
                return True
        raise Retryable("Too many mails of one thread at once.")

    async def _set(self, place: str, value: bytes, keep: timedelta, *, conversation_id: str | None = None) -> None:
        """Also where the value is there already: its time begins anew. Erased with its conversation."""
        for _ in range(_TRIES):
            stored = await self._vault.get(place)
            version = stored[1] if stored else None
            if await self._vault.put(place, value, version=version, keep=keep, conversation_id=conversation_id):
                return
        raise Retryable("The same name was written by others at the same time.")


def _place(name: str) -> str:
    return f"mail/{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:40]}"


def _recent(seen: dict[str, float], now: datetime, span: timedelta) -> dict[str, float]:
    return {key: at for key, at in seen.items() if at > (now - span).timestamp()}


def _count(times: Iterable[float], now: datetime, span: timedelta) -> int:
    return sum(at > (now - span).timestamp() for at in times)
