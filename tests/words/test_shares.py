"""Places for turns: limits hold, whoever waits is served in turn, and nothing leaks."""

import asyncio
from collections.abc import Sequence

import pytest

from bridge.shares import Claimant, Limits, Shares


def who(person: str, *, source: str = "team", agent: str = "local") -> Claimant:
    return Claimant(agent, source, person)


class Queue:
    """Claimants that wait, and the order in which they were served."""

    def __init__(self, limits: Limits) -> None:
        self.shares = Shares(limits)
        self.served: list[Claimant] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def line_up(self, claimants: Sequence[Claimant]) -> None:
        self.tasks += [asyncio.create_task(self._wait(claimant)) for claimant in claimants]
        await settle()

    async def _wait(self, claimant: Claimant) -> None:
        await self.shares.wait(claimant, asyncio.get_running_loop().create_future())
        self.served.append(claimant)

    async def all_served(self) -> list[str]:
        """Everyone served gives their place back at once."""
        done = 0
        while done < len(self.tasks):
            assert len(self.served) > done, "somebody waits although there is room"
            self.shares.give(self.served[done])
            done += 1
            await settle()
        return [claimant.person for claimant in self.served]


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("limits", "others"),
    [
        (Limits(total=3, sources={"team": 9}, people={"team": 9}), who("zoe")),
        (Limits(total=100, agents={"local": 3}), who("zoe", source="mail")),
        (Limits(total=100, sources={"team": 3}), who("zoe")),
        (Limits(total=100, people={"team": 3}), who("ann")),
    ],
    ids=["in all", "an agent", "a source", "a person"],
)
def test_a_limit_holds_until_a_place_is_given_back(limits: Limits, others: Claimant) -> None:
    shares = Shares(limits)
    assert [shares.take(who("ann")) for _ in range(3)] == [True] * 3
    assert not shares.take(others)
    shares.give(who("ann"))
    assert shares.take(others)


def test_one_person_and_one_source_leave_places_for_others() -> None:
    shares = Shares(Limits(total=100))
    assert sum(shares.take(who("flood")) for _ in range(200)) == 80
    assert sum(shares.take(who(f"p{number}")) for number in range(200)) == 10
    assert shares.take(who("zoe", source="mail"))


async def test_a_flood_of_one_person_makes_another_wait_for_one_turn_only() -> None:
    queue = Queue(Limits(total=1))
    assert queue.shares.take(who("flood"))
    await queue.line_up([who("flood")] * 50 + [who("zoe")])
    queue.shares.give(who("flood"))
    await settle()
    assert (await queue.all_served()).index("zoe") <= 1


async def test_a_flood_of_many_people_at_one_source_holds_up_no_other_source() -> None:
    queue = Queue(Limits(total=1))
    assert queue.shares.take(who("flood"))
    await queue.line_up([who(f"p{number}") for number in range(50)] + [who("zoe", source="mail")])
    queue.shares.give(who("flood"))
    await settle()
    assert (await queue.all_served()).index("zoe") <= 1


async def test_a_slow_agent_holds_up_nobody_who_asks_another() -> None:
    shares = Shares(Limits(total=10, agents={"slow": 2}))
    assert [shares.take(who("ann", agent="slow")) for _ in range(3)] == [True, True, False]
    waiting = asyncio.create_task(shares.wait(who("ann", agent="slow"), asyncio.get_running_loop().create_future()))
    await settle()
    assert shares.take(who("ann"))
    assert not waiting.done()
    shares.give(who("ann", agent="slow"))
    await asyncio.wait_for(waiting, 5)


async def test_people_are_served_in_turn_and_each_in_their_own_order() -> None:
    queue = Queue(Limits(total=1))
    assert queue.shares.take(who("x"))
    await queue.line_up([who("a"), who("a"), who("a"), who("b"), who("b"), who("c")])
    queue.shares.give(who("x"))
    await settle()
    assert await queue.all_served() == ["a", "b", "c", "a", "b", "a"]


async def test_who_gives_up_waiting_leaves_no_place_taken() -> None:
    queue = Queue(Limits(total=1))
    assert queue.shares.take(who("x"))
    await queue.line_up([who("a"), who("b")])
    queue.tasks[0].cancel()
    await settle()
    queue.shares.give(who("x"))
    queue.tasks[1].cancel()  # served this very moment, and cancelled before it knows
    await settle()
    assert queue.served == []
    assert queue.shares.take(who("c"))


async def test_whoever_does_not_want_a_place_any_more_is_out_of_the_line() -> None:
    shares = Shares(Limits(total=1))
    assert shares.take(who("ann"))
    asked: list[asyncio.Future[bool]] = [asyncio.get_running_loop().create_future() for _ in range(2)]
    waiting = [asyncio.create_task(shares.wait(who("ben"), place)) for place in asked]
    await settle()
    asked[0].set_result(False)
    assert await waiting[0] is False
    assert len(shares) == 1
    shares.give(who("ann"))
    assert await waiting[1] is True
    shares.give(who("ben"))
    assert shares.take(who("zoe"))
