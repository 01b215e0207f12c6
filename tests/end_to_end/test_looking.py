"""Commands that only look, and arguments that are no text: nothing is made, and nothing ends in a traceback."""

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.cli import main

LOOKING = [
    ("ledger",),
    ("keys",),
    ("check",),
    ("messages", "list"),
    ("messages", "show", "msg_1"),
    ("messages", "captured", "demo"),
    ("messages", "replay", "msg_1", "--how", "done"),
    ("conversations", "list"),
    ("conversations", "stop", "cnv_1"),
    ("deliveries", "list"),
    ("destinations", "list"),
    ("slack", "doctor"),
]
NO_TEXT = os.fsdecode(b"caf\xe9")
"""How Python holds an argument in another encoding."""
WITHOUT_TEXT = [
    ("messages", "show", NO_TEXT),
    ("messages", "list", "--source", NO_TEXT),
    ("conversations", "list", "--key", NO_TEXT),
    ("conversations", "stop", NO_TEXT),
    ("deliveries", "retry", NO_TEXT),
    ("sign", "demo", "--body", NO_TEXT),
    ("sign", "demo", "--text", NO_TEXT),
    (NO_TEXT,),
]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BRIDGE_CONFIG", raising=False)
    before = os.umask(0o022)
    yield
    os.umask(before)


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["agent-bridge", *words])
    with pytest.raises(SystemExit) as leaving:
        main()
    return int(leaving.value.code or 0)


@pytest.mark.parametrize("words", LOOKING)
def test_what_only_looks_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("BRIDGE_LISTEN", "127.0.0.1:1")
    code = run(monkeypatch, *words)
    assert list(tmp_path.iterdir()) == []
    assert code == {"check": 0, "slack": 2}.get(words[0], 1), capsys.readouterr().err


@pytest.mark.parametrize("words", WITHOUT_TEXT)
def test_an_argument_that_is_no_text_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    run(monkeypatch, "migrate")
    assert run(monkeypatch, *words) == 2
    assert "is not UTF-8" in capsys.readouterr().err


def test_what_people_said_is_for_the_owner_of_the_process_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    run(monkeypatch, "migrate")
    made = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").iterdir()}
    assert "bridge.db" in made
    assert set(made.values()) == {0o600}, made
