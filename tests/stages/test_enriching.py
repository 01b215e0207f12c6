"""What more can be learnt of a message is asked where it was said."""

from dataclasses import dataclass, replace

from bridge.enriching import Enriching
from bridge.errors import Permanent
from bridge.model import Author, Candidate, InboundMessage, Said
from bridge.store.database import Store
from tests.stages.platform import Plain
from tests.store.journeys import say, take


@dataclass
class Knowing(Plain):
    """Knows the people at one address, and cannot read another."""

    address: str = "here"

    async def enrich(self, message: InboundMessage) -> InboundMessage:
        if message.return_address != self.address:
            raise Permanent(f"not an address of this platform: {message.return_address}")
        return replace(message, context=f"known {self.address}")


async def test_each_message_of_a_turn_is_completed_where_it_was_said(store: Store) -> None:
    turn = await take(store, (await say(store, "m1", source="orders")).wake[0])
    interrupting = InboundMessage(
        message_key="m2",
        conversation=(Candidate(value="thread", matched_by="thread"),),
        return_address="there",
        author=Author(id="grace"),
    )
    both = replace(turn, source="team", said=(*turn.said, Said("msg_2", interrupting, "team")))
    adapters = {"orders": Plain(), "team": Knowing(address="there"), "chat": Knowing(address="here")}
    complete = await Enriching(store, adapters).complete(both)
    assert [one.message.context for one in complete.said] == ["", "known there"]
    adapters["orders"] = Knowing(address="here")
    complete = await Enriching(store, adapters).complete(both)
    assert [one.message.context for one in complete.said] == ["known here", "known there"]
