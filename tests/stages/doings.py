"""What may happen to a conversation, as whoever does it does it, and what may have come before."""

import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection, select

from bridge.errors import Conflict, Missing
from bridge.model import Act, DeliveryState, Lease, Turn, TurnState
from bridge.store import deliveries, halts, heads, tables, tries, turns, waiting
from bridge.store.deliveries import Delivery
from bridge.store.handover import HAND_OVER, Handover
from bridge.store.replay import WAYS
from bridge.store.shown import SHOWN, Shown
from bridge.store.tries import Outcome
from bridge.store.waiting import POSTPONE, PUT_BACK
from bridge.store.withheld import WITHHOLD, Withheld
from tests.stages.scenes import Scene
from tests.store.journeys import due

SOON: Final = timedelta(minutes=2)
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
    again = {DeliveryState.UNKNOWN: timedelta(0), DeliveryState.PENDING: SOON}.get(state)
    until = None if again is None else scene.store.now() + again
    return Outcome(delivery=scene.delivery, state=state, remote_id=f"remote {scene.delivery.id}", until=until)


def operation(what: Doing) -> Doing:
    async def do(scene: Scene) -> None:
        with suppress(Conflict, Missing):
            await what(scene)

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
    "be refused": lambda scene: scene.lane(tries.END, outcome(scene, DeliveryState.DEAD)),
    "come too often": lambda scene: scene.lane(tries.END, outcome(scene, DeliveryState.PENDING)),
    "withhold": lambda scene: scene.lane(WITHHOLD, Withheld(scene.delivery, scene.store.now(), "left alone")),  # type: ignore[arg-type]
}
ACTS: dict[str, Doing] = {
    "say more": lambda scene: scene.act(Act.SAY, "collect", "more"),
    "interrupt": lambda scene: scene.act(Act.SAY, "interrupt", "interrupting"),
    "interrupt another": lambda scene: scene.act(Act.SAY, "interrupt", "as for me", "ben"),
    "read": lambda scene: scene.read("by mail"),
    "let in": lambda scene: scene.let_in("odd"),
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
    "rate": lambda scene: scene.act(Act.RATE, "queue", "good", value="1", delivery_id=scene.named("answer")),
    "stop it all": operation(lambda scene: scene.beside.stop(scene.turn.lease.conversation_id)),
    "erase": operation(lambda scene: scene.beside.erase(scene.turn.lease.conversation_id)),
    "retry": operation(lambda scene: scene.operations.retry(scene.named("answer"))),
    **{how: operation(lambda scene, how=how: scene.operations.replay(scene.turn.said[0].id, how)) for how in WAYS},  # type: ignore[misc]
}


async def look(scene: Scene) -> None:
    """It waits for an approval, and is looked at right now."""
    await scene.lane(halts.WAIT, pause(scene, "approval", timedelta(0)))
    await work(scene)


async def work(scene: Scene) -> None:
    """Whoever has the conversation now begins what there is to do, and knows of nothing else."""
    (lease,) = await scene.store.read(leases_of, [scene.turn.lease.conversation_id])
    head = await scene.store.write(heads.TAKE, lease)
    scene.at_work = isinstance(head, Turn)
    scene.turn = head if isinstance(head, Turn) else replace(scene.turn, lease=lease)


async def send(scene: Scene) -> None:
    (lease,) = await scene.store.read(leases_of, [scene.turn.lease.conversation_id])
    found = await scene.store.write(deliveries.BEGIN, due(lease))
    scene.at_work = isinstance(found, Delivery)
    scene.delivery = found if isinstance(found, Delivery) else None


def leases_of(connection: Connection, ids: Sequence[str]) -> list[Lease]:
    mine = select(tables.conversations.c.id, tables.conversations.c.epoch)
    return [Lease(*row) for row in connection.execute(mine.where(tables.conversations.c.id.in_(ids)))]


end_it, give_up, note_the_task = RUNNING["end"], RUNNING["give up"], RUNNING["note the task"]
arrive, reattach, invoke = SENDING["arrive"], ACTS["reattach"], ACTS["invoke"]
# What came before, and what the lanes may be about to do.
SITUATIONS: dict[str, tuple[tuple[Doing, ...], dict[str, Doing]]] = {
    "running": ((), RUNNING | {"put back": lambda scene: scene.lane(PUT_BACK, scene.turn)}),
    "tasked": ((note_the_task,), RUNNING),
    "looking": ((look,), RUNNING),
    "showing": ((RUNNING["show"],), RUNNING),
    "asked again": ((give_up, send, arrive, invoke, work), RUNNING),
    "gone on with": ((note_the_task, give_up, reattach, work), RUNNING),
    "asking": ((RUNNING["wait for an answer"],), {}),
    "put off": ((note_the_task, RUNNING["postpone"]), {}),
    "sending": ((end_it, send), SENDING),
    "sent": ((end_it, send, arrive), {}),
    "lost": ((end_it, send, SENDING["get lost"]), {}),
    "sent too often": ((end_it, send, SENDING["come too often"]), {}),
    "refused": ((end_it, send, SENDING["be refused"]), {}),
    "dead": ((give_up, send, arrive), {}),
}
