"""Every two things that may happen to a conversation at the same moment, in both orders, the first also repeated.

As whoever does them captured it before: the stages keep a turn or a delivery while others commit, and a commit that
nobody heard of is tried again. Whatever came of it, all of it comes to an end then, and nothing that was said is lost.
"""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, TypeAlias

import httpx2
from sqlalchemy import Connection, select

from bridge.errors import Conflict, Replaced
from bridge.model import Act, DeliveryState, Lease, OutboundMessage, Turn, TurnState
from bridge.operations import Operations
from bridge.store import deliveries, halts, tables, tries, turns, waiting
from bridge.store.database import Store
from bridge.store.deliveries import Delivery
from bridge.store.handover import HAND_OVER, Handover
from bridge.store.ingest import INGEST
from bridge.store.ledger import ledger
from bridge.store.nodes import BEAT, Beat
from bridge.store.replay import WAYS
from bridge.store.shown import SHOWN, Shown
from bridge.store.tries import Outcome
from bridge.store.waiting import POSTPONE, PUT_BACK
from bridge.store.withheld import WITHHOLD, Withheld
from tests.conftest import FakeClock
from tests.stages.platform import arrival
from tests.stages.test_turns import Room
from tests.store.journeys import due, parts_of, rows_of, take

SOON: Final = timedelta(minutes=2)


class Keeping(Room):
    """A room whose agent keeps keys, is done at once, and remembers what it was asked."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        super().__init__(store, clock, decisions="/v1/tasks/{task_id}/approval")
        self.answer = self.reply
        self.records: dict[str, dict[str, Any]] = {}
        self.latest: dict[str, dict[str, Any]] = {}
        self.names: dict[str, str] = {}

    def reply(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path
        if "/invoke" in path:
            body = json.loads(request.content)
            key = body["payload_extension"]["idempotency_key"]
            return httpx2.Response(200, json=self.ask(key, body["input"]["text"], body.get("id")))
        parts = path.split("/")
        return httpx2.Response(200, json=self.latest[parts[parts.index("tasks") + 1]])

    def ask(self, key: str, text: str, thread: str | None = None) -> dict[str, Any]:
        if key not in self.records:
            task_id = thread or f"task-{len(self.records)}"
            told = {"status": "completed", "result": "done", "payload_extension": {"idempotency_key": key}}
            self.records[key] = self.latest[task_id] = {"id": task_id, "agent_id": "a", "input": {"text": text}, **told}
        return self.records[key]

    def heard(self) -> set[str]:
        return {text for record in self.records.values() for text in record["input"]["text"].split("\n\n")}


@dataclass
class Scene:
    """One conversation, and what its lanes hold in their hands."""

    room: Keeping
    name: str
    turn: Turn
    delivery: Delivery | None = None

    @property
    def store(self) -> Store:
        return self.room.store

    def out(self, kind: Any = "answer", part: int = 0) -> tuple[OutboundMessage, ...]:
        """The same each time, as for a write that is repeated."""
        (one,) = parts_of(self.store, self.turn, kind=kind)
        return (replace(one, delivery_id=f"{kind} {part} {self.turn.id}", part=part),)

    async def lane(self, write: Any, args: Any) -> Any:
        """As the lanes do it: who has lost the conversation is done, who finds that it shall stop stops."""
        try:
            return await self.store.write(write, args)
        except Replaced:
            return None
        except turns.Stopping:
            return await self.store.write(
                halts.HALT, halts.Halt(turn=self.turn, confirmation=self.out("notice", 10**6))
            )

    async def act(self, act: Act, busy: str, text: str, **metadata: str) -> None:
        said = arrival(self.store, f"{self.name} {text}", text=f"{self.name} {text}", thread=self.name)
        (message,) = said.messages or ()
        key = self.name if act in {Act.EDIT, Act.DELETE} else message.message_key
        message = replace(message, act=act, message_key=key, metadata=metadata)
        await self.store.accept(INGEST, replace(said, busy=busy, messages=(message,)))


Doing: TypeAlias = Callable[[Scene], Awaitable[Any]]


def end(scene: Scene) -> turns.End:
    record = scene.room.ask(scene.turn.idempotency_key, scene.turn.said[-1].message.text, scene.turn.thread_id)
    return turns.End(
        turn=scene.turn, state=TurnState.ANSWERED, task_id=record["id"], result="done", deliveries=scene.out()
    )


def given_up(scene: Scene) -> turns.End:
    out = scene.out("error")
    return turns.End(turn=scene.turn, state=TurnState.DEAD, task_id=end(scene).task_id, deliveries=out)


def pause(scene: Scene, kind: str, until: timedelta) -> halts.Waiting:
    number = scene.turn.notices + 1
    (notice,) = scene.out("notice", number)
    decision = {
        "id": f"{kind} {number} {scene.turn.id}",
        "conversation_id": scene.turn.lease.conversation_id,
        "turn_id": scene.turn.id,
        "delivery_id": notice.delivery_id,
        "kind": kind,
        "choices": '["yes"]',
        "people": '["anna"]',
        "expires_at": scene.store.now() + timedelta(days=7),
    }
    told = json.dumps({"kind": kind, "text": "?", "url": None, "choices": ["yes"], "mark": None})
    return halts.Waiting(
        turn=scene.turn,
        task_id=str(end(scene).task_id),
        pause=told,
        until=scene.store.now() + until,
        notice=(notice,),
        decision=decision,
        anew=True,
    )


def postponed(scene: Scene, until: timedelta) -> waiting.Postponement:
    return waiting.Postponement(turn=scene.turn, until=scene.store.now() + until, error="away", spent=0, away=True)


def tasked(scene: Scene) -> turns.Tasked:
    return turns.Tasked(scene.turn.lease, scene.turn.id, str(end(scene).task_id))


def outcome(scene: Scene, state: DeliveryState) -> Outcome:
    assert scene.delivery
    again = scene.store.now() if state is DeliveryState.UNKNOWN else None
    return Outcome(delivery=scene.delivery, state=state, remote_id=f"remote {scene.delivery.id}", until=again)


def operation(what: Callable[[Operations, str, str], Awaitable[Any]]) -> Doing:
    async def do(scene: Scene) -> None:
        hands = Operations(scene.store, scene.store._clock, agents={"team": "local"})  # wakes nobody
        try:
            await what(hands, scene.turn.lease.conversation_id, scene.turn.said[0].id)
        except Conflict:
            return

    return do


RUNNING: dict[str, Doing] = {
    "end": lambda scene: scene.lane(turns.END, end(scene)),
    "give up": lambda scene: scene.lane(turns.END, given_up(scene)),
    "hand over": lambda scene: scene.lane(HAND_OVER, Handover(end(scene), due(scene.turn.lease))),
    "wait for an approval": lambda scene: scene.lane(halts.WAIT, pause(scene, "approval", SOON)),
    "wait for an answer": lambda scene: scene.lane(halts.WAIT, pause(scene, "question", timedelta(days=7))),
    "tell": lambda scene: scene.lane(halts.TELL, halts.Notice(scene.turn, *scene.out("notice"))),
    "postpone": lambda scene: scene.lane(POSTPONE, postponed(scene, SOON)),
    "note the task": lambda scene: scene.lane(turns.NOTE_TASK, tasked(scene)),
    "show": lambda scene: scene.lane(SHOWN, Shown(scene.turn, scene.out("progress")[0], "view")),
}
SENDING: dict[str, Doing] = {
    "arrive": lambda scene: scene.lane(tries.END, outcome(scene, DeliveryState.SENT)),
    "get lost": lambda scene: scene.lane(tries.END, outcome(scene, DeliveryState.UNKNOWN)),
    "withhold": lambda scene: scene.lane(WITHHOLD, Withheld(scene.delivery, scene.store.now(), "left alone")),  # type: ignore[arg-type]
}
ACTS: dict[str, Doing] = {
    "say more": lambda scene: scene.act(Act.SAY, "collect", "more"),
    "interrupt": lambda scene: scene.act(Act.SAY, "interrupt", "interrupting"),
    "edit": lambda scene: scene.act(Act.EDIT, "queue", "edited"),
    "edit and interrupt": lambda scene: scene.act(Act.EDIT, "interrupt", "changed"),
    "delete": lambda scene: scene.act(Act.DELETE, "queue", ""),
    "stop": lambda scene: scene.act(Act.STOP, "queue", "stop"),
    "begin anew": lambda scene: scene.act(Act.RESET, "queue", "reset"),
    "approve": lambda scene: scene.act(
        Act.DECIDE, "queue", "yes", decision_id=f"approval 1 {scene.turn.id}", choice="yes"
    ),
    "choose": lambda scene: scene.act(
        Act.DECIDE, "queue", "yes!", decision_id=f"question 1 {scene.turn.id}", choice="yes"
    ),
    "stop it all": operation(lambda hands, conversation, _: hands.stop(conversation)),
    "erase": operation(lambda hands, conversation, _: hands.erase(conversation)),
    **{how: operation(lambda hands, _, message, how=how: hands.replay(message, how)) for how in WAYS},  # type: ignore[misc]
}


async def look(scene: Scene) -> None:
    """It waits for an approval, and is looked at right now."""
    await scene.lane(halts.WAIT, pause(scene, "approval", timedelta(0)))
    scene.turn = await take(scene.store, scene.turn.lease)


async def send(scene: Scene) -> None:
    found = await scene.store.write(deliveries.BEGIN, due(scene.turn.lease))
    assert isinstance(found, Delivery)
    scene.delivery = found


# What came before, and what the lanes may be about to do.
SITUATIONS: dict[str, tuple[tuple[Doing, ...], dict[str, Doing]]] = {
    "running": ((), RUNNING | {"put back": lambda scene: scene.lane(PUT_BACK, scene.turn)}),
    "tasked": ((RUNNING["note the task"],), RUNNING),
    "looking": ((look,), RUNNING),
    "asking": ((RUNNING["wait for an answer"],), {}),
    "put off": ((RUNNING["note the task"], RUNNING["postpone"]), {}),
    "sending": ((RUNNING["end"], send), SENDING),
    "sent": ((RUNNING["end"], send, SENDING["arrive"]), {}),
}


def pairs() -> Iterator[tuple[str, str, str]]:
    for situation, (_, lane) in SITUATIONS.items():
        for one, other in itertools.product(lane | ACTS, repeat=2):
            if one in ACTS or other in ACTS or one == other:  # a lane does one thing at a time
                yield situation, one, other


async def play(room: Keeping, situation: str, one: str, other: str) -> None:
    name = f"{situation}: {one}, {other}"
    (lease,) = (await room.store.accept(INGEST, arrival(room.store, name, name, thread=name))).wake
    scene = Scene(room, name, await take(room.store, lease))
    room.names[lease.conversation_id] = name  # which an erased one does not tell any more
    before, lane = SITUATIONS[situation]
    for doing in before:
        await doing(scene)
    for doing in (lane | ACTS)[one], (lane | ACTS)[other], (lane | ACTS)[one]:
        await doing(scene)


async def come_to_an_end(room: Keeping, clock: FakeClock) -> None:
    """As the lanes and the beat do it, until long after every pause."""
    for wait in (timedelta(0), *[SOON] * 4, timedelta(days=8), SOON, timedelta(days=8), SOON):
        await clock.advance(wait)
        while await room.store.write(BEAT, Beat(timedelta(seconds=5), 500, exclusive=True)):
            continue
        leases = await room.store.read(owned, room.store.node)
        await asyncio.gather(
            *(exhaust(step, lease) for lease in leases for step in (room.turns.step, room.outbox.step))
        )


async def exhaust(step: Callable[[Lease], Awaitable[Any]], lease: Lease) -> None:
    with suppress(Replaced):
        for _ in range(10):
            if await step(lease) != timedelta(0):
                return
        raise AssertionError(f"{lease.conversation_id} comes to no end")


def owned(connection: Connection, node: str) -> list[Lease]:
    mine = select(tables.conversations.c.id, tables.conversations.c.epoch)
    return [Lease(*row) for row in connection.execute(mine.where(tables.conversations.c.owner == node))]


async def test_whatever_meets_comes_to_an_end_and_loses_nothing(store: Store, clock: FakeClock) -> None:
    room = Keeping(store, clock)
    played = [*pairs()]
    for at in range(0, len(played), 100):
        await asyncio.gather(*(play(room, *each) for each in played[at : at + 100]))
    await come_to_an_end(room, clock)
    turn_rows = {row.id: row for row in await rows_of(store, tables.turns)}
    for row in (*turn_rows.values(), *await rows_of(store, tables.deliveries)):
        assert row.finished_at is not None, (room.names[row.conversation_id], row)
    for row in await rows_of(store, tables.conversations):
        assert (row.open, row.owner) == (False, None), room.names[row.id]
    heard = room.heard()
    for row in await rows_of(store, tables.messages):
        if row.turn_id in turn_rows and turn_rows[row.turn_id].result is not None:
            assert row.text in heard, (room.names[row.conversation_id], row.text)
    sent = Counter(one.delivery_id for one in room.platform.sent if not one.repeated)
    assert [one for one, times in sent.items() if times > 1] == []
    assert (await store.read(ledger)).balanced
