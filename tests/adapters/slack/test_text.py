"""Text in and out, whatever it is: nothing pings, nothing breaks, nothing is lost."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from adapters.slack.address import Address
from adapters.slack.reading import plain
from adapters.slack.rendering import MAX_MARKDOWN, arguments
from adapters.slack.settings import Settings
from adapters.slack.writing import escaped, safe
from bridge.markdown import split
from bridge.model import OutboundMessage
from tests.adapters.slack.lab import Lab

LIVE = re.compile(r"<(?:[!@#]|[a-z]{2,10}:[^<>|\s]*\|)[^<>]*>")
CALL = re.compile(r"@(?:here|channel|everyone)\b", re.IGNORECASE)
JOINER = "\u2060"
OPTIONS = Settings.model_validate({"signing_secret": "s", "bot_token": "xoxb"})
ADDRESS = Address(app="A1", team="T1", channel="C1", root="1.0", user="U1")
MESSAGE = OutboundMessage(
    delivery_id="dlv_1",
    kind="answer",
    return_address=ADDRESS.dump(),
    text="",
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
)

WORD = st.text("abcdefgh\u00e9\u4e2d", min_size=1, max_size=9)
TOKEN = st.sampled_from(
    ["<!channel>", "<!here|here>", "@everyone", "<@U9>", "<@U9|boss>", "<!subteam^S9|@ops>",
     "<https://evil.com|good.com>", "[good.com](https://evil.com)", "]:", "[`a", "<!date^1^{date}|soon>", "<", ">",
     "&lt;", "&amp;", "a < b", "<<!channel>>", "<\u200b!here>"]
)  # fmt: skip
SENTENCE = st.lists(st.one_of(WORD, WORD, WORD, TOKEN), min_size=1, max_size=30).map(" ".join)
FENCE = st.lists(SENTENCE, min_size=1, max_size=8).map(lambda lines: "```py\n" + "\n".join(lines) + "\n```")
ROWS = st.lists(st.tuples(WORD, WORD), min_size=1, max_size=6)
TABLE = ROWS.map(lambda rows: "| k | v |\n|---|---|\n" + "\n".join(f"| {a} | {b} |" for a, b in rows))
LIST = st.lists(SENTENCE, min_size=1, max_size=5).map(lambda items: "\n".join(f"- {item}" for item in items))
DOCUMENT = st.lists(st.one_of(SENTENCE, FENCE, TABLE, LIST), min_size=1, max_size=8).map("\n\n".join)


def shown(text: str, limit: int) -> list[str]:
    """The Markdown of each message that an answer becomes."""
    parts = split(text, limit)
    return [arguments(replace(MESSAGE, text=part), ADDRESS, OPTIONS)["blocks"][0]["text"] for part in parts]


def words(text: str) -> Iterator[str]:
    return iter(re.findall(r"\w", text.replace("&lt;", "").replace(JOINER, "")))


def code(text: str) -> list[str]:
    return [token.content.replace(JOINER, "") for token in MarkdownIt().parse(text) if token.type == "fence"]


def outside_code(text: str) -> str:
    blocks = [block for block in MarkdownIt().parse(text) if block.type != "fence"]
    pieces = [piece for block in blocks for piece in (block.children or [block])]
    return "\n".join(piece.content for piece in pieces if piece.type != "code_inline")


@settings(deadline=None, max_examples=80)
@given(DOCUMENT, st.integers(120, 400))
@example("a\n\n```py\na\n```\n\n```py\n@everyone a\n```", 120)
@example("[`a @everyone [`a", 120)
def test_whatever_a_model_writes_pings_nobody(text: str, limit: int) -> None:
    for part in shown(text, limit):
        assert not LIVE.search(part)
        assert not CALL.search(outside_code(part))


@settings(deadline=None, max_examples=80)
@given(DOCUMENT, st.integers(120, 400))
def test_every_word_of_an_answer_is_shown_in_its_order(text: str, limit: int) -> None:
    text = text.replace("<https://evil.com|good.com>", "")  # the one thing that is shown the other way round
    seen = words("".join(shown(text, limit)))  # heads of tables and info strings may come more than once

    assert all(letter in seen for letter in words(text))


@settings(deadline=None, max_examples=80)
@given(DOCUMENT)
def test_code_is_shown_as_it_was_written(text: str) -> None:
    assert code(safe(text)) == code(text)


@settings(deadline=None, max_examples=80)
@given(DOCUMENT, st.integers(120, 400))
def test_no_part_ends_inside_of_code_a_token_or_an_entity(text: str, limit: int) -> None:
    parts = shown(text, limit)

    assert all(part.count("```") % 2 == 0 for part in parts)
    assert not [part for part in parts if re.search(r"&(?:l|lt|a|am|amp)?$|<[@!#]\w*$", part)]
    assert not [part for part in parts if re.match(r"(?:t|lt|mp|amp|p);", part)]


@settings(deadline=None)
@given(st.text(alphabet="<>@#!|&;ltgamp: UC19here^`*[]()\n/"))
def test_what_a_person_types_and_an_agent_repeats_pings_nobody(typed: str) -> None:
    assert not LIVE.search(safe(plain(escaped(typed))))


PIECES = [
    ("<@U2|Grace>", "@Grace"),
    ("<@U3>", "@U3"),
    ("<#C1|general>", "#general"),
    ("<!here>", "@here"),
    ("<!subteam^S1|@ops>", "@ops"),
    ("<!date^1392734382^{date}|Feb 18>", "Feb 18"),
    ("<https://a.b/c?x=1&amp;y=2>", "https://a.b/c?x=1&y=2"),
    ("<https://a.b/c|the &lt;page&gt;>", "[the <page>](https://a.b/c)"),
    ("<mailto:a@b.c|a@b.c>", "a@b.c"),
]
PIECE = st.one_of(st.sampled_from(PIECES), st.text(max_size=20).map(lambda typed: (escaped(typed), typed)))


@given(st.lists(PIECE, max_size=12))
def test_a_message_reads_as_it_stands_on_the_screen(pieces: list[tuple[str, str]]) -> None:
    assert plain("".join(raw for raw, _ in pieces), "UBOT") == "".join(read for _, read in pieces).strip()


@given(st.lists(PIECE, max_size=6), st.lists(PIECE, max_size=6))
def test_only_our_own_mention_is_dropped(before: list[tuple[str, str]], after: list[tuple[str, str]]) -> None:
    raw = "".join(raw for raw, _ in before) + "<@UBOT>" + "".join(raw for raw, _ in after)
    read = "".join(read for _, read in (*before, *after))

    assert "".join(plain(raw, "UBOT").split()) == "".join(read.split())


BLOCK = (
    "# Part {n}\n\nSome words <!channel> with a [link](https://a.b/{n}) & an entity &amp; number {n}.\n\n"
    "```py\nx = {n} < {n}\n```\n\n| k | v |\n|---|---|\n| a{n} | b{n} |\n\n- item {n}\n- other {n}"
)


async def test_a_hundred_thousand_characters_arrive_whole(lab: Lab) -> None:
    text = "\n\n".join(BLOCK.format(n=n) for n in range(600))
    ts = lab.people.say("<@UBOT> all of it")
    await lab.arrivals()
    parts = split(text, lab.adapter.max_chars)
    for number, part in enumerate(parts):
        await lab.adapter.send(lab.answer(part, part=number, parts=len(parts)))
    standing = lab.slack.answers("C1", ts)

    assert len(text) > 100_000
    assert all(len(part) <= MAX_MARKDOWN for part in standing)
    seen = words("".join(standing))
    assert all(letter in seen for letter in words(text))
    assert [block for part in standing for block in code(part)] == code(text)
    assert not LIVE.search("".join(standing))


@pytest.mark.parametrize("size", [1, 2, 7, 50])
async def test_a_stream_never_shows_a_live_token_however_its_pieces_are_cut(lab: Lab, size: int) -> None:
    text = " ".join(
        ["<!channel> and <@U9> or", "`List<x>` then [good.com](https://evil.com)", "```\na <!here> b\n```\n"] * 12
    )
    lab.people.say("hi", channel="D1")
    await lab.arrivals()
    view = await lab.adapter.open(lab.answer("", kind="progress"))
    for start in range(0, len(text), size):
        await view.show("chunk", text[start : start + size])
        (*_, streamed) = [one["text"] for one in lab.slack.thread("D1", lab.got[-1].message_key.rpartition(":")[2])]
        assert not LIVE.search(streamed)
    await view.close(lab.answer(text))
