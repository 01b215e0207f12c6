"""Slack's text becomes what a person reads."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.slack.reading import flat, plain
from adapters.slack.writing import escaped


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        ("<@UBOT> hello", "hello"),
        ("hey <@UBOT|agent>, are you there?", "hey , are you there?"),
        ("ask <@U2|Grace> and <@U3>", "ask @Grace and @U3"),
        ("see <#C1|general> and <#C2|>", "see #general and #C2"),
        ("<!here> <!channel|channel> <!subteam^S1|@ops> <!subteam^S2>", "@here @channel @ops @S2"),
        ("until <!date^1392734382^{date}|Feb 18, 2014>", "until Feb 18, 2014"),
        ("<https://a.b/c?d=1&amp;e=2>", "https://a.b/c?d=1&e=2"),
        ("<https://a.b/c|the page>", "[the page](https://a.b/c)"),
        ("<https://a.b|a.b>", "https://a.b"),
        ("<mailto:a@b.c|a@b.c> <tel:+1>", "a@b.c +1"),
        ("1 &lt; 2 &amp;&amp; 3 &gt; 2", "1 < 2 && 3 > 2"),
        ("&amp;lt;", "&lt;"),
        ("&lt;@UBOT&gt; is text", "<@UBOT> is text"),
        ("```\n  indented\n```", "```\n  indented\n```"),
    ],
)
def test_tokens_are_resolved_and_entities_undone_last(raw: str, read: str) -> None:
    assert plain(raw, "UBOT") == read


@given(st.text())
@example("&lt;<a>&amp;")
def test_what_a_person_typed_comes_back_as_typed(typed: str) -> None:
    assert plain(escaped(typed)) == typed.strip()


@given(st.text(alphabet="<>@#!|&;ltUBOT1 :/^"))
def test_no_text_is_too_odd_to_read(raw: str) -> None:
    assert isinstance(plain(raw, "UBOT"), str)


RICH = [
    {
        "type": "rich_text",
        "elements": [
            {
                "type": "rich_text_section",
                "elements": [{"type": "user", "user_id": "UBOT"}, {"type": "text", "text": " look <here>"}],
            },
            {
                "type": "rich_text_list",
                "elements": [
                    {"type": "rich_text_section", "elements": [{"type": "link", "url": "https://a.b", "text": "one"}]},
                    {"type": "rich_text_section", "elements": [{"type": "emoji", "name": "tada"}]},
                ],
            },
        ],
    },
    {"type": "section", "text": {"type": "mrkdwn", "text": "<@U2|Grace> &amp; co"}},
]


def test_blocks_are_read_where_the_text_is_empty() -> None:
    assert flat({"text": "", "blocks": RICH}, "UBOT") == "look <here>\n[one](https://a.b)\n:tada:\n@Grace & co"


def test_a_forwarded_message_is_read_from_its_attachment() -> None:
    inner = {"message": {"blocks": RICH[1:]}}
    assert flat({"text": "", "attachments": [{"author_name": "Ada", "message_blocks": [inner]}]}) == "Ada\n@Grace & co"
