"""Makes of a stored turn what a brain is asked: the words, the thread before them, the files they came with."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final
from urllib.parse import quote

from bridge.agent.server.brains import Ask, Attachment, Decision, Said
from bridge.agent.server.orders import Order
from bridge.agent.server.tasks import TaskRows, decision_of, order_of
from bridge.agent_rows import TaskTurn
from bridge.clock import Clock

REMEMBERED: Final = 100
"""Turns of its thread that a brain is shown."""

Attach = Callable[[Sequence[str]], Awaitable[tuple[Attachment, ...]]]
"""Fetches and reads the files of one request."""


class Reading:
    """Prepares turns for brains."""

    def __init__(self, rows: TaskRows, *, attach: Attach, clock: Clock, public_url: str) -> None:
        self._rows = rows
        self._attach = attach
        self._clock = clock
        self._public_url = public_url.rstrip("/")

    async def ask(self, turn: TaskTurn, order: Order, *, resumed: bool) -> Ask:
        """The turn as a brain sees it. Raises BrainFault where a file makes it impossible."""
        return Ask(
            task_id=turn.task_id,
            agent_id=turn.agent_id,
            text=order.input.text,
            thread=await self._thread(turn),
            attachments=await self._attachments(order),
            user=_user(order),
            instructions=order.instructions_override,
            additional_context=order.additional_context,
            expected_output=order.expected_output,
            output_format=order.output_format,
            output_schema=order.output_schema,
            think_mode=order.think_mode or "default",
            attempt=turn.attempt,
            login_url=f"{self._public_url}/demo/login/{quote(turn.task_id, safe='')}",
            resumed=resumed,
            decision=_decision(turn),
            clock=self._clock,
        )

    async def _thread(self, turn: TaskTurn) -> tuple[Said, ...]:
        if turn.number == 1:
            return ()
        turns = await self._rows.turns(turn.task_id, limit=REMEMBERED + 1)
        return tuple(said for before in turns if before.number < turn.number for said in said_in(before))

    async def _attachments(self, order: Order) -> tuple[Attachment, ...]:
        urls = order.input.urls
        if order.disable_attachment_injection:
            return tuple(Attachment(url=url, name=url, note="it was not to be read, only named") for url in urls)
        return await self._attach(urls) if urls else ()


def said_in(turn: TaskTurn) -> list[Said]:
    """What a turn adds to its thread; an answer that never came adds nothing."""
    said = [Said(role="user", text=order_of(turn).input.text)]
    if turn.status in {"completed", "paused"} and turn.result:
        said.append(Said(role="assistant", text=turn.result))
    return said


def _decision(turn: TaskTurn) -> Decision | None:
    made = decision_of(turn)
    return None if made is None else Decision(choice=made["choice"], decided_by=made["decided_by"])


def _user(order: Order) -> dict[str, Any]:
    return order.input.user.model_dump(exclude_none=True) if order.input.user else {}
