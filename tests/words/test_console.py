"""What the command line prints of what strangers wrote."""

from dataclasses import dataclass

import pytest

from bridge import console

COMMANDS = "\x1b]0;owned\x07\x1b[31mred \x9b2J \u202eback\u202c \x00"


@dataclass(frozen=True)
class Part:
    name: str
    of: tuple[str, ...] = ()
    gone: None = None


@dataclass(frozen=True)
class Whole:
    text: str
    parts: tuple[Part, ...] = ()


def test_what_a_stranger_wrote_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_table([(COMMANDS, "grüße 👩‍💻")], "TEXT", "MORE")
    console.print_fields(Whole(COMMANDS + "\nsecond line", (Part(COMMANDS),)))
    printed = capsys.readouterr().out
    assert "red" in printed and "grüße 👩‍💻" in printed and "second line" in printed  # noqa: PT018
    assert all(character == "\n" or character >= " " for character in printed)
    assert not set("\x7f\x9b\u202e\u202c") & set(printed)


def test_what_a_thing_contains_is_told_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_fields(Whole("hello", (Part("one", ("a", "b")), Part("two"))))
    assert capsys.readouterr().out.splitlines() == [
        "text   hello",
        "parts:",
        "  - name  one",
        "    of    a, b",
        "  - name  two",
    ]
