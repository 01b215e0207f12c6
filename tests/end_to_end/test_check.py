"""What `agent-bridge check` tells of a configuration that can be used, and yet surely is not meant."""

from pathlib import Path

import pytest

from bridge.world import load_settings, warnings

SOURCE = """
[sources.orders]
adapter  = "webhook"
secrets  = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
callback = "{callback}"
"""
EMBEDDED = '[agents.local]\nkind = "embedded"\n'
REMOTE = '[agents.remote]\nkind = "xpander"\napi_key = "k"\nagent_id = "a"\nbase_url = "{url}"\n'
PUBLIC = "https://orders.example.com/answers"


def told(folder: Path, text: str) -> list[str]:
    config = folder / "bridge.toml"
    config.write_text(text, "utf-8")
    return warnings(load_settings(config, {}))


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("callback", ["http://127.0.0.1:9000/answers", "http://orders.example.com/answers"])
def test_a_callback_that_will_be_refused_is_told_before_the_first_answer_dies_of_it(
    tmp_path: Path, callback: str
) -> None:
    (warning,) = told(tmp_path, EMBEDDED + SOURCE.format(callback=callback))
    assert warning.startswith(f"sources.orders: {callback} will not be called (")
    assert "allow_private_callbacks" in warning
    allowed = "allow_private_callbacks = true\n"
    assert told(tmp_path, EMBEDDED + SOURCE.format(callback=callback) + allowed) == []
    assert told(tmp_path, EMBEDDED + SOURCE.format(callback=PUBLIC)) == []


def test_an_agent_on_this_machine_opens_links_that_lead_here(tmp_path: Path) -> None:
    source = SOURCE.format(callback=PUBLIC)
    (warning,) = told(tmp_path, REMOTE.format(url="https://agents.example.com") + source)
    assert "agents.remote is elsewhere" in warning
    assert told(tmp_path, REMOTE.format(url="http://127.0.0.1:8090") + source) == []
