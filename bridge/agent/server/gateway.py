"""Conversations over the agents of this server: follow-ups wait behind a live turn, questions are answered by choice.

A conversation is a task, and its id the task's. Our brains cannot be steered in the middle of a turn, so what is said
meanwhile always waits.
"""

import json
import re
from collections.abc import AsyncGenerator, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bridge.agent.server.backlog import Backlog
from bridge.agent.server.desk import Desk, Taken
from bridge.agent.server.orders import Order, OrderInput, OrderUser
from bridge.agent.server.rest import Rest
from bridge.agent.server.streams import EventStream
from bridge.agent.server.tasks import LIVE, order_of, stamp
from bridge.agent_rows import FollowUp, TaskTurn
from bridge.model import Json, new_id

MOST_WAITING: Final = 100
_PREFIXES: Final = ("/v1/agents/{agent_id}/gateway", "/v1/agents/{agent_id}")
"""The second is how newer pages of the service call the same."""


class _Read(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Message(_Read):
    """What somebody says to a conversation."""

    text: str = ""
    files: tuple[str, ...] | None = None
    mode: Literal["auto", "queue", "steer"] = "auto"
    idempotency_key: Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,255}$")] | None = None
    user: OrderUser | None = None


class Answer(_Read):
    """The answer to one question of a card."""

    question_id: str
    selected_option_ids: tuple[str, ...] = ()
    free_text: str | None = None


class Answers(_Read):
    """The answers to all of them."""

    decision_id: str | None = None
    answers: tuple[Answer, ...]
    user: OrderUser | None = None


class Stop(_Read):
    """How to stop."""

    clear_queue: bool = False


_MESSAGE: Final = TypeAdapter(Message)
_ANSWERS: Final = TypeAdapter(Answers)
_STOP: Final = TypeAdapter(Stop)
BODIES: Final[Mapping[str, type[BaseModel]]] = {"messages": Message, "answers": Answers, "halt": Stop}
"""By the name of the endpoint."""


class Gateway:
    """Turns requests about conversations into calls of the desk."""

    def __init__(self, desk: Desk, rest: Rest, backlog: Backlog) -> None:
        self._desk = desk
        self._rest = rest
        self._backlog = backlog

    def routes(self) -> list[Route]:
        """Every route of the surface."""
        invoking = [
            Route(f"{_PREFIXES[0]}/invoke", self._rest.invoke, methods=["POST"]),
            Route(f"{_PREFIXES[0]}/invoke/stream", self._rest.invoke_stream, methods=["POST"]),
        ]
        return invoking + [
            Route(f"{prefix}/conversations/{{conversation_id}}{path}", endpoint, methods=[method])
            for prefix in _PREFIXES
            for method, path, endpoint in (
                ("POST", "/messages", self.messages),
                ("GET", "/run-state", self.run_state),
                ("POST", "/drain/stream", self.drain),
                ("POST", "/stop", self.halt),
                ("POST", "/edit/{message_id}", self.edit),
                ("POST", "/edit/{message_id}/stream", self.edit_stream),
                ("POST", "/answers", self.answers),
            )
        ]

    async def messages(self, request: Request) -> Response:
        """A follow-up: `queued` behind a live turn, or `started`: nothing is stored, and the run is the caller's."""
        said = await self._desk.body(request, _MESSAGE)
        agent_id, task_id = self._names(request)
        order = self._desk.checked({"input": said.model_dump(include={"text", "files", "user"}), "id": task_id})
        follow_up = FollowUp(
            id=new_id("fup"),
            task_id=task_id,
            agent_id=agent_id,
            idempotency_key=said.idempotency_key or self._desk.key_of(request),
            request=order.stored(),
            user_id=order.input.user.id if order.input.user else None,
            at=self._desk.now(),
        )
        if len(await self._backlog.waiting(task_id)) >= MOST_WAITING:
            raise HTTPException(429, f"{MOST_WAITING} messages wait already.", {"retry-after": "5"})
        lined_up = await self._backlog.line_up(follow_up)
        if lined_up.how == "foreign":
            raise HTTPException(404, f"No such conversation of agent {agent_id!r}.")
        action = "started" if lined_up.how == "idle" else "queued"
        if action == "queued":
            self._desk.expect(task_id)
        told = {"action": action, "message_id": lined_up.id, "queue_depth": lined_up.depth, "steer_target": None}
        return JSONResponse(told)

    async def run_state(self, request: Request) -> Response:
        """What a client polls: whether a turn runs, and what waits behind it."""
        turn = await self._turn(request)
        shown = await self._desk.show(turn.task_id)
        waiting = await self._backlog.waiting(turn.task_id)
        status = str(shown["status"])
        return JSONResponse(
            {
                "is_running": status in LIVE,
                "is_steerable": False,
                "steer_target": None,
                "active_child_id": None,
                "queue_depth": len(waiting),
                "queued_messages": [_shown(one) for one in waiting],
                "execution_status": status,
                "conversation_state": "running" if status in LIVE else "paused" if status == "paused" else "idle",
            }
        )

    async def drain(self, request: Request) -> Response:
        """Begins what waits in an idle conversation, and tells it; an empty stream where a run owns it."""
        turn = await self._turn(request)
        begun = await self._desk.begin_next(turn.task_id)
        return EventStream(_nothing() if begun is None else self._desk.events(begun))

    async def halt(self, request: Request) -> Response:
        """Stops the turn. What waits goes on waiting, unless it is to be cleared."""
        how = await self._desk.body(request, _STOP, default=Stop())
        turn = await self._turn(request)
        if how.clear_queue:
            await self._backlog.clear(turn.task_id)
        return JSONResponse(await self._desk.stop(turn.task_id))

    async def edit(self, request: Request) -> Response:
        """Rewrites an earlier message and runs it again: what came after it is dropped, what runs is stopped."""
        return JSONResponse(await self._desk.ended(await self._rewritten(request)))

    async def edit_stream(self, request: Request) -> Response:
        """The same, told as it happens."""
        return EventStream(self._desk.events((await self._rewritten(request)).turn))

    async def _rewritten(self, request: Request) -> Taken:
        agent_id, task_id = self._names(request)
        order = (await self._rest.order(request)).model_copy(update={"id": task_id})
        turn = await self._turn(request)
        number = _turn_named(request.path_params["message_id"], turn.task_id)
        return await self._desk.rewrite(agent_id, order, number=number, key=self._desk.key_of(request))

    async def answers(self, request: Request) -> Response:
        """The answers to what a paused turn asked; what does not fit is 400, before anything runs."""
        given = await self._desk.body(request, _ANSWERS)
        turn = await self._turn(request)
        text = _answer_text(_asked(turn), given)
        agent_id, task_id = self._names(request)
        user = given.user or order_of(turn).input.user
        order = Order(input=OrderInput(text=text, user=user), id=task_id)
        taken = await self._desk.take(agent_id, order, key=self._desk.key_of(request))
        return EventStream(self._desk.events(taken.turn))

    def _names(self, request: Request) -> tuple[str, str]:
        agent_id, task_id = request.path_params["agent_id"], request.path_params["conversation_id"]
        self._desk.agent(agent_id)
        return agent_id, task_id

    async def _turn(self, request: Request) -> TaskTurn:
        """The latest turn of a conversation with this agent. Raises HTTPException 404."""
        agent_id, task_id = self._names(request)
        turn = await self._desk.known(task_id)
        if turn.agent_id != agent_id:
            raise HTTPException(404, f"No such conversation of agent {agent_id!r}.")
        return turn


def _turn_named(message_id: str, task_id: str) -> int:
    """Which turn a message of the thread began. Raises HTTPException 404 for what is no person's message of it."""
    task, _, number = message_id.removesuffix(":user").rpartition(":")
    if task != task_id or not message_id.endswith(":user") or not re.fullmatch(r"[1-9][0-9]{0,8}", number):
        raise HTTPException(404, "No such message.")
    return int(number)


async def _nothing() -> AsyncGenerator[bytes, None]:
    return
    yield


def _shown(waiting: FollowUp) -> Json:
    order = Order.model_validate_json(waiting.request)
    return {
        "id": waiting.id,
        "text": order.input.text,
        "files": list(order.input.files or ()),
        "user": order.input.user.model_dump(exclude_none=True) if order.input.user else None,
        "enqueued_at": stamp(waiting.at),
        "idempotency_key": waiting.idempotency_key,
    }


def _asked(turn: TaskTurn) -> Mapping[str, Any]:
    """The card that a paused turn shows. Raises HTTPException 400."""
    told = json.loads(turn.events) if turn.status == "paused" and turn.events else []
    if not told or told[-1][0] != "ask_user_questions" or not isinstance(told[-1][2], Mapping):
        raise HTTPException(400, "This conversation has asked nothing.")
    card: Mapping[str, Any] = told[-1][2]
    return card


def _answer_text(card: Mapping[str, Any], given: Answers) -> str:
    """What was chosen and written, a line for each question. Raises HTTPException 400 for what does not fit."""
    if given.decision_id != card.get("decision_id", given.decision_id):
        raise HTTPException(400, "That card is no longer the one that is asked.")
    questions = {str(one.get("id")): one for one in card.get("questions") or () if isinstance(one, Mapping)}
    if {answer.question_id for answer in given.answers} != questions.keys():
        raise HTTPException(400, f"Answer each of these questions once: {', '.join(questions)}.")
    return "\n".join(_one_answer(questions[answer.question_id], answer) for answer in given.answers)


def _one_answer(question: Mapping[str, Any], answer: Answer) -> str:
    options = {str(one.get("id")): one for one in question.get("options") or () if isinstance(one, Mapping)}
    if unknown := [one for one in answer.selected_option_ids if one not in options]:
        raise HTTPException(400, f"Question {answer.question_id!r} has no option {unknown[0]!r}.")
    chosen = [str(options[one].get("label") or one) for one in answer.selected_option_ids]
    words = [*chosen, *([answer.free_text] if answer.free_text else [])]
    if not words:
        raise HTTPException(400, f"Question {answer.question_id!r} is not answered.")
    return ", ".join(words)
