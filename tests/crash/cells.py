"""One cell of the crash matrix: messages come, the process is killed at a boundary, what becomes of them is counted."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx2

from tests.crash.agent_double import AgentDouble
from tests.end_to_end.parties import ADMIN, PATIENCE_SECONDS, Request, Sink, post, request, write_config
from tests.end_to_end.serving import SERVE, Served, free_port, serving

Where = Literal["agent", "sink", "bridge"]


@dataclass(frozen=True, slots=True)
class Boundary:
    """A place to die at, and who stands still there: the bridge itself, or whoever it is calling."""

    name: str
    held_by: Where
    at: str = ""

    @property
    def in_the_open_call(self) -> bool:
        """The one place where nobody can know whether the agent took the call."""
        return self.held_by == "agent"

    @property
    def is_of_a_delivery(self) -> bool:
        """The request may have left, its outcome is not stored: the same delivery is sent again under its id."""
        return self.held_by == "sink" or "deliveries" in self.at


BOUNDARIES = (
    Boundary("stored, not acknowledged", "bridge", "after:ingest"),
    Boundary("after the acknowledgement", "bridge", "before:heads.take"),
    Boundary("inside the invoke call", "agent"),
    Boundary("task id known", "bridge", "after:turns.note_task"),
    Boundary("result known", "bridge", "before:turns.end"),
    Boundary("answer stored", "bridge", "after:turns.end"),
    Boundary("before the post", "bridge", "before:deliveries.post"),
    Boundary("inside the post", "sink"),
    Boundary("after the post, before its commit", "bridge", "before:deliveries.end"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What is tried."""

    boundary: Boundary
    database_url: str
    redelivered: bool
    honours_keys: bool = True
    conversations: int = 10

    @property
    def has_second_node(self) -> bool:
        return self.database_url.startswith("postgresql")


@dataclass(slots=True)
class Findings:
    """What became of it."""

    accepted: int = 0
    lost: int = 0
    """Stored, and never answered."""
    duplicated: int = 0
    """Answered under two webhook-ids, which no receiver can tell from two answers."""
    posted_again: int = 0
    """Sent twice under one webhook-id, which receivers recognise."""
    invoked_again: int = 0
    worked_again: int = 0
    """Invoked again, and the agent did the work twice."""
    out_of_order: int = 0
    other_ids: int = 0
    """Redelivered, and told other ids than the first time."""
    balanced: bool = False
    resumed_seconds: float = 0.0

    def faults(self, cell: Cell) -> list[str]:
        """What breaks a promise."""
        open_call = cell.boundary.in_the_open_call
        allowed = {
            "invoked_again": cell.conversations if open_call else 0,
            "worked_again": cell.conversations if open_call and not cell.honours_keys else 0,
            "posted_again": cell.conversations if cell.boundary.is_of_a_delivery else 0,
        }
        names = ("lost", "duplicated", "invoked_again", "worked_again", "posted_again", "out_of_order", "other_ids")
        found = [f"{name} {getattr(self, name)}" for name in names if getattr(self, name) > allowed.get(name, 0)]
        return found if self.balanced else [*found, "the ledger does not balance"]


@dataclass
class Trial:
    """The parties of one cell while it runs."""

    cell: Cell
    folder: Path
    agent: AgentDouble
    sink: Sink
    acknowledged: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The 202 of each message, by its webhook-id."""

    def config(self, name: str, port: int) -> Path:
        table = f'[agents.local]\nkind = "xpander"\nbase_url = "{self.agent.url}"\napi_key = "k"\nagent_id = "a"'
        return write_config(
            self.folder, database_url=self.cell.database_url, callback=self.sink.url, port=port, agent=table, name=name
        )

    async def send(self, http: httpx2.AsyncClient, sent: Request) -> None:
        response = await post(http, sent)
        assert response.status_code == 202, response.text
        self.acknowledged[sent.webhook_id] = response.json()


async def run(cell: Cell, folder: Path) -> Findings:
    """Run one cell from its first message to books without anything in flight."""
    async with _parties(cell, folder) as trial, AsyncExitStack() as stack:
        journal = folder / "boundary"
        port = free_port()
        doomed = await stack.enter_async_context(
            serving(trial.config("doomed", port), port, command=_command(cell.boundary, journal))
        )
        survivor = await _second_node(trial, stack) if cell.has_second_node else None
        firsts = [_message(number, "first") for number in range(cell.conversations)]
        seconds = [_message(number, "second") for number in range(cell.conversations)]
        await _up_to_the_boundary(trial, doomed, journal, firsts, seconds)
        await doomed.kill()
        trial.agent.held = trial.sink.held = False
        begun = asyncio.get_running_loop().time()
        survivor = survivor or await _second_node(trial, stack)
        findings = Findings()
        if cell.redelivered:
            findings.other_ids = await _redeliver(trial, survivor, [*firsts, *seconds])
        books = await survivor.settled()
        findings.resumed_seconds = asyncio.get_running_loop().time() - begun
        findings.accepted, findings.balanced = books["accepted"], books["balanced"]
        _count(trial, findings)
        return findings


@asynccontextmanager
async def _parties(cell: Cell, folder: Path) -> AsyncIterator[Trial]:
    agent = AgentDouble(honours_keys=cell.honours_keys, held=cell.boundary.held_by == "agent")
    sink = Sink(held=cell.boundary.held_by == "sink")
    async with await agent.start(), await sink.start():
        yield Trial(cell, folder, agent, sink)


def _command(boundary: Boundary, journal: Path) -> tuple[str, ...]:
    if boundary.held_by != "bridge":
        return SERVE
    return ("-m", "tests.crash.launcher", boundary.at, str(journal), "serve")


async def _second_node(trial: Trial, stack: AsyncExitStack) -> Served:
    port = free_port()
    return await stack.enter_async_context(serving(trial.config("survivor", port), port))


def _message(number: int, text: str) -> Request:
    return request(f"{text} of {number}", conversation=f"c{number}")


async def _up_to_the_boundary(
    trial: Trial, doomed: Served, journal: Path, firsts: list[Request], seconds: list[Request]
) -> None:
    """The first message of each conversation stands at the boundary, the second one waits behind it."""
    count = trial.cell.conversations
    reached: Callable[[], int] = {
        "agent": lambda: len(trial.agent.asked),
        "sink": lambda: len(trial.sink.received),
        "bridge": lambda: len(journal.read_text().splitlines()) if journal.exists() else 0,
    }[trial.cell.boundary.held_by]
    sending = [asyncio.ensure_future(trial.send(doomed.http, sent)) for sent in firsts]
    async with asyncio.timeout(PATIENCE_SECONDS):
        while reached() < count:  # noqa: ASYNC110 - another process comes there
            await asyncio.sleep(0.01)
    if trial.cell.boundary.at == "after:ingest":
        for each in sending:
            each.cancel()
    else:
        sending += [asyncio.ensure_future(trial.send(doomed.http, sent)) for sent in seconds]
    await asyncio.gather(*sending, return_exceptions=True)
    if trial.cell.boundary.is_of_a_delivery:  # the turns behind it go on, and must not be in an open call of their own
        await _until_answered(doomed, 2 * count)


async def _until_answered(served: Served, count: int) -> None:
    """Wait until the turns of so many messages have ended, whatever became of their deliveries."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            found = (await served.http.get("/v1/messages", headers=ADMIN)).json()["messages"]
            if sum(message["state"] == "answered" for message in found) == count:
                return
            await asyncio.sleep(0.02)


async def _redeliver(trial: Trial, served: Served, sent: list[Request]) -> int:
    """Everything once more, as a sender does that is not sure; how often other ids were told."""
    told = dict(trial.acknowledged)
    await asyncio.gather(*(trial.send(served.http, each) for each in sent))
    names = ("message_id", "conversation_id")  # the status URL names the node's own port here
    return sum(trial.acknowledged[key][name] != first[name] for key, first in told.items() for name in names)


def _count(trial: Trial, findings: Findings) -> None:
    answers: dict[str, set[str]] = {}
    for callback in trial.sink.received:
        answers.setdefault(callback.data["message_id"], set()).add(callback.id)
    unanswered = sum(told["message_id"] not in answers for told in trial.acknowledged.values())
    findings.lost = max(unanswered, findings.accepted - len(answers))
    findings.duplicated = sum(len(ids) - 1 for ids in answers.values())
    sent = Counter(callback.id for callback in trial.sink.received)
    findings.posted_again = sum(times - 1 for times in sent.values())
    findings.invoked_again = sum(times - 1 for times in trial.agent.asked.values())
    findings.worked_again = sum(times - 1 for times in trial.agent.begun.values())
    places: dict[str, list[str]] = {}
    for callback in trial.sink.received:
        places.setdefault(callback.data["conversation"], []).append(callback.data["result"])
    findings.out_of_order = sum(results != sorted(results) for results in places.values())
