"""Splitting Markdown: nothing lost, nothing broken, never too long."""

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bridge.markdown import split

ROUGH = st.lists(
    st.one_of(
        st.sampled_from(
            ["```", "```py\n", "~~~\n", "\n\n", "\n", "    ", "  ", " ", "- ", "12. ", "> ", "# ", "|---|\n"]
        ),
        st.sampled_from(
            ["| a | b |", "[x](y z)", "[r]: http://x", "<p>", "&amp;", "*", "`", "a\u0301", "👩\u200d👧", "\t", "\x0b"]
        ),
        st.text("abcdefgh", min_size=1, max_size=30),
    ),
    min_size=20,
    max_size=120,
).map("".join)
WORD = st.text("abcdefghij", min_size=1, max_size=12)
SENTENCE = st.lists(WORD, min_size=1, max_size=40).map(" ".join)


def is_subsequence(small: str, large: str) -> bool:
    letters = iter(large)
    return all(letter in letters for letter in small)


def without_space(text: str) -> str:
    return "".join(text.split())


@st.composite
def documents(draw: st.DrawFn) -> str:
    def fence() -> str:
        code = draw(st.lists(SENTENCE, min_size=1, max_size=12))
        return "```python\n" + "\n".join(code) + "\n```"

    def table() -> str:
        rows = draw(st.lists(st.tuples(WORD, WORD), min_size=1, max_size=12))
        return "| k | v |\n|---|---|\n" + "\n".join(f"| {a} | {b} |" for a, b in rows)

    def items() -> str:
        return "\n".join(f"- {item}" for item in draw(st.lists(SENTENCE, min_size=1, max_size=8)))

    def prose() -> str:
        return draw(SENTENCE)

    kinds = {"fence": fence, "table": table, "list": items, "text": prose}
    chosen = draw(st.lists(st.sampled_from(sorted(kinds)), min_size=1, max_size=8))
    return "\n\n".join(kinds[kind]() for kind in chosen)


@settings(deadline=None)
@given(ROUGH, st.integers(40, 300))
@example("> " + "a" * 500, 40)
@example("- - - `" + "b" * 90 + "`\n" * 30, 41)
@example("`" * 200, 40)
@example("a\u0301" * 100, 41)
def test_every_character_is_in_the_parts_in_order_and_no_part_is_too_long(text: str, limit: int) -> None:
    parts = split(text, limit)

    assert is_subsequence(without_space(text), without_space("".join(parts)))
    assert all(0 < len(part) <= limit for part in parts)


@settings(deadline=None)
@given(documents(), st.integers(120, 400))
def test_code_stays_code_and_nothing_else_becomes_code(text: str, limit: int) -> None:
    def code(source: str) -> str:
        return "".join(without_space(token.content) for token in MarkdownIt().parse(source) if token.type == "fence")

    parts = split(text, limit)

    assert "".join(code(part) for part in parts) == code(text)
    assert all(token.info == "python" for part in parts for token in MarkdownIt().parse(part) if token.type == "fence")


@settings(deadline=None)
@given(documents(), st.integers(120, 400))
def test_each_row_of_a_table_stays_in_a_table(text: str, limit: int) -> None:
    def rows(source: str) -> int:
        tokens = MarkdownIt("commonmark").enable("table").parse(source)
        return sum(token.type == "tr_open" for token in tokens) - sum(token.type == "thead_open" for token in tokens)

    assert sum(map(rows, split(text, limit))) == rows(text)


@pytest.mark.parametrize(
    "whole",
    ["[a link with words](https://example.com/a)", "`some code span`", "<@U123|Ada Lovelace>", "<https://x.y|a b c>"],
)
@settings(deadline=None)
@given(before=st.integers(0, 90))
def test_a_link_a_code_span_and_a_token_stay_whole(whole: str, before: int) -> None:
    parts = split("x " * before + whole + " y" * 90, 60)

    assert sum(whole in part for part in parts) == 1


@settings(deadline=None)
@given(st.integers(0, 120))
def test_an_entity_stays_whole(before: int) -> None:
    assert all(part.count("&") == part.count("&amp;") for part in split("x" * before + "&amp;" * 40, 60))


@pytest.mark.parametrize(
    "block",
    ["```\n" + "code\n" * 10 + "```", "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 8, "- item\n" * 10, "word " * 18],
    ids=["fence", "table", "list", "paragraph"],
)
def test_a_block_that_fits_is_not_cut(block: str) -> None:
    parts = split("before " * 8 + "\n\n" + block + "\n\n" + "after " * 12, 100)

    assert any(block.strip() in part for part in parts)


def test_a_heading_goes_with_what_follows_it() -> None:
    assert split("a " * 20 + "\n\n# Head\n\n" + "b " * 20, 52) == (
        ("a " * 20).strip(),
        "# Head\n\n" + ("b " * 20).strip(),
    )


def test_a_long_fence_is_closed_and_opened_again_with_its_info_string() -> None:
    assert split("~~~py title=x\n" + "line one\n" * 6 + "~~~\nend", 50) == (
        "~~~py title=x\nline one\nline one\nline one\n~~~",
        "~~~py title=x\nline one\nline one\nline one\n~~~\nend",
    )


def test_the_head_of_a_long_table_is_repeated() -> None:
    first, second = split("| k | v |\n|---|---|\n" + "".join(f"| {n} | {n} |\n" for n in range(6)), 60)

    assert first.splitlines()[:3] == ["| k | v |", "|---|---|", "| 0 | 0 |"]
    assert second.splitlines()[:2] == ["| k | v |", "|---|---|"]


def test_code_in_a_nested_list_is_still_code_after_the_cut() -> None:
    text = "- a\n  - b\n\n    ```sh\n" + "    run it\n" * 10 + "    ```\n  - c"

    for part in split(text, 60)[1:-1]:
        assert part.startswith("```sh\nrun it\n")
        assert part.endswith("\n```")


def test_numbers_of_a_list_are_kept() -> None:
    parts = split("\n".join(f"{n}. item number {n}" for n in range(1, 13)), 60)

    assert parts[1].startswith("4. item number 4")


def test_text_that_fits_is_returned_as_it_is() -> None:
    assert split("  *as* it\r\nis ", 40) == ("  *as* it\nis ",)


@pytest.mark.parametrize("text", ["", " \n\t "])
def test_blank_text_has_no_parts(text: str) -> None:
    assert split(text, 40) == ()


def test_a_limit_that_holds_no_fence_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 40"):
        split("text", 39)


@pytest.mark.parametrize(
    "hostile", ["[" * 100_000, "<" * 100_000, "`a" * 50_000, "> " * 50_000, "- " * 50_000, "a\n" * 50_000]
)
def test_hostile_text_is_split_in_bounded_time(hostile: str) -> None:
    started = time.process_time()
    split(hostile, 3900)

    assert time.process_time() - started < 20  # seconds; quadratic work takes minutes
