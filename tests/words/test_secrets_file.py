import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bridge.errors import ConfigError
from bridge.secrets_file import read_or_make


def test_the_first_value_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "data" / "secret_key"
    assert read_or_make(path, "first") == "first"
    assert read_or_make(path, "second") == "first"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_all_who_start_at_the_same_moment_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        for round_ in range(20):
            path = tmp_path / str(round_)
            values = set(pool.map(lambda value, path=path: read_or_make(path, value), map(str, range(16))))
            assert len(values) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(map(str, range(20)))


def test_an_empty_file_is_never_silently_replaced(tmp_path: Path) -> None:
    (tmp_path / "secret_key").touch()
    with pytest.raises(ConfigError, match="is empty"):
        read_or_make(tmp_path / "secret_key", "new")


def test_a_folder_that_cannot_be_made_is_a_problem_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(ConfigError, match="Cannot keep"):
        read_or_make(tmp_path / "data" / "secret_key", "new")
