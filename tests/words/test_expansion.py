import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.expansion import expand

ENVIRON = {"NAME": "value", "EMPTY": ""}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("${NAME}", "value"),
        ("a${NAME}b${NAME}", "avaluebvalue"),
        ("${NAME:-other}", "value"),
        ("${ABSENT:-other}", "other"),
        ("${ABSENT:-}", ""),
        ("${EMPTY}", ""),
        ("${EMPTY:-other}", "other"),
        ("$${NAME}", "${NAME}"),
        ("$NAME costs 5$", "$NAME costs 5$"),
        ("${ABSENT:-a:-b}", "a:-b"),
    ],
)
def test_references_are_replaced(text: str, expanded: str) -> None:
    assert expand(text, ENVIRON) == (expanded, [])


def test_a_value_is_not_expanded_again() -> None:
    assert expand("${A}", {"A": "${B}", "B": "x"}) == ("${B}", [])


@pytest.mark.parametrize("text", ["${", "${}", "${1A}", "${NAME", "${NA ME}", "${ABSENT}"])
def test_what_cannot_be_replaced_is_a_problem_at_its_place(text: str) -> None:
    value, problems = expand({"a": [1, text]}, ENVIRON)
    assert value == {"a": [1, text]}
    assert [str(problem).partition(":")[0] for problem in problems] == ["a[1]"]


@given(st.recursive(st.text() | st.integers() | st.booleans(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)))
def test_any_tree_without_references_stays_as_it_is(tree: object) -> None:
    if "${" not in repr(tree):
        assert expand(tree, {}) == (tree, [])
