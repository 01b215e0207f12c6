"""What a model writes is shown, and pings nobody."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from adapters.slack.writing import preview, safe

LIVE = re.compile(r"<(?:[!@#]|[a-z]{2,10}:[^<>|\s]*\|)[^<>]*>")
WORDS = ["here", "channel", "U1", "C1", "subteam^S1", "https://evil.com", "good.com", "&lt;", "&", "a"]
PIECES = st.sampled_from([*"<>!@#|`[]()\n ", "```", "~~~", "](", *WORDS])


@settings(deadline=None, max_examples=1000)
@given(st.lists(PIECES, max_size=40).map("".join))
def test_no_live_token_survives(text: str) -> None:
    shown = safe(text)

    assert not [token for token in LIVE.findall(shown) if not token.startswith("<#C1")]
    assert (
        not re.search(r"@(?:here|channel|everyone)\b", shown.replace("```", ""), re.IGNORECASE)
        or "`" in text
        or "~~~" in text
    )
    assert not LIVE.search(preview(text))


@given(st.text())
def test_words_are_kept(text: str) -> None:
    letters = re.compile(r"\w")
    assert letters.findall(safe(text).replace("&lt;", "").replace("\u2060", "")) == letters.findall(
        text.replace("&lt;", "")
    )


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("hello **world**", "hello **world**"),
        ("<!channel> <!here|here> <@U9> <!subteam^S9>", "&lt;!channel> &lt;!here|here> &lt;@U9> &lt;!subteam^S9>"),
        ("@here and @Channel", "@\u2060here and @\u2060Channel"),
        ("<#C1|general> <https://a.b/c>", "<#C1|general> <https://a.b/c>"),
        ("<https://a.b/c|the page>", "[the page](https://a.b/c)"),
        ("<https://evil.com|good.com>", "good.com (https://evil.com)"),
        ("[https://good.com](https://evil.com/x)", "https://good.com (https://evil.com/x)"),
        ("[good.com](https://www.good.com/x)", "[good.com](https://www.good.com/x)"),
        ("[README.md](https://a.b/README.md)", "[README.md](https://a.b/README.md)"),
        ("[x](javascript:alert)", "x (javascript:alert)"),
        ("[x](./relative)", "[x](./relative)"),
        ("[`README.md`](https://a.b/README.md)", "[`README.md`](https://a.b/README.md)"),
        ("[the `f` of it](https://a.b/c)", "[the `f` of it](https://a.b/c)"),
        ("see [docs]: https://a.b/c", "see [docs]\u2060: https://a.b/c"),
        ("[a page](https://a.b/c_(d) 'e')", "[a page](https://a.b/c_(d) 'e')"),
        ("[`<!here>`](https://a.b/c)", "[`&lt;!here>`](https://a.b/c)"),
        ("1 < 2 and List<String>", "1 &lt; 2 and List&lt;String>"),
        ("> quote", "> quote"),
        (r"List\<String\> and \\<b>", r"List&lt;String\> and \\&lt;b>"),
        (r"\<!channel>", "&lt;!channel>"),
        ("`List<String>`\n```\na < b <!here>\n```", "`List<String>`\n```\na < b <\u2060!here>\n```"),
    ],
)
def test_what_is_shown(written: str, shown: str) -> None:
    assert safe(written) == shown


def test_people_and_groups_of_the_allow_list_can_be_pinged() -> None:
    text = "<@U1> <!subteam^S1> <!here> @here <@U2>"

    assert safe(text, {"U1", "S1", "here"}) == "<@U1> <!subteam^S1> <!here> @here &lt;@U2>"


def test_the_preview_is_short_and_without_markup() -> None:
    assert preview("# Head\n**bold** <!here> & more") == "Head\nbold &lt;!here&gt; &amp; more"
    assert len(preview("x" * 9000)) == 3000


@pytest.mark.parametrize(
    "written",
    [
        "[good.com](https://evil.com/a(b))",
        "[good.com](<https://evil.com/x>)",
        "[good.com]( https://evil.com/x )",
        "[good.com](https://evil.com/x 'good')",
        "[good.com](https://evil.com/x (good))",
        "[good.com](\nhttps://evil.com/x)",
        "[[good.com]](https://evil.com/x)",
        "[**good.com**](https://evil.com/x)",
        "[`good.com`](https://evil.com/x)",
        '[good.com](https://evil.com/x\n"title")',
        "[good.com](https://evil.com/\\()",
        "[[good.com](https://evil.com/x)](https://good.com)",
        "[`good.com`/a](https://evil.com/x)",
        "[good.com`/a`](https://evil.com/x)",
        "[good.com/`a`/`b`](https://evil.com/x)",
        "[`](https://good.com)`](https://evil.com/x)",
        "[good.com ``](`` ](https://evil.com/x)",
        "[good.com][1]\n\n[1]: https://evil.com/x",
        "[good.com]\n\n[good.com]: <https://evil.com/x>",
        "[good.com][]\n\n[good.com]:\n  https://evil.com/x 'good'",
        "> [1]: https://evil.com/x\n\n[good.com][1]",
        "- [1]: //evil.com/x\n\n[good.com][1]",
        "[`good.com`][`a`]\n\n[`a`]: https://evil.com/x",
    ],
)
def test_no_form_of_a_link_hides_where_it_leads(written: str) -> None:
    shown = MarkdownIt("commonmark").render(safe(written))

    assert not re.search(r'<a href="(?:https:)?//evil[^>]*>[^/]*good\.com', shown), shown
    assert "evil.com" in re.sub("<[^>]*>", "", shown)
