"""An approval from the question of our own agent to its answer: buttons, rows, routes, nothing scripted between."""

import pytest

from adapters.slack.fake.people import buttons
from tests.adapters.slack.lab import until
from tests.adapters.slack.whole import Whole


@pytest.mark.parametrize("choice", ["Approve", "Deny"])
async def test_the_embedded_agent_goes_on_with_what_a_person_pressed(whole: Whole, choice: str) -> None:
    async with whole.up():
        ts = whole.people.say("<@UBOT> approve")
        await whole.deliveries.pump()
        await until(lambda: any(buttons(message) for message in whole.slack.thread("C1", ts)))
        question = next(message for message in whole.slack.thread("C1", ts) if buttons(message))
        await whole.people.press(dict(question), choice)
        assert (await whole.answers("C1", ts, count=2))[-1] == f"U1 said: {choice.lower()}."
