"""What every adapter must do, whatever its platform: written once, run for each.

A platform's test module subclasses `AdapterContract` and returns its `Descriptor`; docs/adapters.md shows one whole:

    class TestWebhookContract(AdapterContract):
        def descriptor(self) -> Descriptor: ...
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Literal, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.adapter import Adapter, Kit
from bridge.errors import Malformed, Permanent, ReceiveError, Retryable, Unverified
from bridge.model import Act, Envelope, InboundMessage, OutboundMessage, Received
from tests.adapters.kits import FakeClock, open_kit

Outcome: TypeAlias = Literal["accepts", "busy", "forbids", "silent"]
"""What the platform does with a message of ours: takes it, says 'later', says 'never', or does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """One platform, as the contract needs to know it."""

    build: Callable[[Kit], Adapter]
    genuine: Callable[[datetime], Envelope]
    """An arrival that says something, made by the platform at that time."""
    tamper: Callable[[Envelope], Envelope]
    """The arrival changed in what its authentication covers."""
    security_headers: tuple[str, ...]
    """Each of them is needed, and only once; empty where the body carries the proof."""
    garbage: Callable[[datetime], Envelope] | None = None
    """Authentic bytes that cannot be read; None where authentic bytes can always be read."""
    own: Callable[[datetime], Envelope] | None = None
    """What the platform sends back of our own doing; None where it sends nothing back."""
    is_timed: bool = True
    """Whether a captured arrival becomes void with time."""
    outbound: Callable[[datetime], OutboundMessage]
    sending: Callable[[Outcome], AbstractAsyncContextManager[Adapter]]
    """An adapter whose platform behaves so."""
    busy_after: float | None = 7.0
    """The wish of a busy platform in seconds, where it can express one."""


class AdapterContract(ABC):
    """Inherit, and every test below runs for the platform."""

    @abstractmethod
    def descriptor(self) -> Descriptor:
        """The platform under test."""

    async def _received(self, change: Callable[[Envelope], Envelope] = lambda e: e, age: float = 0) -> Received:
        clock = FakeClock()
        subject = self.descriptor()
        made = change(subject.genuine(clock.now()))
        clock.advance(age)
        return await self._given(replace(made, received_at=clock.now()), clock)

    async def _given(self, envelope: Envelope, clock: FakeClock) -> Received:
        async with open_kit(envelope.source, clock=clock) as kit:
            return await self.descriptor().build(kit).receive(envelope)

    async def test_what_is_genuine_is_received_with_a_key(self) -> None:
        received = await self._received()
        assert received.delivery_key
        assert received.messages is None or all(is_whole(message) for message in received.messages)

    async def test_the_same_arrival_twice_has_the_same_keys(self) -> None:
        first, second = await self._received(), await self._received()
        assert first == second

    async def test_what_was_tampered_with_is_refused(self) -> None:
        with pytest.raises(Unverified):
            await self._received(self.descriptor().tamper)

    async def test_each_security_header_is_needed(self) -> None:
        for name in self.descriptor().security_headers:
            with pytest.raises(Unverified):
                await self._received(lambda envelope, name=name: with_header(envelope, name))  # type: ignore[misc]

    async def test_a_security_header_counts_only_once(self) -> None:
        for name in self.descriptor().security_headers:
            with pytest.raises(Unverified):
                await self._received(lambda e, name=name: with_header(e, name, *e.header_values(name) * 2))  # type: ignore[misc]

    async def test_what_was_captured_long_ago_is_refused(self) -> None:
        if not self.descriptor().is_timed:
            pytest.skip("nothing on this platform's arrivals tells their age")
        with pytest.raises(Unverified):
            await self._received(age=301)

    async def test_the_refusal_tells_nothing_about_why(self) -> None:
        changes = [self.descriptor().tamper]
        for name in self.descriptor().security_headers[:1]:
            changes += [partial(with_header, name=name), lambda e, name=name: with_header(e, name, "x")]  # type: ignore[misc]
        told = set()
        for change in changes:
            with pytest.raises(Unverified) as caught:
                await self._received(change)
            told.add(str(caught.value))
        assert len(told) == 1

    async def test_authentic_garbage_is_malformed_or_parked(self) -> None:
        garbage = self.descriptor().garbage
        if garbage is None:
            pytest.skip("authentic bytes of this platform can always be read")
        clock = FakeClock()
        with pytest.raises(Malformed):
            await self._given(garbage(clock.now()), clock)

    async def test_what_we_said_ourselves_is_not_a_message(self) -> None:
        own = self.descriptor().own
        if own is None:
            pytest.skip("this platform sends nothing of ours back")
        clock = FakeClock()
        received = await self._given(own(clock.now()), clock)
        assert all(message.declined for message in received.messages or ())

    def test_nothing_but_a_receive_error_escapes_whatever_the_bytes_are(self) -> None:
        subject, clock = self.descriptor(), FakeClock()
        genuine = subject.genuine(clock.now())
        names = st.sampled_from([*subject.security_headers, *(name for name, _ in genuine.headers), "content-encoding"])
        text = st.text(alphabet=st.characters(max_codepoint=255), max_size=80)
        statuses: set[int] = set()

        @settings(max_examples=150, deadline=None)
        @given(st.lists(st.tuples(names, text), max_size=5), st.one_of(st.just(genuine.body), st.binary(max_size=200)))
        def refuses_or_takes(headers: list[tuple[str, str]], body: bytes) -> None:
            changed = {name for name, _ in headers}
            kept = tuple(pair for pair in genuine.headers if pair[0] not in changed)
            envelope = replace(genuine, headers=(*kept, *headers), body=body)
            try:
                asyncio.run(self._given(envelope, clock))
            except ReceiveError as error:
                statuses.add(error.status)

        refuses_or_takes()
        assert statuses <= set(range(400, 500))

    async def test_an_accepted_message_has_the_platforms_id(self) -> None:
        async with self.descriptor().sending("accepts") as adapter:
            assert await adapter.send(self._outbound())

    async def test_a_message_may_be_sent_again_after_a_crash(self) -> None:
        async with self.descriptor().sending("accepts") as adapter:
            message = self._outbound()
            await adapter.send(message)
            assert await adapter.send(replace(message, repeated=True))

    async def test_a_busy_platform_is_asked_again_when_it_says(self) -> None:
        async with self.descriptor().sending("busy") as adapter:
            with pytest.raises(Retryable) as caught:
                await adapter.send(self._outbound())
        assert (caught.value.after, caught.value.ambiguous) == (self.descriptor().busy_after, False)

    async def test_a_platform_that_forbids_is_not_asked_again(self) -> None:
        async with self.descriptor().sending("forbids") as adapter:
            with pytest.raises(Permanent):
                await adapter.send(self._outbound())

    async def test_silence_after_sending_may_mean_that_it_arrived(self) -> None:
        async with self.descriptor().sending("silent") as adapter:
            with pytest.raises(Retryable) as caught:
                await adapter.send(self._outbound())
        assert caught.value.ambiguous

    async def test_an_address_of_nobody_is_permanent(self) -> None:
        for address in ("", "{}", "[1]", "\u20ac", '{"to":"nowhere"}'):
            async with self.descriptor().sending("accepts") as adapter:
                with pytest.raises(Permanent):
                    await adapter.send(replace(self._outbound(), return_address=address))

    def _outbound(self) -> OutboundMessage:
        return self.descriptor().outbound(FakeClock().now())


def is_whole(message: InboundMessage) -> bool:
    """Whether a message can be stored and answered: its keys are there, and its text can be written anywhere."""
    candidates = message.conversation
    message.text.encode()
    return bool(
        message.message_key
        and candidates
        and all(candidate.value and candidate.matched_by for candidate in candidates)
        and message.author.id
        and "\0" not in message.text
        and (message.text or message.files or message.declined or message.parked or message.act is not Act.SAY)
    )


def with_header(envelope: Envelope, name: str, *values: str) -> Envelope:
    """The envelope with exactly these values of a header."""
    others = tuple(pair for pair in envelope.headers if pair[0] != name)
    return replace(envelope, headers=(*others, *((name, value) for value in values)))
